"""What the chain's tests share: keys, a funded world, signed transactions, and an L1 in memory for awkward moments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from chain.codec import decode_batch
from chain.eip712 import SigningDomain
from chain.errors import ChainRejectedError, ChainUnavailableError
from chain.l1.protocol import (
    EMPTY_INBOX_HASH,
    Bond,
    Deployment,
    FraudCommitted,
    InboxMessage,
    L1Event,
    L1Head,
    L1Spent,
    PendingMessage,
    PostedBatch,
    RollupL1,
    Turn,
    next_inbox_hash,
)
from chain.replay import Replayer, replay_l1, rules_of
from chain.rules.binding import bound_address
from chain.signing import address_of, keccak256, sign_digest
from chain.state import GENESIS_ROOT, RollupState
from chain.stf import Outcome, Rules, apply, apply_inbox
from chain.tree import EMPTY
from chain.txs import (
    CloseTogether,
    CreateAccount,
    OpenChannel,
    ReceiptEvidence,
    Redeem,
    Slash,
    Stake,
    StartClose,
    TopUp,
    Transfer,
    Unstake,
    Withdraw,
)
from chain.types import Channel, Withdrawal

DOMAIN = SigningDomain(1337, b"\x11" * 20, b"\x16" * 32)
RULES = Rules(domain=DOMAIN, close_delay_s=30, unstake_delay_s=60)
FUNDS_NANO = 1_000_000
NO_HINT = 2**32 - 1
ETHER = 10**18
VOUCHER_KEY = 9

Signed = Transfer | Withdraw | OpenChannel | TopUp | StartClose | Stake | Unstake


def key(number: int) -> bytes:
    """A private key that is the same in every run."""
    return keccak256(b"test key" + number.to_bytes(4, "big"))


def owner(number: int) -> bytes:
    """The address of ``key(number)``."""
    return address_of(key(number))


def deposit(index: int, to: bytes, amount_nano: int, hint: int = NO_HINT, at_s: int = 0) -> InboxMessage:
    return InboxMessage(
        index=index, kind="deposit", owner=to, index_hint=hint, amount_nano=amount_nano, body=b"", at_s=at_s, l1_block=1
    )


def forced(index: int, body: bytes) -> InboxMessage:
    return InboxMessage(
        index=index, kind="forced", owner=bytes(20), index_hint=0, amount_nano=0, body=body, at_s=0, l1_block=1
    )


def funded_state(accounts: int = 3, funds_nano: int = FUNDS_NANO) -> RollupState:
    """Accounts 1 to ``accounts``, owned by ``owner(1)`` and so on, each with ``funds_nano``."""
    state = RollupState.genesis()
    for number in range(1, accounts + 1):
        apply_inbox(state, deposit(number - 1, owner(number), funds_nano), RULES)
    state.settle()
    return state


def signed(tx: Signed, signer: int, nonce: int, domain: SigningDomain = DOMAIN, *, bound: bytes | None = None) -> bytes:
    """Signed with the address that the tests' numbers name, or with another one."""
    return tx.encode(sign_digest(key(signer), tx.digest(domain, nonce, usual(tx) if bound is None else bound)))


def signed_once(
    tx: Redeem | CloseTogether | Slash, signer: int, domain: SigningDomain = DOMAIN, *, bound: bytes | None = None
) -> bytes:
    return tx.encode(sign_digest(key(signer), tx.digest(domain, usual(tx) if bound is None else bound)))


def usual(tx: Any) -> bytes:
    """The address to sign with where account ``n`` belongs to ``owner(n)``, and channels to ``owner(VOUCHER_KEY)``."""
    match tx:
        case Transfer():
            return owner(tx.receiver)
        case OpenChannel():
            return owner(tx.payee)
        case Slash():
            return owner(tx.provider)
        case TopUp() | StartClose() | CloseTogether():
            return owner(VOUCHER_KEY)
    return b""


def send(state: RollupState, tx: Signed, signer: int) -> Outcome:
    """Apply a transaction signed by ``key(signer)`` with its account's nonce (account number = key number)."""
    account = state.account(signer)
    raw = signed(tx, signer, account.nonce if account else 0, bound=bound_address(state, tx))
    return apply(state, raw, RULES)


