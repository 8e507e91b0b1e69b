"""Stakes behind receipts: put up, taken out, and slashed."""

from __future__ import annotations

from chain.rules.moves import change_account, check_signer, credit, spend, withdraw_to
from chain.rules.outcome import DONE, OK, Code, Outcome, Rules
from chain.signing import is_malleable, recover
from chain.state import RollupState
from chain.txs import FinishUnstake, Slash, Stake, Unstake
from chain.types import MAX_U64, MAX_U128, Withdrawal

BURN_ADDRESS = bytes.fromhex("000000000000000000000000000000000000dead")
"""Nobody's: what a slash burns is withdrawn to it, so that the money stays counted."""


def stake(state: RollupState, tx: Stake, signature: bytes, rules: Rules) -> Outcome:
    """Put money of an account behind the receipts that its owner signs."""
    sender = state.account(tx.sender)
    if sender is None:
        return Outcome(Code.MISSING_SENDER)
    code = check_signer(sender.owner, tx.digest(rules.domain, sender.nonce), signature)
    if code is OK and tx.amount_nano == 0:
        code = Code.STAKE_VIOLATION
    if code is OK:
        code = spend(state, tx.sender, sender, tx.amount_nano, tx.fee_nano)
    if code is not OK:
        return Outcome(code)
    staked = sender.stake_nano + tx.amount_nano
    if staked > MAX_U128:
        return Outcome(Code.OVERFLOW)
    is_first = sender.stake_nano == 0 and sender.unlocking_nano == 0
    slash_from = state.meta.next_channel if is_first else sender.slash_from
    change_account(state, tx.sender, stake_nano=staked, slash_from=slash_from)
    return DONE


def unstake(state: RollupState, tx: Unstake, signature: bytes, rules: Rules) -> Outcome:
    """Begin to take out a part of a stake; it stays slashable until the delay is over."""
    sender = state.account(tx.sender)
    if sender is None:
        return Outcome(Code.MISSING_SENDER)
    code = check_signer(sender.owner, tx.digest(rules.domain, sender.nonce), signature)
    if code is OK and (not 0 < tx.amount_nano <= sender.stake_nano or sender.unlocking_nano):
        code = Code.STAKE_VIOLATION
    if code is OK:
        code = spend(state, tx.sender, sender, 0, tx.fee_nano)
    if code is not OK:
        return Outcome(code)
    unlock_at_s = state.meta.l2_time_s + rules.unstake_delay_s
    if unlock_at_s > MAX_U64:
        return Outcome(Code.OVERFLOW)
    change_account(
        state,
        tx.sender,
        stake_nano=sender.stake_nano - tx.amount_nano,
        unlocking_nano=tx.amount_nano,
        unlock_at_s=unlock_at_s,
    )
    return DONE


def finish_unstake(state: RollupState, tx: FinishUnstake, _signature: bytes, _rules: Rules) -> Outcome:
    """Give back what was unstaked; anyone may ask for it."""
    account = state.account(tx.sender)
    if account is None:
        return Outcome(Code.MISSING_SENDER)
    if account.unlocking_nano == 0 or state.meta.l2_time_s < account.unlock_at_s:
        return Outcome(Code.STAKE_VIOLATION)
    balance = account.balance_nano + account.unlocking_nano
    if balance > MAX_U128:
        return Outcome(Code.OVERFLOW)
    change_account(state, tx.sender, balance_nano=balance, unlocking_nano=0, unlock_at_s=0)
    return DONE


def slash(state: RollupState, tx: Slash, signature: bytes, rules: Rules) -> Outcome:
    """Take a provider's stake for two receipts that contradict each other: half to the reporter, half to nobody."""
    provider = state.account(tx.provider)
    if provider is None:
        return Outcome(Code.MISSING_SENDER)
    reporter = state.account(tx.reporter)
    if reporter is None:
        return Outcome(Code.MISSING_RECEIVER)
    if tx.channel < provider.slash_from:
        return Outcome(Code.BAD_SLASH_EVIDENCE)  # the stake that stood behind this channel is gone, or came later
    code = _check_evidence(tx, provider.owner, rules)
    if code is OK:
        code = check_signer(reporter.owner, tx.digest(rules.domain, provider.owner), signature)
    if code is not OK:
        return Outcome(code)
    taken = provider.stake_nano + provider.unlocking_nano
    if taken == 0:
        return Outcome(Code.STAKE_VIOLATION)
    change_account(state, tx.provider, stake_nano=0, unlocking_nano=0, unlock_at_s=0)
    reward = taken // 2
    code = credit(state, tx.reporter, reward)
    if code is OK and taken - reward > MAX_U64:
        code = Code.OVERFLOW  # L1 pays claims of u64, and this leaf is one like any other
    if code is not OK:
        return Outcome(code)
    burnt = Withdrawal(recipient=BURN_ADDRESS, amount_nano=taken - reward, account=tx.provider, nonce=provider.nonce)
    return withdraw_to(state, burnt)


def _check_evidence(tx: Slash, owner: bytes, rules: Rules) -> Code:
    """Whether the two receipts differ, and ``owner`` signed both."""
    receipts = [(tx.receipt_hash(evidence, owner), evidence.signature) for evidence in (tx.first, tx.second)]
    if receipts[0][0] == receipts[1][0]:
        return Code.BAD_SLASH_EVIDENCE
    if any(is_malleable(signature) for _, signature in receipts):
        return Code.MALLEABLE_SIGNATURE
    is_signed = all(recover(rules.domain.digest(receipt), signature) == owner for receipt, signature in receipts)
    return OK if is_signed else Code.BAD_SLASH_EVIDENCE
