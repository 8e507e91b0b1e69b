"""Every villain: how it changes an honest batch, and what stops it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec
from msgspec.structs import replace

from chain.codec import MAX_FRAME_ITEMS, BatchHeader, decode_inbox_body, encode_inbox_body, is_inbox_body
from chain.signing import SECP256K1_N, keccak256
from chain.state import RollupState
from chain.stf import Code
from chain.tx_format import TxType
from chain.txs import CreateAccount, Expire, FinishUnstake, OpenChannel, ReceiptEvidence, Redeem, Slash, Stake, Transfer
from chain.types import MAX_U64, Account, account_key, channel_key
from chain.villains.draft import Draft, Effect, mint, pay

LOOT_NANO = 1_000_000_000
NOBODY = 0x3FFF_FFFF
"""The number of an account and of a channel that don't exist."""
CHANNEL_LIFE_S = 86_400
FORGED_TYPE = 0x7F

BatchShape = tuple[BatchHeader, list[bytes]]
"""A batch's header and its frames' bodies."""


class Villain(msgspec.Struct, frozen=True, kw_only=True):
    """One way to misbehave."""

    name: str
    does: str
    """One line, as a sentence without its subject."""
    stopped_by: Literal["proof", "refusal", "takeover"]
    """A fraud proof, the contract at submission, or another sequencer."""
    code: Code | None = None
    """The rule that its first wrong frame breaks."""
    refusal: str = ""
    """The contract's error."""
    act: Callable[[Draft], None] | None = None
    """Adds the forged frames, behind the honest ones."""
    reshape: Callable[[BatchHeader, list[bytes], int], BatchShape] | None = None
    """Changes the honest batch before it is executed; also told where the inbox's cursor is before it."""
    deface: Callable[[bytes], bytes] | None = None
    """Changes the finished batch's bytes."""
    needs_messages: int = 0
    """How many inbox messages its batch must execute."""
    needs_riches: bool = False
    """Whether it needs more money than any amount on the wire can say."""
    is_lasting: bool = False
    """Whether it goes on in every batch, rather than lie once and build on that."""
    stalls: bool = False
    """Whether it posts nothing any more."""


VILLAINS: dict[str, Villain] = {}


def _villain(name: str, code: Code, does: str) -> Callable[[Callable[[Draft], None]], Callable[[Draft], None]]:
    def register(act: Callable[[Draft], None]) -> Callable[[Draft], None]:
        VILLAINS[name] = Villain(name=name, does=does, stopped_by="proof", code=code, act=act)
        return act

    return register


# --------------------------------------------------------------------------------------------- lies about the root


@_villain("bad-root", Code.WRONG_ROOT, "posts a root that nothing leads to")
def _bad_root(draft: Draft) -> None:
    body = CreateAccount(keccak256(b"anyone")[:20]).encode()
    draft.lie(body, draft.obey(body), root=keccak256(b"no state has this root"))


@_villain("mint", Code.WRONG_ROOT, "credits itself money along with a right transaction")
def _mint(draft: Draft) -> None:
    me = draft.me()
    body = CreateAccount(keccak256(b"somebody")[:20]).encode()
    draft.lie(body, _both(draft.obey(body), _minting(me)))


@_villain("bad-allocation", Code.WRONG_ROOT, "fills a number ahead of its time, then allocates it")
def _bad_allocation(draft: Draft) -> None:
    first, second = (CreateAccount(keccak256(name)[:20]).encode() for name in (b"first", b"second"))
    taken = draft.state.meta.next_account + 1

    def fill(state: RollupState) -> None:
        state.write(account_key(taken), Account(owner=keccak256(b"in the way")[:20], balance_nano=LOOT_NANO))

    draft.lie(first, _both(draft.obey(first), fill))
    draft.lie(second, lambda state: state.write(account_key(taken), None))


# ----------------------------------------------------------------------------------------------- lies about payers


@_villain("truncated", Code.MALFORMED, "cuts a transaction short and executes it as if it were whole")
def _truncated(draft: Draft) -> None:
    victim, me = draft.victim(), draft.me()
    draft.lie(_theft(draft, victim, me)[:-1], _paying(victim, me, LOOT_NANO))


@_villain("unknown-type", Code.UNKNOWN_TYPE, "executes a transaction of a type that doesn't exist")
def _unknown_type(draft: Draft) -> None:
    me = draft.me()
    draft.lie(bytes([FORGED_TYPE]) + _theft(draft, me, me)[1:], _minting(me))


@_villain("missing-sender", Code.MISSING_SENDER, "pays itself from an account that doesn't exist")
def _missing_sender(draft: Draft) -> None:
    me = draft.me()
    draft.lie(draft.signed(Transfer(NOBODY, me, LOOT_NANO, 0), me), _minting(me))


@_villain("missing-receiver", Code.MISSING_RECEIVER, "pays an account that doesn't exist, so that the money is gone")
def _missing_receiver(draft: Draft) -> None:
    me = draft.me()
    amount = draft.account(me).balance_nano
    draft.lie(draft.signed(Transfer(me, NOBODY, min(amount, MAX_U64), 0), me), _paying(me, NOBODY, amount))


