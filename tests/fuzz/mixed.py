"""Frames that are interesting as a whole: several transactions on the same few leaves, each on what the last one left.

A scenario makes one transaction among others that don't touch its leaves. Here three accounts and two channels meet
whatever is drawn for them, by the sequencer or by force: numbers are allocated twice in a frame, a channel opens, pays
and ends in one, accounts go and are named again, and forced messages fail one after the other.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from chain.codec import MAX_FRAME_ITEMS, BatchHeader, Frame, encode_inbox_body
from chain.l1.protocol import InboxMessage
from chain.rules.binding import bound_address
from chain.rules.outcome import Rules
from chain.signing import sign_digest
from chain.state import RollupState
from chain.stf import Code, apply, apply_inbox, open_batch
from chain.txs import (
    CloseTogether,
    CollectFees,
    CreateAccount,
    Expire,
    FinishUnstake,
    OpenChannel,
    Prune,
    Redeem,
    Stake,
    StartClose,
    TopUp,
    Transfer,
    Unstake,
    Withdraw,
)
from chain.types import MAX_U64, MAX_U128, REGION_CAPACITY, Account, Channel
from tests.chain import support
from tests.fuzz.world import VOUCHER_KEY, Case, World, key, owner

TRIES = 40
"""How often something that executes is looked for, for each place in a frame."""
_KINDS = (
    "create", "transfer", "transfer", "withdraw", "open", "open", "top up", "redeem", "redeem", "close", "start close",
    "expire", "expire", "stake", "unstake", "finish", "collect", "prune", "prune",
)  # fmt: skip


class Crowd:
    """Three accounts, two channels between them, and what the state makes of each transaction in turn."""

    def __init__(self, rng: Random, cursor: int) -> None:
        self._rng = rng
        world = World(rng)
        world.rules = Rules(world.rules.domain, rng.choice([0, 0, 30]), rng.choice([0, 60]))
        self._people = [self._person(world) for _ in range(3)]
        self._keys = {owner(number): number for number in self._people}
        for _ in range(2):
            world.channel(
                rng.choice(self._people),
                rng.choice(self._people),
                expiry_s=rng.choice([world.now_s, world.now_s + 1, MAX_U64]),
                redeemed_nano=rng.choice([0, 400, 1_000]),
            )
        for counter in ("next_account", "next_channel", "next_withdrawal"):
            if rng.random() < 0.15:
                world.meta[counter] = REGION_CAPACITY - rng.choice([0, 1, 2])
        world.meta["fee_pool_nano"] = rng.choice([0, 7])
        self.leaves = world.finished(cursor)
        self.rules, self.now_s = world.rules, world.now_s
        self.state = RollupState.from_leaves(self.leaves)
        open_batch(self.state, self.now_s)

    def _person(self, world: World) -> int:
        rng = self._rng
        money = rng.choice([0, 0, 5, 10**6, 10**12, MAX_U128 - 2])
        stake, unlocking = rng.choice([(0, 0), (0, 0), (10, 0), (0, 10), (7, 3)])
        return world.account(
            nonce=0, balance_nano=money, stake_nano=stake, unlocking_nano=unlocking, unlock_at_s=world.now_s
        )

    def draw(self) -> bytes:
        """A transaction about these leaves or those that came of them, mostly one that executes."""
        rng, meta = self._rng, self.state.meta
        accounts = [number for number in (*self._people, *self._newest(meta.next_account)) if number]
        channels = [key & REGION_CAPACITY - 1 for key, leaf in self.state.items() if isinstance(leaf, Channel)]
        channel = rng.choice([*channels, *channels, meta.next_channel - 1])
        one, other = rng.choice(accounts), rng.choice(accounts)
        kind = rng.choice(_KINDS)
        makers: dict[str, Callable[[], bytes]] = {
            "create": lambda: CreateAccount(owner(rng.choice(self._people))).encode(),
            "collect": lambda: CollectFees(one).encode(),
            "prune": lambda: Prune(one).encode(),
            "expire": lambda: Expire(channel).encode(),
            "finish": lambda: FinishUnstake(one).encode(),
            "redeem": lambda: self._redeemed(channel),
            "close": lambda: self._closed(channel),
        }
        return makers[kind]() if kind in makers else self._paid(kind, one, other, channel)

    def deposit(self, index: int) -> InboxMessage:
        """A deposit for one of the three, hinted rightly, wrongly or not at all."""
        rng = self._rng
        hint = rng.choice([*self._people, *self._newest(self.state.meta.next_account), support.NO_HINT])
        return support.deposit(index, owner(rng.choice(self._people)), rng.choice([1, 5, MAX_U64]), hint=hint)

    def _newest(self, following: int) -> tuple[int, int]:
        return max(0, following - 1), max(0, following - 2)

    def _account(self, number: int) -> Account | None:
        return self.state.account(number)

    def _amount(self, number: int) -> int:
        account = self._account(number)
        balance = min(account.balance_nano, MAX_U64) if account else 0
        return self._rng.choice([0, 1, 5, balance, balance, balance // 2])

    def _paid(self, kind: str, one: int, other: int, channel: int) -> bytes:
        rng, amount, fee = self._rng, self._amount(one), self._rng.choice([0, 0, 1])
        leaf = self.state.channel(channel)
        account, payer = self._account(one), leaf.payer if leaf else one
        staked = min(account.stake_nano, MAX_U64) if account else 0
        tx: Any = {
            "transfer": lambda: Transfer(one, other, amount, fee),
            "withdraw": lambda: Withdraw(one, amount, fee, owner(rng.choice(self._people))),
            "open": lambda: OpenChannel(
                one, other, owner(VOUCHER_KEY), amount, rng.choice([self.now_s, self.now_s + 1, MAX_U64]), fee
            ),
            "top up": lambda: TopUp(channel, amount, fee),
            "start close": lambda: StartClose(channel),
            "stake": lambda: Stake(one, amount, fee),
            "unstake": lambda: Unstake(one, rng.choice([1, staked, staked]), fee),
        }[kind]()
        return self._signed(tx, payer if kind in ("top up", "start close") else one)

    def _signed(self, tx: Any, number: int) -> bytes:
        account = self._account(number)
        nonce, by = (account.nonce, self._keys.get(account.owner, number)) if account else (0, number)
        if self._rng.random() < 0.04:
            by = self._rng.choice(self._people)
        return bytes(
            tx.encode(sign_digest(key(by), tx.digest(self.rules.domain, nonce, bound_address(self.state, tx))))
        )

    def _redeemed(self, channel: int) -> bytes:
        leaf, rng = self.state.channel(channel), self._rng
        held = leaf.deposit_nano if leaf else 5
        tx = Redeem(channel, min(rng.choice([held, held, held // 2, 1]), MAX_U64))
        return tx.encode(sign_digest(key(VOUCHER_KEY), tx.digest(self.rules.domain)))

    def _closed(self, channel: int) -> bytes:
        leaf = self.state.channel(channel)
        payee = self._account(leaf.payee) if leaf else None
        tx = CloseTogether(channel, min(leaf.redeemed_nano, MAX_U64) if leaf else 0)
        by = self._keys.get(payee.owner, 1) if payee else 1
        return tx.encode(sign_digest(key(by), tx.digest(self.rules.domain, bound_address(self.state, tx))))


def sequenced(rng: Random) -> Case:
    """A frame that executes, or one whose last transaction doesn't."""
    crowd, cursor = Crowd(rng, 0), 0
    bodies: list[bytes] = []
    length, ends_wrong = rng.randint(2, MAX_FRAME_ITEMS), rng.random() < 0.3
    for _ in range(TRIES * length):
        if len(bodies) == length:
            break
        raw = crowd.draw()
        mark = crowd.state.mark()
        if apply(crowd.state, raw, crowd.rules).code is Code.OK:
            bodies.append(raw)
        else:
            crowd.state.rollback(mark)
            if ends_wrong and len(bodies) == length - 1:
                bodies.append(raw)
    return _case(crowd, b"".join(bodies) or crowd.draw(), cursor, ())


