"""The state transition: total functions from a state and bytes to a state and a code.

Nothing here reads a clock, a disk or a socket, and nothing raises on batch data: every outcome is one of the eighteen
codes of ``docs/rollup.md``, and a state is left as it was unless the code is ``OK``. Checks run in the order in which
they stand, since the contract that re-executes a step has to come to the same code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, NamedTuple

from msgspec.structs import replace

from chain.codec import MAX_FORCED_TX_BYTES, MAX_FRAME_ITEMS, BatchHeader, Frame, decode_inbox_body, is_inbox_body
from chain.eip712 import SigningDomain
from chain.l1.protocol import InboxMessage
from chain.signing import ZERO_ADDRESS, is_malleable, recover
from chain.state import State
from chain.txs import (
    TX_SIZES,
    CloseTogether,
    CreateAccount,
    Expire,
    FinishUnstake,
    OpenChannel,
    Redeem,
    Slash,
    Stake,
    StartClose,
    TopUp,
    Transfer,
    TxFormatError,
    Unstake,
    Withdraw,
    decode,
)
from chain.types import (
    MAX_U64,
    MAX_U128,
    META_KEY,
    REGION_CAPACITY,
    Account,
    Channel,
    Withdrawal,
    account_key,
    channel_key,
    withdrawal_key,
)


class Code(IntEnum):
    """Why a step is wrong; 0 where it is not."""

    OK = 0
    MALFORMED = 1
    UNKNOWN_TYPE = 2
    MISSING_SENDER = 3
    MALLEABLE_SIGNATURE = 4
    BAD_SIGNATURE = 5
    OVERDRAFT = 6
    MISSING_RECEIVER = 7
    WRONG_ROOT = 8
    TOO_MANY_IN_FRAME = 9
    CHANNEL_UNAVAILABLE = 10
    BAD_VOUCHER = 11
    TOO_EARLY = 12
    STAKE_VIOLATION = 13
    BAD_SLASH_EVIDENCE = 14
    INBOX_ORDER = 15
    WRONG_CURSOR = 16
    BAD_ALLOCATION = 17
    OVERFLOW = 18


@dataclass(frozen=True, slots=True)
class Rules:
    """What a deployment fixes for every step."""

    domain: SigningDomain
    close_delay_s: int
    unstake_delay_s: int
    """How long a stake on its way out stays slashable."""


BURN_ADDRESS = bytes.fromhex("000000000000000000000000000000000000dead")
"""Nobody's: what a slash burns is withdrawn to it, so that the money stays counted."""


class Outcome(NamedTuple):
    """What a transaction or inbox message did: its code, and the account, channel or withdrawal number it allocated."""

    code: Code
    allocated: int | None = None


InboxReader = Callable[[int], InboxMessage]
"""The L1 inbox message of an index that exists."""

_OK: Final = Code.OK  # looked up once, since an enum's members cost five times a name's look-up
_DONE = Outcome(_OK)


def apply(state: State, raw: bytes, rules: Rules) -> Outcome:
    """Execute one transaction; the state changes only where the code is ``OK``."""
    try:
        tx, signature = decode(raw)
    except TxFormatError as error:
        return Outcome(Code.UNKNOWN_TYPE if error.is_unknown_type else Code.MALFORMED)
    mark = state.mark()
    outcome = _EXECUTORS[type(tx)](state, tx, signature, rules)
    if outcome.code is not _OK:
        state.rollback(mark)
    return outcome


def apply_inbox(state: State, message: InboxMessage, rules: Rules) -> Outcome:
    """Execute the inbox message at the cursor and move the cursor; an invalid one changes nothing but the cursor."""
    outcome = (
        _deposit(state, message)
        if message.kind == "deposit"
        else apply(state, message.body, rules)
        if len(message.body) <= MAX_FORCED_TX_BYTES
        else Outcome(Code.MALFORMED)
    )
    state.write(META_KEY, replace(state.meta, inbox_cursor=message.index + 1))
    return outcome


def execute_frame(
    state: State, header: BatchHeader, frame: Frame, rules: Rules, inbox: InboxReader, *, is_last: bool
) -> Code:
    """Re-execute one frame on the state before it, as a fraud proof does; without ``OK`` nothing changes."""
    mark = state.mark()
    code = execute_body(state, header, frame.body, rules, inbox, is_last=is_last)
    if code is _OK and state.root() != frame.post_root:
        code = Code.WRONG_ROOT
    if code is not _OK:
        state.rollback(mark)
    return code


