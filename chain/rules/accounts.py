"""Money of accounts: deposited, moved and withdrawn."""

from __future__ import annotations

from msgspec.structs import replace

from chain.l1.protocol import InboxMessage
from chain.rules.moves import check_free, check_signer, credit, spend, withdraw_to
from chain.rules.outcome import DONE, OK, Code, Outcome, Rules
from chain.signing import ZERO_ADDRESS
from chain.state import RollupState
from chain.txs import CreateAccount, Transfer, Withdraw
from chain.types import MAX_U128, META_KEY, Account, Withdrawal, account_key


def deposit(state: RollupState, message: InboxMessage) -> Outcome:
    """Credit what L1 took in, to the account that the message hints at, or to a new one."""
    meta = state.meta
    supply = meta.supply_nano + message.amount_nano
    hinted = state.account(message.index_hint)
    if hinted is not None and hinted.owner == message.owner:
        balance = hinted.balance_nano + message.amount_nano
        if balance > MAX_U128 or supply > MAX_U128:
            return Outcome(Code.OVERFLOW)
        state.write(account_key(message.index_hint), replace(hinted, balance_nano=balance))
        state.write(META_KEY, replace(meta, supply_nano=supply))
        return DONE
    number = meta.next_account
    if supply > MAX_U128:
        return Outcome(Code.OVERFLOW)
    code = check_free(state, number, account_key(number))
    if code is not OK:
        return Outcome(code)
    state.write(account_key(number), Account(owner=message.owner, balance_nano=message.amount_nano))
    state.write(META_KEY, replace(meta, next_account=number + 1, supply_nano=supply))
    return Outcome(OK, number)


def create_account(state: RollupState, tx: CreateAccount, _signature: bytes, _rules: Rules) -> Outcome:
    """Give an owner the next account."""
    meta = state.meta
    number = meta.next_account
    if tx.owner == ZERO_ADDRESS:
        return Outcome(Code.MISSING_RECEIVER)
    code = check_free(state, number, account_key(number))
    if code is not OK:
        return Outcome(code)
    state.write(account_key(number), Account(owner=tx.owner))
    state.write(META_KEY, replace(meta, next_account=number + 1))
    return Outcome(OK, number)


def transfer(state: RollupState, tx: Transfer, signature: bytes, rules: Rules) -> Outcome:
    """Move money from one account to another."""
    sender = state.account(tx.sender)
    if sender is None:
        return Outcome(Code.MISSING_SENDER)
    code = check_signer(sender.owner, tx.digest(rules.domain, sender.nonce), signature)
    if code is OK:
        code = spend(state, tx.sender, sender, tx.amount_nano, tx.fee_nano)
    if code is OK:
        code = credit(state, tx.receiver, tx.amount_nano)
    return DONE if code is OK else Outcome(code)


def withdraw(state: RollupState, tx: Withdraw, signature: bytes, rules: Rules) -> Outcome:
    """Take money out of an account, to be claimed on L1."""
    sender = state.account(tx.sender)
    if sender is None:
        return Outcome(Code.MISSING_SENDER)
    code = check_signer(sender.owner, tx.digest(rules.domain, sender.nonce), signature)
    if code is OK:
        code = spend(state, tx.sender, sender, tx.amount_nano, tx.fee_nano)
    if code is not OK:
        return Outcome(code)
    if tx.recipient == ZERO_ADDRESS:
        return Outcome(Code.MISSING_RECEIVER)
    withdrawal = Withdrawal(recipient=tx.recipient, amount_nano=tx.amount_nano, account=tx.sender, nonce=sender.nonce)
    return withdraw_to(state, withdrawal)