def forced(rng: Random) -> Case:
    """Messages that do what they do: deposits, what executes, and now and then one failure after the other."""
    cursor = rng.choice([0, 77, MAX_U64 - MAX_FRAME_ITEMS])
    crowd, messages = Crowd(rng, cursor), []
    wants_failures = rng.random() < 0.3
    for index in range(cursor, cursor + rng.randint(2, MAX_FRAME_ITEMS)):
        for _ in range(TRIES):
            message = crowd.deposit(index) if rng.random() < 0.25 else support.forced(index, crowd.draw())
            mark = crowd.state.mark()
            is_ok = apply_inbox(crowd.state, message, crowd.rules).code is Code.OK
            if is_ok != (wants_failures and rng.random() < 0.7) or rng.random() < 0.1:
                break
            crowd.state.rollback(mark)
        else:
            apply_inbox(crowd.state, message, crowd.rules)
        messages.append(message)
    return _case(crowd, encode_inbox_body(cursor, len(messages)), cursor, tuple(messages))


def life_of_a_channel(rng: Random) -> Case:
    """One channel opens, pays, and ends in one frame: together, or alone where the close delay is none."""
    crowd = Crowd(rng, 0)
    bodies: list[bytes] = []
    mark = crowd.state.mark()
    for _ in range(TRIES):
        crowd.state.rollback(mark)
        bodies = _life(crowd, rng)
        if bodies:
            break
    crowd.state.rollback(mark)
    return _case(crowd, b"".join(bodies) or crowd.draw(), 0, ())


