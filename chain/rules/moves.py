"""Checks and moves that several rules share."""

from __future__ import annotations

from msgspec.structs import replace

from chain.rules.outcome import OK, Code, Outcome
from chain.signing import is_malleable, recover
from chain.state import RollupState
from chain.types import (
    MAX_U32,
    MAX_U64,
    MAX_U128,
    META_KEY,
    REGION_CAPACITY,
    Account,
    Withdrawal,
    account_key,
    withdrawal_key,
)


def check_signer(address: bytes, digest: bytes, signature: bytes) -> Code:
    """Whether a digest was signed by the key of an address."""
    if recover(digest, signature) == address:
        return OK
    return Code.MALLEABLE_SIGNATURE if is_malleable(signature) else Code.BAD_SIGNATURE


def check_free(state: RollupState, number: int, key: int) -> Code:
    """Whether the number that an allocation would get is in its region and names nothing yet."""
    if number >= REGION_CAPACITY:
        return Code.OVERFLOW
    return OK if state.leaf(key) is None else Code.BAD_ALLOCATION


def spend(state: RollupState, number: int, account: Account, amount_nano: int, fee_nano: int) -> Code:
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
    return OK


def credit(state: RollupState, number: int, amount_nano: int) -> Code:
    """Add money to an account."""
    account = state.account(number)
    if account is None:
        return Code.MISSING_RECEIVER
    balance = account.balance_nano + amount_nano
    if balance > MAX_U128:
        return Code.OVERFLOW
    state.write(account_key(number), replace(account, balance_nano=balance))
    return OK


def count_channels(state: RollupState, number: int, step: int) -> Code:
    """Count a channel that an account is a party of: 1 where it opens, -1 where it ends."""
    account = state.account(number)
    if account is None:
        return Code.MISSING_RECEIVER
    channels = account.channels + step
    if not 0 <= channels <= MAX_U32:
        return Code.OVERFLOW  # no reachable state: a region has fewer channels, and none ends twice
    state.write(account_key(number), replace(account, channels=channels))
    return OK


def change_account(state: RollupState, number: int, **changes: int) -> None:
    """Write fields of an account that exists."""
    account = state.account(number)
    assert account is not None
    state.write(account_key(number), replace(account, **changes))


def withdraw_to(state: RollupState, withdrawal: Withdrawal) -> Outcome:
    """Keep a withdrawal under the next number."""
    meta = state.meta
    number = meta.next_withdrawal
    code = check_free(state, number, withdrawal_key(number))
    if code is not OK:
        return Outcome(code)
    state.write(withdrawal_key(number), withdrawal)
    state.write(META_KEY, replace(meta, next_withdrawal=number + 1))
    return Outcome(OK, number)