def execute_body(
    state: State, header: BatchHeader, body: bytes, rules: Rules, inbox: InboxReader, *, is_last: bool
) -> Code:
    """Execute a frame's body whatever root it claims to reach; without ``OK`` the caller rolls the state back."""
    open_batch(state, header.l2_time_s)
    if is_inbox_body(body):
        code = _execute_inbox_body(state, header, body, rules, inbox)
    else:
        code = _execute_tx_body(state, header, body, rules)
    if code is _OK and is_last and state.meta.inbox_cursor != header.inbox_to:
        code = Code.WRONG_CURSOR
    return code


def open_batch(state: State, l2_time_s: int) -> None:
    """Set the L2 time that holds for a batch, which is what every frame's execution begins with."""
    state.write(META_KEY, replace(state.meta, l2_time_s=l2_time_s))


def _execute_inbox_body(state: State, header: BatchHeader, body: bytes, rules: Rules, inbox: InboxReader) -> Code:
    decoded = decode_inbox_body(body)
    if decoded is None:
        return Code.MALFORMED
    start, count = decoded
    if count > MAX_FRAME_ITEMS:
        return Code.TOO_MANY_IN_FRAME
    if start != state.meta.inbox_cursor or count == 0 or start + count > header.inbox_to:
        return Code.INBOX_ORDER
    for index in range(start, start + count):
        apply_inbox(state, inbox(index), rules)
    return _OK


def _execute_tx_body(state: State, header: BatchHeader, body: bytes, rules: Rules) -> Code:
    if state.meta.inbox_cursor != header.inbox_to:
        return Code.INBOX_ORDER
    if not body:
        return Code.MALFORMED
    offset = count = 0
    while offset < len(body):
        if count == MAX_FRAME_ITEMS:
            return Code.TOO_MANY_IN_FRAME
        size = TX_SIZES.get(body[offset])
        if size is None:
            return Code.UNKNOWN_TYPE
        if offset + size > len(body):
            return Code.MALFORMED
        outcome = apply(state, body[offset : offset + size], rules)
        if outcome.code is not _OK:
            return outcome.code
        offset += size
        count += 1
    return _OK


def _deposit(state: State, message: InboxMessage) -> Outcome:
    meta = state.meta
    supply = meta.supply_nano + message.amount_nano
    hinted = state.account(message.index_hint)
    if hinted is not None and hinted.owner == message.owner:
        balance = hinted.balance_nano + message.amount_nano
        if balance > MAX_U128 or supply > MAX_U128:
            return Outcome(Code.OVERFLOW)
        state.write(account_key(message.index_hint), replace(hinted, balance_nano=balance))
        state.write(META_KEY, replace(meta, supply_nano=supply))
        return _DONE
    number = meta.next_account
    if supply > MAX_U128:
        return Outcome(Code.OVERFLOW)
    code = _check_free(state, number, account_key(number))
    if code is not _OK:
        return Outcome(code)
    state.write(account_key(number), Account(owner=message.owner, balance_nano=message.amount_nano))
    state.write(META_KEY, replace(meta, next_account=number + 1, supply_nano=supply))
    return Outcome(_OK, number)


def _create_account(state: State, tx: CreateAccount, _signature: bytes, _rules: Rules) -> Outcome:
    meta = state.meta
    number = meta.next_account
    if tx.owner == ZERO_ADDRESS:
        return Outcome(Code.MISSING_RECEIVER)
    code = _check_free(state, number, account_key(number))
    if code is not _OK:
        return Outcome(code)
    state.write(account_key(number), Account(owner=tx.owner))
    state.write(META_KEY, replace(meta, next_account=number + 1))
    return Outcome(_OK, number)


def _transfer(state: State, tx: Transfer, signature: bytes, rules: Rules) -> Outcome:
    sender = state.account(tx.sender)
    if sender is None:
        return Outcome(Code.MISSING_SENDER)
    code = _check_signer(sender.owner, tx.digest(rules.domain, sender.nonce), signature)
    if code is _OK:
        code = _spend(state, tx.sender, sender, tx.amount_nano, tx.fee_nano)
    if code is _OK:
        code = _credit(state, tx.receiver, tx.amount_nano)
    return _DONE if code is _OK else Outcome(code)


