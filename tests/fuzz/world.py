"""A small L2 state that a scenario builds leaf by leaf, and the case that comes of it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from random import Random
from typing import Any

import msgspec
from msgspec.structs import replace

from chain.codec import BatchHeader, Frame
from chain.l1.protocol import InboxMessage
from chain.rules.binding import bound_address
from chain.signing import SECP256K1_N, recover, sign_digest
from chain.state import RollupState
from chain.stf import Code, Rules, execute_body, execute_frame
from chain.txs import CloseTogether, OpenChannel, Redeem, Slash, Stake, StartClose, TopUp, Transfer, Unstake, Withdraw
from chain.types import (
    MAX_U64,
    META_KEY,
    REGION_CAPACITY,
    Account,
    Channel,
    Leaf,
    Meta,
    Withdrawal,
    account_key,
    channel_key,
    withdrawal_key,
)
from tests.chain import support

Paid = Transfer | Withdraw | OpenChannel | TopUp | StartClose | Stake | Unstake
RICH_NANO = 10**12
VOUCHER_KEY = 90_001
owner = lru_cache(maxsize=None)(support.owner)
key = lru_cache(maxsize=None)(support.key)


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One step on one state: everything that an implementation needs to come to a code and a root."""

    name: str
    """What it is about: ``transfer/overdraft@3``."""
    leaves: tuple[tuple[int, Leaf], ...]
    rules: Rules
    header: BatchHeader
    frame: Frame
    messages: tuple[InboxMessage, ...] = ()
    is_last: bool = True
    further_keys: tuple[int, ...] = ()
    """State indices that its witness opens although nothing asks for them."""
    intended: Code | None = None
    """The code that it was built to reach, where it was built to reach one."""

    def state(self) -> RollupState:
        """The state before the step."""
        return RollupState.from_leaves(self.leaves)

    def inbox(self) -> dict[int, InboxMessage]:
        """The messages by their index."""
        return {message.index: message for message in self.messages}

    def run(self) -> tuple[Code, bytes]:
        """What the contract has to answer: the body's code, and the root after it (before it without ``OK``)."""
        state = self.state()
        mark = state.mark()
        code = execute_body(
            state, self.header, self.frame.body, self.rules, self.inbox().__getitem__, is_last=self.is_last
        )
        if code is not Code.OK:
            state.rollback(mark)
        return code, state.root()

    def verdict(self) -> Code:
        """What a replay comes to: the body's code, or that the frame claims another root."""
        return execute_frame(
            self.state(), self.header, self.frame, self.rules, self.inbox().__getitem__, is_last=self.is_last
        )


class _Named:
    """What numbers name among leaves."""

    def __init__(self, leaves: dict[int, Leaf]) -> None:
        self._leaves = leaves

    def account(self, number: int) -> Account | None:
        leaf = self._leaves.get(account_key(number)) if number < REGION_CAPACITY else None
        return leaf if isinstance(leaf, Account) else None

    def channel(self, number: int) -> Channel | None:
        leaf = self._leaves.get(channel_key(number)) if number < REGION_CAPACITY else None
        return leaf if isinstance(leaf, Channel) else None