def open_channel(
    state: RollupState, amount_nano: int = 1_000, expiry_s: int = 1_000, voucher_key: int = VOUCHER_KEY
) -> int:
    """Open a channel from account 1 to account 2; returns its id."""
    tx = OpenChannel(1, 2, owner(voucher_key), amount_nano, expiry_s, 0)
    outcome = send(state, tx, 1)
    assert outcome.allocated is not None
    return outcome.allocated


def channel_of(state: RollupState, channel_id: int) -> Channel:
    channel = state.channel(channel_id)
    assert channel is not None
    return channel


def create(state: RollupState, number: int) -> Outcome:
    return apply(state, CreateAccount(owner(number)).encode(), RULES)


def signed_receipt(signer: int, channel: int, sequence: int, output: bytes) -> ReceiptEvidence:
    """A receipt of the provider ``owner(signer)``, by its key, about an output of this content."""
    unsigned = ReceiptEvidence(keccak256(output), bytes(64))
    struct_hash = Slash(0, 0, channel, sequence, unsigned, unsigned).receipt_hash(unsigned, owner(signer))
    return replace(unsigned, signature=sign_digest(key(signer), DOMAIN.digest(struct_hash)))


def slash(provider: int, reporter: int, signer: int | None = None, channel: int = 7) -> bytes:
    """A slash of account ``provider`` by two receipts of ``key(signer)``, its own where none is named."""
    by = provider if signer is None else signer
    tx = Slash(provider, reporter, channel, 3, *(signed_receipt(by, channel, 3, text) for text in (b"one", b"other")))
    return signed_once(tx, reporter)