def _withdraw(state: State, tx: Withdraw, signature: bytes, rules: Rules) -> Outcome:
    sender = state.account(tx.sender)
    if sender is None:
        return Outcome(Code.MISSING_SENDER)
    code = _check_signer(sender.owner, tx.digest(rules.domain, sender.nonce), signature)
    if code is _OK:
        code = _spend(state, tx.sender, sender, tx.amount_nano, tx.fee_nano)
    if code is not _OK:
        return Outcome(code)
    if tx.recipient == ZERO_ADDRESS:
        return Outcome(Code.MISSING_RECEIVER)
    return _withdraw_to(state, tx.recipient, tx.amount_nano)


def _open_channel(state: State, tx: OpenChannel, signature: bytes, rules: Rules) -> Outcome:
    sender = state.account(tx.sender)
    if sender is None:
        return Outcome(Code.MISSING_SENDER)
    code = _check_signer(sender.owner, tx.digest(rules.domain, sender.nonce), signature)
    if code is _OK:
        code = _spend(state, tx.sender, sender, tx.amount_nano, tx.fee_nano)
    if code is not _OK:
        return Outcome(code)
    meta = state.meta
    if state.account(tx.payee) is None:
        return Outcome(Code.MISSING_RECEIVER)
    if tx.expiry_s <= meta.l2_time_s:
        return Outcome(Code.CHANNEL_UNAVAILABLE)
    number = meta.next_channel
    code = _check_free(state, number, channel_key(number))
    if code is not _OK:
        return Outcome(code)
    channel = Channel(
        payer=tx.sender, payee=tx.payee, signer=tx.signer, deposit_nano=tx.amount_nano, expiry_s=tx.expiry_s
    )
    state.write(channel_key(number), channel)
    state.write(META_KEY, replace(meta, next_channel=number + 1))
    return Outcome(_OK, number)


def _top_up(state: State, tx: TopUp, signature: bytes, rules: Rules) -> Outcome:
    channel = state.channel(tx.channel)
    if channel is None or channel.closing_at_s or channel.is_over(state.meta.l2_time_s):
        return Outcome(Code.CHANNEL_UNAVAILABLE)
    payer = state.account(channel.payer)
    if payer is None:
        return Outcome(Code.MISSING_SENDER)
    code = _check_signer(payer.owner, tx.digest(rules.domain, payer.nonce), signature)
    if code is _OK:
        code = _spend(state, channel.payer, payer, tx.amount_nano, tx.fee_nano)
    if code is not _OK:
        return Outcome(code)
    deposit = channel.deposit_nano + tx.amount_nano
    if deposit > MAX_U128:
        return Outcome(Code.OVERFLOW)
    state.write(channel_key(tx.channel), replace(channel, deposit_nano=deposit))
    return _DONE


def _redeem(state: State, tx: Redeem, signature: bytes, rules: Rules) -> Outcome:
    channel = state.channel(tx.channel)
    if channel is None or channel.is_over(state.meta.l2_time_s):
        return Outcome(Code.CHANNEL_UNAVAILABLE)
    if not channel.redeemed_nano < tx.cumulative_nano <= channel.deposit_nano:
        return Outcome(Code.BAD_VOUCHER)
    code = _check_signer(channel.signer, tx.digest(rules.domain), signature)
    if code is not _OK:
        return Outcome(Code.BAD_VOUCHER if code is Code.BAD_SIGNATURE else code)
    state.write(channel_key(tx.channel), replace(channel, redeemed_nano=tx.cumulative_nano))
    return Outcome(_credit(state, channel.payee, tx.cumulative_nano - channel.redeemed_nano))


def _close_together(state: State, tx: CloseTogether, signature: bytes, rules: Rules) -> Outcome:
    channel = state.channel(tx.channel)
    if channel is None:
        return Outcome(Code.CHANNEL_UNAVAILABLE)
    if tx.cumulative_nano != channel.redeemed_nano:
        return Outcome(Code.BAD_VOUCHER)
    payee = state.account(channel.payee)
    if payee is None:
        return Outcome(Code.MISSING_SENDER)
    code = _check_signer(payee.owner, tx.digest(rules.domain), signature)
    if code is not _OK:
        return Outcome(code)
    return _end_channel(state, tx.channel, channel)