def _life(crowd: Crowd, rng: Random) -> list[bytes]:
    one, other = crowd._people[rng.randrange(3)], crowd._people[rng.randrange(3)]
    channel = crowd.state.meta.next_channel
    opening = OpenChannel(one, other, owner(VOUCHER_KEY), crowd._amount(one), rng.choice([crowd.now_s + 1, MAX_U64]), 0)
    steps: list[Callable[[], bytes]] = [
        lambda: crowd._signed(opening, one),
        lambda: crowd._redeemed(channel),
        lambda: crowd._signed(TopUp(channel, crowd._amount(one), 0), one),
        lambda: crowd._redeemed(channel),
        lambda: crowd._closed(channel) if rng.random() < 0.4 else crowd._signed(StartClose(channel), one),
        lambda: Expire(channel).encode(),
        lambda: crowd._redeemed(channel),
        lambda: Prune(one).encode(),
    ]
    done: list[bytes] = []
    for number, step in enumerate(steps):
        raw, mark = step(), crowd.state.mark()
        if apply(crowd.state, raw, crowd.rules).code is Code.OK:
            done.append(raw)
        else:
            crowd.state.rollback(mark)
            if number == 0:
                return []
            if number == len(steps) - 1 and rng.random() < 0.3:
                done.append(raw)
    return done


def _case(crowd: Crowd, body: bytes, cursor: int, messages: tuple[InboxMessage, ...]) -> Case:
    rng = crowd._rng
    further = [key for key, _ in crowd.leaves] + [rng.randrange(3 << 30) for _ in range(3)]
    return Case(
        name="",
        leaves=crowd.leaves,
        rules=crowd.rules,
        header=BatchHeader(l2_time_s=crowd.now_s, inbox_to=cursor + len(messages)),
        frame=Frame(post_root=bytes(32), body=body),
        messages=messages,
        is_last=rng.random() < 0.5,
        further_keys=tuple(rng.sample(further, rng.choice([0, 0, 1, min(6, len(further))]))),
    )


MIXED: dict[str, Callable[[Random], Case]] = {
    "sequenced": sequenced, "forced": forced, "life_of_a_channel": life_of_a_channel,
}  # fmt: skip