class MemoryL1:
    """An L1 in memory whose answers can be made late, wrong or missing, which a real one can't be made to be."""

    def __init__(self, *, challenge_window_s: int = 10) -> None:
        self.now_s = 1_000
        self.max_time_ahead_s = 10**6
        self.has_no_gas = False
        self.gas_price = 10**9
        self.messages: list[InboxMessage] = []
        self.posted: list[PostedBatch] = []
        self.final = 0
        self.claims: dict[int, bytes] = {}
        self.submissions = 0
        self.bonds: dict[bytes, int] = {}
        """Of those whose bond is another than the least."""
        self.leads: bytes | None = None
        self.fork = 0
        """Raised by an L1 reorg: every block has another hash then."""
        self.sender: bytes | None = owner(0)
        self.is_down = False
        self.loses_answers = False
        self.refuses_batches = False
        """Whether it takes no batch for now, and remembers the last ones it was given."""
        self.refused_batches: list[bytes] = []
        self.refuses_claims_of: set[int] = set()
        self._deployment = Deployment(
            l1_chain_id=DOMAIN.l1_chain_id,
            l2_chain_id=7001,
            rollup_address=DOMAIN.rollup_address,
            inbox_address=b"\x12" * 20,
            asset_address=b"\x13" * 20,
            block_number=1,
            block_hash=b"\x14" * 32,
            challenge_window_s=challenge_window_s,
            force_delay_s=20,
            close_delay_s=30,
            genesis_root=GENESIS_ROOT,
            stf_address=b"\x15" * 20,
            takeover_delay_s=40,
            freeze_delay_s=120,
            unstake_delay_s=60,
            reveal_delay_blocks=10,
            deployment_salt=DOMAIN.salt,
            max_time_ahead_s=10,
            min_bond_wei=ETHER,
            turn_batches=1_000,
            turn_s=3_600,
            turn_grace_s=60,
        )

    def deposit(self, to: bytes, amount_nano: int, hint: int = NO_HINT) -> None:
        self.messages.append(deposit(len(self.messages), to, amount_nano, hint, self.now_s))

    def force(self, body: bytes) -> None:
        self.messages.append(replace(forced(len(self.messages), body), at_s=self.now_s))

    def by(self, sender: bytes) -> OtherSender:
        """The same L1 for another sequencer."""
        return OtherSender(self, sender)

    def take_back(self, batch_id: int, *, slashed: bytes | None = None) -> None:
        """What a proven fraud does."""
        del self.posted[batch_id:]
        self.leads = None
        if slashed is not None:
            self.bonds[slashed] = 0

    @property
    def spent(self) -> L1Spent:
        return L1Spent(100_000 * self.submissions, 100_000 * self.submissions * self.gas_price)

    async def gas_price_wei(self) -> int:
        self._answer()
        return self.gas_price

    async def deployment(self) -> Deployment:
        return self._deployment

    async def head(self) -> L1Head:
        number = await self.block_number()
        found = await self.block_hash(number)
        assert found is not None
        return L1Head(number, found)

    async def block_number(self) -> int:
        self._answer()
        return 1 + len(self.messages) + len(self.posted)

    async def block_hash(self, number: int) -> bytes | None:
        self._answer()
        is_there = number <= 1 + len(self.messages) + len(self.posted)
        return keccak256(bytes([self.fork]) + number.to_bytes(8, "big")) if is_there else None

    async def leader(self) -> bytes | None:
        self._answer()
        return self.leads

    async def bond(self, sequencer: bytes) -> Bond:
        self._answer()
        return Bond(amount_wei=self.bonds.get(sequencer, ETHER), batches_to=0)

    async def sequencers(self, limit: int) -> list[bytes]:
        self._answer()
        return [owner(0)]

    async def events(self, from_block: int, to_block: int) -> Sequence[L1Event]:
        self._answer()
        return []

    async def inbox_hash(self, length: int) -> bytes:
        self._answer()
        inbox_hash = EMPTY_INBOX_HASH
        for message in self.messages[:length]:
            inbox_hash = next_inbox_hash(inbox_hash, message.content_hash())
        return inbox_hash

    async def announcements(self, from_block: int, to_block: int) -> Sequence[FraudCommitted]:
        self._answer()
        return []

    async def inbox_length(self) -> int:
        self._answer()
        return len(self.messages)

    async def oldest_pending(self) -> PendingMessage | None:
        self._answer()
        index = self._inbox_to()
        return PendingMessage(index=index, at_s=self.messages[index].at_s) if index < len(self.messages) else None

    async def frozen_at_s(self) -> int | None:
        self._answer()
        return None

    async def is_overdue(self) -> bool:
        self._answer()
        return self._waits_longer(self._inbox_to(), self._deployment.takeover_delay_s)

    async def may_post(self, sequencer: bytes) -> bool:
        if self.bonds.get(sequencer, ETHER) < ETHER:
            return False
        is_led = self.leads not in (None, sequencer) and self.bonds.get(self.leads or b"", ETHER) >= ETHER
        return not is_led or await self.is_overdue()

    async def turn(self) -> Turn:
        """One that never ends: the real contract's turns are tested on a real L1."""
        self._answer()
        return Turn(leader=self.leads, following=self.leads, ends_at_s=2**63, end_batch=2**63, is_alone=True)

    async def time_s(self) -> int:
        self._answer()
        return self.now_s

    async def inbox_messages(self, start: int, limit: int) -> Sequence[InboxMessage]:
        self._answer()
        return self.messages[start : start + limit]

    async def batch_count(self) -> int:
        self._answer()
        return len(self.posted)

    async def final_count(self) -> int:
        self._answer()
        return self.final

    async def post_root(self, batch_id: int) -> bytes | None:
        self._answer()
        return self.posted[batch_id].post_root if batch_id < len(self.posted) else None

    async def batches(self, start: int, limit: int) -> Sequence[PostedBatch]:
        self._answer()
        return self.posted[start : start + limit]

    async def submit_batch(self, batch_id: int, prev_root: bytes, inbox_hash: bytes, blob: bytes) -> PostedBatch:
        assert self.sender is not None
        return await self.submit_by(self.sender, batch_id, prev_root, inbox_hash, blob)

    async def submit_by(
        self, sender: bytes, batch_id: int, prev_root: bytes, inbox_hash: bytes, blob: bytes
    ) -> PostedBatch:
        """The checks of the contract that a sequencer can run into, in its order."""
        self._answer()
        if self.refuses_batches:
            self.refused_batches.append(blob)
            raise ChainUnavailableError("no batch is taken now")
        if batch_id < len(self.posted) and self.posted[batch_id].blob == blob:
            return self.posted[batch_id]
        if batch_id != len(self.posted):
            raise ChainRejectedError("wrong batch", code="wrong_batch_id")
        if prev_root != (self.posted[-1].post_root if self.posted else GENESIS_ROOT):
            raise ChainRejectedError("wrong root", code="wrong_previous_root")
        if self.bonds.get(sender, ETHER) < ETHER:
            raise ChainRejectedError("no bond", code="bond_too_small")
        if not await self.may_post(sender):
            raise ChainRejectedError("another leads", code="not_leader")
        header = decode_batch(blob).header
        inbox_to = header.inbox_to
        if header.l2_time_s > self.now_s + self.max_time_ahead_s:
            raise ChainRejectedError("too early", code="l2_time_ahead")
        if inbox_to > len(self.messages):
            raise ChainRejectedError("beyond the inbox", code="inbox_beyond_end")
        if self._waits_longer(inbox_to, self._deployment.force_delay_s):
            raise ChainRejectedError("leaves a message out", code="inbox_ignored")
        if inbox_hash != await self.inbox_hash(inbox_to):
            raise ChainRejectedError("other messages", code="wrong_inbox_hash")
        self.leads = sender
        batch = PostedBatch(
            batch_id=batch_id,
            prev_root=prev_root,
            post_root=decode_batch(blob).frames[-1].post_root,
            inbox_hash=inbox_hash,
            blob=blob,
            l1_tx=keccak256(blob),
            l1_block=batch_id + 2,
            submitted_at_s=self.now_s,
            submitter=sender,
        )
        self.posted.append(batch)
        self.submissions += 1
        if self.loses_answers:
            self.loses_answers = False
            raise ChainUnavailableError("the answer was lost")
        return batch

    async def finalize(self) -> int:
        self._answer()
        window_s = self._deployment.challenge_window_s
        while self.final < len(self.posted) and self.posted[self.final].submitted_at_s + window_s <= self.now_s:
            self.final += 1
        return self.final

    async def claim_withdrawal(
        self, batch_id: int, index: int, withdrawal: Withdrawal, siblings: Sequence[bytes]
    ) -> bytes:
        from chain.tree import root_from_proof

        self._answer()
        if self.has_no_gas:
            raise ChainRejectedError("the operator has no ether", code="no_gas")
        if index in self.refuses_claims_of:
            raise ChainRejectedError("the asset refuses this recipient", code="reverted")
        leaf = keccak256(withdrawal.encode())
        assert batch_id < self.final
        assert root_from_proof(index, leaf, siblings) == self.posted[batch_id].post_root
        return self.claims.setdefault(index, keccak256(b"claim" + index.to_bytes(4, "big")))

    async def is_claimed(self, index: int) -> bool:
        return index in self.claims

    def _inbox_to(self) -> int:
        return decode_batch(self.posted[-1].blob).header.inbox_to if self.posted else 0

    def _waits_longer(self, index: int, delay_s: int) -> bool:
        return index < len(self.messages) and self.now_s > self.messages[index].at_s + delay_s

    def _answer(self) -> None:
        if self.is_down:
            raise ChainUnavailableError("L1 is down")