def _start_close(state: State, tx: StartClose, signature: bytes, rules: Rules) -> Outcome:
    channel = state.channel(tx.channel)
    if channel is None or channel.closing_at_s or channel.is_over(state.meta.l2_time_s):
        return Outcome(Code.CHANNEL_UNAVAILABLE)
    payer = state.account(channel.payer)
    if payer is None:
        return Outcome(Code.MISSING_SENDER)
    code = _check_signer(payer.owner, tx.digest(rules.domain, payer.nonce), signature)
    if code is _OK:
        code = _spend(state, channel.payer, payer, 0, 0)
    if code is not _OK:
        return Outcome(code)
    closing_at = state.meta.l2_time_s + rules.close_delay_s
    if closing_at > MAX_U64:
        return Outcome(Code.OVERFLOW)
    state.write(channel_key(tx.channel), replace(channel, closing_at_s=closing_at))
    return _DONE


def _expire(state: State, tx: Expire, _signature: bytes, _rules: Rules) -> Outcome:
    channel = state.channel(tx.channel)
    if channel is None:
        return Outcome(Code.CHANNEL_UNAVAILABLE)
    if not channel.is_over(state.meta.l2_time_s):
        return Outcome(Code.TOO_EARLY)
    return _end_channel(state, tx.channel, channel)


def _stake(state: State, tx: Stake, signature: bytes, rules: Rules) -> Outcome:
    sender = state.account(tx.sender)
    if sender is None:
        return Outcome(Code.MISSING_SENDER)
    code = _check_signer(sender.owner, tx.digest(rules.domain, sender.nonce), signature)
    if code is _OK and tx.amount_nano == 0:
        code = Code.STAKE_VIOLATION
    if code is _OK:
        code = _spend(state, tx.sender, sender, tx.amount_nano, tx.fee_nano)
    if code is not _OK:
        return Outcome(code)
    stake = sender.stake_nano + tx.amount_nano
    if stake > MAX_U128:
        return Outcome(Code.OVERFLOW)
    _change_account(state, tx.sender, stake_nano=stake)
    return _DONE


def _unstake(state: State, tx: Unstake, signature: bytes, rules: Rules) -> Outcome:
    sender = state.account(tx.sender)
    if sender is None:
        return Outcome(Code.MISSING_SENDER)
    code = _check_signer(sender.owner, tx.digest(rules.domain, sender.nonce), signature)
    if code is _OK and (not 0 < tx.amount_nano <= sender.stake_nano or sender.unlocking_nano):
        code = Code.STAKE_VIOLATION
    if code is _OK:
        code = _spend(state, tx.sender, sender, 0, tx.fee_nano)
    if code is not _OK:
        return Outcome(code)
    unlock_at_s = state.meta.l2_time_s + rules.unstake_delay_s
    if unlock_at_s > MAX_U64:
        return Outcome(Code.OVERFLOW)
    _change_account(
        state,
        tx.sender,
        stake_nano=sender.stake_nano - tx.amount_nano,
        unlocking_nano=tx.amount_nano,
        unlock_at_s=unlock_at_s,
    )
    return _DONE


def _finish_unstake(state: State, tx: FinishUnstake, _signature: bytes, _rules: Rules) -> Outcome:
    account = state.account(tx.sender)
    if account is None:
        return Outcome(Code.MISSING_SENDER)
    if account.unlocking_nano == 0 or state.meta.l2_time_s < account.unlock_at_s:
        return Outcome(Code.STAKE_VIOLATION)
    balance = account.balance_nano + account.unlocking_nano
    if balance > MAX_U128:
        return Outcome(Code.OVERFLOW)
    _change_account(state, tx.sender, balance_nano=balance, unlocking_nano=0, unlock_at_s=0)
    return _DONE