class World:
    """Leaves under construction. Each number is drawn once, so that what one scenario adds never meets another's."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.leaves: dict[int, Leaf] = {}
        self.is_dense = rng.random() < 0.7
        self.now_s = rng.choice([1, 1_000, 10**9, 2**40])
        self.rules = Rules(
            domain=support.DOMAIN, close_delay_s=rng.choice([0, 30]), unstake_delay_s=rng.choice([0, 1, 60])
        )
        self.meta: dict[str, int] = {}
        self.has_fees = True
        self._taken: set[int] = set()
        for _ in range(rng.randint(0, 9)):
            self.account()
        self._filler, self._friend = self.account(balance_nano=2**100, nonce=0), self.account()
        self._filler_nonce = 0
        self._redeemed = 0
        self._filler_channel = self.channel(self._filler, self._friend, deposit_nano=10_000)

    def draw(self) -> int:
        """A number that nothing has yet, in any region."""
        number = len(self._taken) + 1 if self.is_dense else self.rng.randrange(1, REGION_CAPACITY)
        while number in self._taken:
            number += 1
        self._taken.add(number)
        return number

    def account(self, number: int | None = None, **fields: Any) -> int:
        """An account owned by its number's key, with money; returns its number."""
        number = self.draw() if number is None else number
        defaults: dict[str, Any] = {
            "owner": owner(number),
            "balance_nano": RICH_NANO,
            "nonce": self.rng.choice([0, 1, 7, 2**32, MAX_U64 - 20]),
        }
        self.leaves[account_key(number)] = Account(**(defaults | fields))
        return number

    def channel(self, payer: int, payee: int, **fields: Any) -> int:
        """An open channel that pays on vouchers of ``VOUCHER_KEY``; returns its id."""
        number = self.draw()
        defaults: dict[str, Any] = {
            "signer": owner(VOUCHER_KEY),
            "deposit_nano": 1_000,
            "expiry_s": self.now_s + 100,
        }
        self.leaves[channel_key(number)] = Channel(payer=payer, payee=payee, **(defaults | fields))
        for party in (payer, payee):
            self.change(party, channels=self.of(party).channels + 1)
        return number

    def withdrawal(self, number: int) -> None:
        """A withdrawal leaf at a number."""
        self.leaves[withdrawal_key(number)] = Withdrawal(
            recipient=owner(5), amount_nano=self.rng.randrange(2**64), account=5, nonce=self.rng.randrange(2**64)
        )

    def of(self, number: int) -> Account:
        """The account of a number."""
        leaf = self.leaves[account_key(number)]
        assert isinstance(leaf, Account)
        return leaf

    def change(self, number: int, **fields: Any) -> None:
        """Change an account."""
        self.leaves[account_key(number)] = replace(self.of(number), **fields)

    def drop(self, number: int) -> None:
        """Remove an account."""
        del self.leaves[account_key(number)]

    def signed(self, tx: Paid, payer: int) -> bytes:
        """A transaction's bytes, signed by the payer's key for its nonce."""
        return tx.encode(sign_digest(key(payer), self.digest(tx, payer)))

    def digest(self, tx: Paid, payer: int) -> bytes:
        """What the payer signs."""
        return tx.digest(self.rules.domain, self.of(payer).nonce, self.bound(tx))

    def bound(self, tx: Paid | CloseTogether | Slash) -> bytes:
        """The address that a transaction is signed with, as its number names it."""
        return bound_address(_Named(self.leaves), tx)

    def filler(self) -> bytes:
        """A right transaction that allocates nothing and touches no scenario's leaves."""
        fee = self.rng.randrange(50) if self.has_fees else 0
        if self.rng.random() < 0.2:
            self._redeemed += self.rng.randint(1, 20)
            tx = Redeem(self._filler_channel, self._redeemed)
            return tx.encode(sign_digest(key(VOUCHER_KEY), tx.digest(self.rules.domain)))
        paid = self.rng.choice(
            [
                Transfer(self._filler, self._friend, 5, fee),
                Stake(self._filler, 3, fee),
                Transfer(self._filler, self._filler, 1, fee),
            ]
        )
        self._filler_nonce += 1
        return paid.encode(
            sign_digest(key(self._filler), paid.digest(self.rules.domain, self._filler_nonce - 1, self.bound(paid)))
        )

    def filler_message(self, index: int) -> InboxMessage:
        """A right inbox message that allocates nothing and touches no scenario's leaves."""
        if self.rng.random() < 0.5:
            return support.forced(index, self.filler())
        return support.deposit(index, owner(self._friend), self.rng.randint(1, 2**40), hint=self._friend, at_s=index)

    def finished(self, inbox_cursor: int) -> tuple[tuple[int, Leaf], ...]:
        """Every leaf, with a meta leaf whose counters lie beyond them."""
        defaults = {
            "next_account": self._free(),
            "next_channel": self._free(),
            "next_withdrawal": self._free(),
            "inbox_cursor": inbox_cursor,
            "l2_time_s": self.rng.randrange(self.now_s + 1),
            "fee_pool_nano": self.rng.choice([0, 5, 2**64, 2**127]),
            "supply_nano": self.rng.choice([0, 10**15, 2**127]),
        }
        return tuple(sorted({**self.leaves, META_KEY: Meta(**(defaults | self.meta))}.items()))

    def _free(self) -> int:
        return min(max(self._taken) + 1, REGION_CAPACITY - 10) if self.is_dense else self.draw()


def _word(value: int) -> bytes:
    return value.to_bytes(32, "big")


HALF_N = SECP256K1_N // 2
PARITY = 1 << 255
S_EDGES = (1, 2, HALF_N - 1, HALF_N)


def high_s(rng: Random, signature: bytes) -> bytes:
    """``s`` in the upper half of the order, as far up as 255 bits reach."""
    s = rng.choice([HALF_N + 1, HALF_N + 2, (HALF_N + PARITY) // 2, PARITY - 2, PARITY - 1])
    return signature[:32] + _word(s | rng.choice([0, PARITY]))


def wrong_signature(rng: Random, signature: bytes, digest: bytes) -> bytes:
    """A signature with a low ``s`` that recovers nobody, or somebody else."""
    r, vs = signature[:32], int.from_bytes(signature[32:], "big")
    edges = [
        _word(0) + _word(vs),
        r + _word(0),
        r + _word(PARITY),
        bytes(64),
        _word(SECP256K1_N) + _word(1),
        _word(SECP256K1_N + 1) + _word(HALF_N),
        _word(2**256 - 1) + _word(vs),
        r + _word(vs ^ PARITY),
        r + _word(HALF_N),
        _word(1) + _word(1),
        nobody(rng, digest),
        sign_digest(key(4_242), digest),
    ]
    return rng.choice(edges)


def nobody(rng: Random, digest: bytes) -> bytes:
    """A well-formed signature whose ``r`` is no point's, so that it recovers nothing at all."""
    while True:
        signature = _word(rng.randrange(1, SECP256K1_N)) + _word(rng.randrange(1, HALF_N))
        if recover(digest, signature) is None:
            return signature


def high_s_of_owner(rng: Random, digest: bytes) -> tuple[bytes, bytes]:
    """A signature with a high ``s``, and the address that the EVM's bare ``ecrecover`` finds in it."""
    signature, signer = edge_signature(rng, digest, [SECP256K1_N - PARITY + 1, HALF_N - 1, HALF_N])
    vs = int.from_bytes(signature[32:], "big")
    mirrored = SECP256K1_N - (vs & PARITY - 1)
    return signature[:32] + _word(mirrored | (vs & PARITY ^ PARITY)), signer


def edge_signature(rng: Random, digest: bytes, s_values: Sequence[int] = S_EDGES) -> tuple[bytes, bytes]:
    """A signature at the edge of what is taken, and the address that it recovers: nobody knows the key."""
    while True:
        r = rng.choice([1, 2, 3, 4, 6, SECP256K1_N - 1, SECP256K1_N - 2, rng.randrange(1, SECP256K1_N)])
        s = rng.choice(s_values)
        signature = _word(r) + _word(s | rng.choice([0, PARITY]))
        signer = recover(digest, signature)
        if signer is not None:
            return signature, signer