class OtherSender:
    """An L1 in memory as another sequencer meets it."""

    def __init__(self, l1: MemoryL1, sender: bytes) -> None:
        self._l1 = l1
        self.sender = sender

    def __getattr__(self, name: str) -> Any:
        return getattr(self._l1, name)

    async def submit_batch(self, batch_id: int, prev_root: bytes, inbox_hash: bytes, blob: bytes) -> PostedBatch:
        return await self._l1.submit_by(self.sender, batch_id, prev_root, inbox_hash, blob)


async def rebuild_state(l1: RollupL1) -> RollupState:
    """The L2 state after the last batch on L1, from L1's data alone.

    Raises:
        ReplayError: If a batch is wrong.
        ChainUnavailableError: If L1 does not answer.
    """
    deployment = await l1.deployment()
    replayer = Replayer(rules_of(deployment))
    async for _ in replay_l1(l1, replayer=replayer):
        pass
    return replayer.state


def frames_root(leaves: Sequence[bytes]) -> bytes:
    """The root over at least one frame's leaf."""
    level = list(leaves)
    while len(level) > 1:
        level += [EMPTY] * (len(level) % 2)
        pairs = zip(level[::2], level[1::2], strict=True)
        level = [EMPTY if left == EMPTY == right else keccak256(left + right) for left, right in pairs]
    return level[0]