def _slash(state: State, tx: Slash, _signature: bytes, rules: Rules) -> Outcome:
    provider = state.account(tx.provider)
    if provider is None:
        return Outcome(Code.MISSING_SENDER)
    if state.account(tx.reporter) is None:
        return Outcome(Code.MISSING_RECEIVER)
    code = _check_evidence(tx, provider.owner, rules)
    if code is not _OK:
        return Outcome(code)
    taken = provider.stake_nano + provider.unlocking_nano
    if taken == 0:
        return Outcome(Code.STAKE_VIOLATION)
    _change_account(state, tx.provider, stake_nano=0, unlocking_nano=0, unlock_at_s=0)
    reward = taken // 2
    code = _credit(state, tx.reporter, reward)
    if code is _OK and taken - reward > MAX_U64:
        code = Code.OVERFLOW  # L1 pays claims of u64, and this leaf is one like any other
    if code is not _OK:
        return Outcome(code)
    return _withdraw_to(state, BURN_ADDRESS, taken - reward)


def _check_evidence(tx: Slash, owner: bytes, rules: Rules) -> Code:
    """Whether the two receipts differ, and ``owner`` signed both."""
    receipts = [(tx.receipt_hash(evidence, owner), evidence.signature) for evidence in (tx.first, tx.second)]
    if receipts[0][0] == receipts[1][0]:
        return Code.BAD_SLASH_EVIDENCE
    if any(is_malleable(signature) for _, signature in receipts):
        return Code.MALLEABLE_SIGNATURE
    is_signed = all(recover(rules.domain.digest(receipt), signature) == owner for receipt, signature in receipts)
    return _OK if is_signed else Code.BAD_SLASH_EVIDENCE


def _check_free(state: State, number: int, key: int) -> Code:
    """Whether the number that an allocation would get is in its region and names nothing yet."""
    if number >= REGION_CAPACITY:
        return Code.OVERFLOW
    return _OK if state.leaf(key) is None else Code.BAD_ALLOCATION


def _withdraw_to(state: State, recipient: bytes, amount_nano: int) -> Outcome:
    meta = state.meta
    number = meta.next_withdrawal
    code = _check_free(state, number, withdrawal_key(number))
    if code is not _OK:
        return Outcome(code)
    state.write(withdrawal_key(number), Withdrawal(recipient=recipient, amount_nano=amount_nano))
    state.write(META_KEY, replace(meta, next_withdrawal=number + 1))
    return Outcome(_OK, number)


def _change_account(state: State, number: int, **changes: int) -> None:
    account = state.account(number)
    assert account is not None
    state.write(account_key(number), replace(account, **changes))


def _check_signer(address: bytes, digest: bytes, signature: bytes) -> Code:
    if recover(digest, signature) == address:
        return _OK
    return Code.MALLEABLE_SIGNATURE if is_malleable(signature) else Code.BAD_SIGNATURE


def _spend(state: State, number: int, account: Account, amount_nano: int, fee_nano: int) -> Code:
    """Take amount and fee from an account, count its nonce, and put the fee into the pool."""
    if amount_nano + fee_nano > account.balance_nano:
        return Code.OVERDRAFT
    meta = state.meta
    fee_pool = meta.fee_pool_nano + fee_nano
    if account.nonce == MAX_U64 or fee_pool > MAX_U128:
        return Code.OVERFLOW
    balance = account.balance_nano - amount_nano - fee_nano
    state.write(account_key(number), replace(account, balance_nano=balance, nonce=account.nonce + 1))
    if fee_nano:
        state.write(META_KEY, replace(meta, fee_pool_nano=fee_pool))
    return _OK


def _credit(state: State, number: int, amount_nano: int) -> Code:
    account = state.account(number)
    if account is None:
        return Code.MISSING_RECEIVER
    balance = account.balance_nano + amount_nano
    if balance > MAX_U128:
        return Code.OVERFLOW
    state.write(account_key(number), replace(account, balance_nano=balance))
    return _OK


def _end_channel(state: State, channel_id: int, channel: Channel) -> Outcome:
    state.write(channel_key(channel_id), None)
    return Outcome(_credit(state, channel.payer, channel.deposit_nano - channel.redeemed_nano))


_EXECUTORS: dict[type, Callable[[State, Any, bytes, Rules], Outcome]] = {
    CreateAccount: _create_account,
    Transfer: _transfer,
    Withdraw: _withdraw,
    OpenChannel: _open_channel,
    TopUp: _top_up,
    Redeem: _redeem,
    CloseTogether: _close_together,
    StartClose: _start_close,
    Expire: _expire,
    Stake: _stake,
    Unstake: _unstake,
    FinishUnstake: _finish_unstake,
    Slash: _slash,
}