@_villain("malleable", Code.MALLEABLE_SIGNATURE, "takes a signature of the kind that can be turned into a second one")
def _malleable(draft: Draft) -> None:
    victim, me = draft.victim(), draft.me()
    high_s = (SECP256K1_N // 2 + 1).to_bytes(32, "big")
    raw = Transfer(victim, me, LOOT_NANO, 0).encode(keccak256(b"r") + high_s)
    draft.lie(raw, _paying(victim, me, LOOT_NANO))


@_villain("bad-signature", Code.BAD_SIGNATURE, "spends somebody's money with its own signature")
def _bad_signature(draft: Draft) -> None:
    victim, me = draft.victim(), draft.me()
    draft.lie(_theft(draft, victim, me), _paying(victim, me, LOOT_NANO))


@_villain("replay", Code.BAD_SIGNATURE, "executes a transfer a second time")
def _replay(draft: Draft) -> None:
    raw = _newest_transfer(draft)
    if raw is None:
        me = draft.me()
        raw = draft.signed(Transfer(me, draft.accomplice(), 0, 0), me)
        draft.send(raw)
    sender, receiver, amount = (int.from_bytes(raw[start:end], "big") for start, end in ((1, 5), (5, 9), (9, 17)))
    draft.lie(raw, _paying(sender, receiver, amount))


@_villain("overdraft", Code.OVERDRAFT, "pays more than it has")
def _overdraft(draft: Draft) -> None:
    me, accomplice = draft.me(), draft.accomplice()
    amount = min(draft.account(me).balance_nano + LOOT_NANO, MAX_U64)
    draft.lie(draft.signed(Transfer(me, accomplice, amount, 0), me), _paying(me, accomplice, amount))


@_villain("too-many", Code.TOO_MANY_IN_FRAME, "puts nine transactions into one frame")
def _too_many(draft: Draft) -> None:
    owners = [keccak256(b"crowd" + bytes([number]))[:20] for number in range(MAX_FRAME_ITEMS + 1)]
    bodies = [CreateAccount(owner).encode() for owner in owners]
    draft.lie(b"".join(bodies), _both(*(draft.obey(body) for body in bodies)))


# -------------------------------------------------------------------------------- lies about channels and stakes


@_villain("closed-channel", Code.CHANNEL_UNAVAILABLE, "redeems from a channel that doesn't exist")
def _closed_channel(draft: Draft) -> None:
    me = draft.me()
    draft.lie(draft.signed_once(Redeem(NOBODY, LOOT_NANO)), _minting(me))


@_villain("wrong-voucher", Code.BAD_VOUCHER, "redeems a channel's whole deposit with a voucher that it signed itself")
def _wrong_voucher(draft: Draft) -> None:
    channel_id = _open_channel(draft)
    channel = draft.state.channel(channel_id)
    assert channel is not None
    cumulative = min(max(channel.deposit_nano, channel.redeemed_nano + 1), MAX_U64)
    owed = cumulative - channel.redeemed_nano

    def redeem(state: RollupState) -> None:
        state.write(channel_key(channel_id), replace(channel, redeemed_nano=cumulative))
        mint(state, channel.payee, owed)

    draft.lie(draft.signed_once(Redeem(channel_id, cumulative)), redeem)


@_villain("early-expire", Code.TOO_EARLY, "returns a channel's deposit to the payer before its time")
def _early_expire(draft: Draft) -> None:
    channel_id = _open_channel(draft)
    channel = draft.state.channel(channel_id)
    assert channel is not None

    def expire(state: RollupState) -> None:
        state.write(channel_key(channel_id), None)
        mint(state, channel.payer, channel.deposit_nano - channel.redeemed_nano)

    draft.lie(Expire(channel_id).encode(), expire)


@_villain("stake-violation", Code.STAKE_VIOLATION, "takes out a stake that it never put in")
def _stake_violation(draft: Draft) -> None:
    me = draft.me()
    draft.lie(FinishUnstake(me).encode(), _minting(me))


@_villain("bad-slash", Code.BAD_SLASH_EVIDENCE, "slashes a provider by receipts that the provider didn't sign")
def _bad_slash(draft: Draft) -> None:
    victim, me = draft.victim(), draft.me()
    staked = draft.account(victim).stake_nano

    def slash(state: RollupState) -> None:
        account = draft.account(victim)
        state.write(account_key(victim), replace(account, stake_nano=0, unlocking_nano=0, unlock_at_s=0))
        mint(state, me, staked)

    draft.lie(_slash(draft, victim, me), slash)


def _overflow(draft: Draft) -> None:
    me, *others = draft.my_accounts()
    for number in others:
        amount = min(draft.account(number).balance_nano, MAX_U64)
        draft.send(draft.signed(Transfer(number, me, amount, 0), number))
    while (balance := draft.account(me).balance_nano) > 0:
        draft.send(draft.signed(Stake(me, min(balance, MAX_U64), 0), me))
    staked = draft.account(me).stake_nano

    def slash(state: RollupState) -> None:
        state.write(account_key(me), replace(draft.account(me), stake_nano=0, balance_nano=staked // 2))

    draft.lie(_slash(draft, me, me), slash)


VILLAINS["overflow"] = Villain(
    name="overflow",
    does="slashes its own stake, of which more would be burnt than a withdrawal can hold",
    stopped_by="proof",
    code=Code.OVERFLOW,
    act=_overflow,
    needs_riches=True,
)


# ------------------------------------------------------------------------------------------- lies about the inbox


@_villain("wrong-inbox", Code.INBOX_ORDER, "executes a deposit a second time")
def _wrong_inbox(draft: Draft) -> None:
    cursor, me = draft.state.meta.inbox_cursor, draft.me()
    draft.lie(encode_inbox_body(max(cursor - 1, 0), 1), _minting(me))


def _short_of_cursor(header: BatchHeader, bodies: list[bytes], _cursor: int) -> BatchShape:
    """The inbox frames alone, and the last message left out of them."""
    inbox = [body for body in bodies if is_inbox_body(body)]
    decoded = decode_inbox_body(inbox.pop())
    assert decoded is not None
    start, count = decoded
    return header, [*inbox, *([encode_inbox_body(start, count - 1)] if count > 1 else [])]


VILLAINS["wrong-cursor"] = Villain(
    name="wrong-cursor",
    does="claims to have executed a deposit that it left out",
    stopped_by="proof",
    code=Code.WRONG_CURSOR,
    reshape=_short_of_cursor,
    needs_messages=2,
)


# ----------------------------------------------------------------------- refused at submission, or out of patience


def _without_inbox(header: BatchHeader, bodies: list[bytes], cursor: int) -> BatchShape:
    return replace(header, inbox_to=cursor), [body for body in bodies if not is_inbox_body(body)]


def _later(header: BatchHeader, bodies: list[bytes], _cursor: int) -> BatchShape:
    return replace(header, l2_time_s=header.l2_time_s + CHANNEL_LIFE_S), bodies


VILLAINS["withhold-frame"] = Villain(
    name="withhold-frame",
    does="keeps back a part of its last frame",
    stopped_by="refusal",
    refusal="truncated",
    deface=lambda blob: blob[:-1],
)
VILLAINS["future-time"] = Villain(
    name="future-time",
    does="sets L2 a day ahead, so that channels run out",
    stopped_by="refusal",
    refusal="l2_time_ahead",
    reshape=_later,
)
VILLAINS["skip-forced"] = Villain(
    name="skip-forced",
    does="leaves out what waits in the inbox",
    stopped_by="takeover",
    refusal="inbox_ignored",
    reshape=_without_inbox,
    is_lasting=True,
)
VILLAINS["stall"] = Villain(
    name="stall",
    does="posts nothing any more",
    stopped_by="takeover",
    stalls=True,
)


# ------------------------------------------------------------------------------------------------------- the props


def _theft(draft: Draft, sender: int, receiver: int) -> bytes:
    """A transfer of somebody's money that the villain signed."""
    return draft.signed(Transfer(sender, receiver, LOOT_NANO, 0), sender)


def _paying(sender: int, receiver: int, amount_nano: int) -> Effect:
    return lambda state: pay(state, sender, receiver, amount_nano)


def _minting(receiver: int) -> Effect:
    return lambda state: mint(state, receiver, LOOT_NANO)


def _both(*effects: Effect) -> Effect:
    def effect(state: RollupState) -> None:
        for one in effects:
            one(state)

    return effect


def _newest_transfer(draft: Draft) -> bytes | None:
    for frame in reversed(draft.frames):
        if frame.body[0] == TxType.TRANSFER:
            return frame.body[: Transfer.SIZE]
    return None


def _open_channel(draft: Draft) -> int:
    """A channel that is open: somebody's, else one of the villain's own."""
    found = draft.channel()
    if found is not None:
        return found
    me, accomplice = draft.me(), draft.accomplice()
    number = draft.state.meta.next_channel
    expiry_s = draft.header.l2_time_s + CHANNEL_LIFE_S
    amount = min(draft.account(me).balance_nano, MAX_U64)
    signer = keccak256(b"a voucher key")[:20]
    draft.send(draft.signed(OpenChannel(me, accomplice, signer, amount, expiry_s, 0), me))
    return number


def _slash(draft: Draft, provider: int, reporter: int) -> bytes:
    """Two different receipts, both signed by the villain, as its reporter."""
    owner = draft.account(provider).owner
    first, second = (ReceiptEvidence(keccak256(text), bytes(64)) for text in (b"one output", b"another output"))
    slash = Slash(provider, reporter, 7, 3, first, second)

    def signed(one: ReceiptEvidence) -> ReceiptEvidence:
        digest = draft.rules.domain.digest(slash.receipt_hash(one, owner))
        return replace(one, signature=draft.sign(digest))

    slash = replace(slash, first=signed(first), second=signed(second))
    return slash.encode(draft.sign(slash.digest(draft.rules.domain, owner)))
