"""Money of accounts: deposited, moved and withdrawn."""

from __future__ import annotations

from msgspec.structs import replace

from chain.l1.protocol import InboxMessage
from chain.rules.moves import check_free, check_signer, credit, spend, withdraw_to
from chain.rules.outcome import DONE, OK, Code, Outcome, Rules
from chain.signing import ZERO_ADDRESS
from chain.state import RollupState
from chain.txs import CollectFees, CreateAccount, Prune, Transfer, Withdraw
from chain.types import MAX_U128, META_KEY, Account, Withdrawal, account_key


def deposit(state: RollupState, message: InboxMessage) -> Outcome:
    """Credit what L1 took in to the account that the message hints at, or to a new one, or send it back.

    Where neither can take it, it becomes a withdrawal to its owner. Only where that can't be kept either, nothing
    happens; the money then stays in the contract.
    """
    hinted = state.account(message.index_hint)
    supply = state.meta.supply_nano + message.amount_nano
    if supply > MAX_U128:
        return Outcome(Code.OVERFLOW)
    if hinted is not None and hinted.owner == message.owner:
        outcome = Outcome(credit(state, message.index_hint, message.amount_nano))
    else:
        outcome = _allocate_account(state, message.owner, message.amount_nano)
    if outcome.code is not OK:
        refund = Withdrawal(recipient=message.owner, amount_nano=message.amount_nano, account=0, nonce=message.index)
        outcome = withdraw_to(state, refund)
    if outcome.code is OK:
        state.write(META_KEY, replace(state.meta, supply_nano=supply))
    return outcome


def create_account(state: RollupState, tx: CreateAccount, _signature: bytes, _rules: Rules) -> Outcome:
    """Give an owner the next account."""
    if tx.owner == ZERO_ADDRESS:
        return Outcome(Code.MISSING_RECEIVER)
    return _allocate_account(state, tx.owner, 0)


def _allocate_account(state: RollupState, owner: bytes, balance_nano: int) -> Outcome:
    meta = state.meta
    number = meta.next_account
    code = check_free(state, number, account_key(number))
    if code is not OK:
        return Outcome(code)
    state.write(account_key(number), Account(owner=owner, balance_nano=balance_nano))
    state.write(META_KEY, replace(meta, next_account=number + 1))
    return Outcome(OK, number)


def transfer(state: RollupState, tx: Transfer, signature: bytes, rules: Rules) -> Outcome:
    """Move money from one account to another."""
    sender = state.account(tx.sender)
    if sender is None:
        return Outcome(Code.MISSING_SENDER)
    receiver = state.account(tx.receiver)
    if receiver is None:
        return Outcome(Code.MISSING_RECEIVER)
    code = check_signer(sender.owner, tx.digest(rules.domain, sender.nonce, receiver.owner), signature)
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


def collect_fees(state: RollupState, tx: CollectFees, _signature: bytes, _rules: Rules) -> Outcome:
    """Pay every fee collected so far to an account, as who posts the batch says."""
    pool_nano = state.meta.fee_pool_nano
    code = credit(state, tx.account, pool_nano)
    if code is OK:
        state.write(META_KEY, replace(state.meta, fee_pool_nano=0))
    return Outcome(code)


def prune(state: RollupState, tx: Prune, _signature: bytes, _rules: Rules) -> Outcome:
    """Remove an account that holds nothing; anyone may ask for it.

    The counter of accounts only grows, so the number names nothing from then on: a signature, a deposit's hint or a
    channel that names it finds no account, and never another one.
    """
    account = state.account(tx.account)
    if account is None:
        return Outcome(Code.MISSING_SENDER)
    if account.balance_nano or account.stake_nano or account.unlocking_nano or account.channels:
        return Outcome(Code.STAKE_VIOLATION)
    state.write(account_key(tx.account), None)
    return DONE
