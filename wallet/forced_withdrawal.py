"""A withdrawal through the L1 inbox, which no sequencer can ignore, followed until the money is on L1."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from chain.l1.protocol import Deployment, InboxMessage, RollupL1
from chain.money import MAX_NANO, format_usd
from chain.replay import ReplayedBatch, ReplayError
from chain.signing import checksum_address, recover
from chain.state import RollupState
from chain.txs import TxFormatError, Withdraw, decode
from chain.types import FIRST_INDEX, Account, Withdrawal, withdrawal_key
from wallet.account import UnlockedAccount
from wallet.forcing import account_of, check_patience, deadline_text, read_of, sent_message, waiting_messages
from wallet.rollup_follower import RollupFollower, claimed, finalized
from wallet.sender import check_amount, check_whole_units, checked_address
from wallet.steps import WithdrawalStep, doing, done, waiting
from wallet.wallet_error import WalletError

POLL_S = 1.0


@dataclass(frozen=True, slots=True)
class _Sent:
    """A withdrawal in the inbox."""

    message: InboxMessage
    tx: Withdraw
    l1_tx: bytes = b""
    is_new: bool = True


@dataclass(frozen=True, slots=True)
class _Executed:
    """The batch that executed it, with the proof of the withdrawal that came of it."""

    batch_id: int
    final_at_s: int
    number: int
    leaf: Withdrawal
    siblings: tuple[bytes, ...]


async def force_withdraw(
    l1: RollupL1,
    account: UnlockedAccount,
    amount_nano: int | None,
    to: bytes | None = None,
    *,
    wait: bool = True,
    poll_s: float = POLL_S,
    snapshot: str | None = None,
) -> AsyncIterator[WithdrawalStep]:
    """Withdraw through L1's inbox, from L1's data alone, and say each step.

    Called again while such a withdrawal of this account waits in the inbox, it goes on with that one.

    Args:
        l1: The rollup's contracts; sends as this account.
        account: Withdraws, and pays L1's gas.
        amount_nano: How much; ``None`` for the whole balance. No L2 fee is paid.
        to: The L1 address; this account's own if not given.
        wait: Whether to go on until the money is on L1; without it, ends once the deadline is known.
        poll_s: How often L1 is asked while waiting.
        snapshot: A file or a URL with a final state to begin with, held against L1.

    Raises:
        WalletError: ``no_funds``, ``bad_amount``, ``bad_address``; ``not_executed`` where nobody executes it in time,
            ``no_effect`` where its nonce or its money was used before it was executed.
        ReplayError: If a batch on L1 is wrong and can't be disproven any more.
        ChainRejectedError: As L1 refuses; ``rollup_frozen`` after a freeze.
        ChainUnavailableError: If L1 does not answer.
    """
    deployment = await l1.deployment()
    follower = RollupFollower(l1, snapshot)
    yield doing("read", "Executing every batch on L1 again, to know this account without asking the sequencer.")
    wrong = ""
    try:
        await follower.catch_up()
    except ReplayError as error:
        if error.batch_id < await l1.final_count():
            raise
        wrong = f" Batch {error.batch_id} is wrong and will be taken back."
    state = follower.state
    number, held, others_nano = account_of(state, account.address)
    told = f"{read_of(follower)}: account #{number} holds {format_usd(held.balance_nano)} on L2."
    if others_nano:
        told += f" This address has {format_usd(others_nano)} in other accounts: force another withdrawal for them."
    yield done("read", told + wrong)
    sent = await _waiting_message(l1, state, deployment, number, held, account.address)
    if sent is None:
        recipient = account.address if to is None else checked_address(to)
        tx = _withdrawal(number, held, amount_nano, recipient, deployment.nano_per_unit)
        body = tx.encode(account.sign_digest(tx.digest(deployment.domain, held.nonce)))
        yield done("sign", f"Signed: {_told(tx)}, nonce {held.nonce}, no L2 fee.", amount_nano=tx.amount_nano)
        yield doing("send", "Sending it to the inbox on L1; this wallet pays the gas there.")
        l1_tx = await l1.force_tx(body)
        sent = _Sent(await sent_message(l1, state.meta.inbox_cursor, body), tx, l1_tx)
    else:
        yield done("sign", f"Signed earlier: {_told(sent.tx)}, nonce {held.nonce}.", amount_nano=sent.tx.amount_nano)
    message = sent.message
    was = "" if sent.is_new else "already "
    yield done("send", f"It is {was}message {message.index} of the L1 inbox.", l1_tx=sent.l1_tx)
    yield waiting("deadline", deadline_text(deployment), message.at_s + deployment.force_delay_s)
    if not wait:
        return
    async for step in _followed(l1, follower, deployment, sent, poll_s):
        yield step


async def _followed(
    l1: RollupL1, follower: RollupFollower, deployment: Deployment, sent: _Sent, poll_s: float
) -> AsyncIterator[WithdrawalStep]:
    executed: _Executed | None = None
    told_of = -1
    is_over = False
    restarts = follower.restarts
    while True:
        before = follower.state.meta.next_withdrawal
        try:
            async for replayed in follower.follow():
                if follower.restarts != restarts:
                    executed, is_over, restarts, before = None, False, follower.restarts, FIRST_INDEX
                # By its bytes: anyone may have forced a copy before it, and a reorg may have moved it.
                same = [message.index for message in replayed.messages if message.body == sent.message.body]
                if same:
                    is_over = is_over or same[-1] >= sent.message.index
                    executed = executed or _effect(follower.state, before, replayed, sent.tx, deployment)
                before = follower.state.meta.next_withdrawal
        except ReplayError as error:
            if error.batch_id < await l1.final_count():
                raise
            yield waiting("executed", f"{error.message} Whoever watches takes it back; waiting for that.")
            await asyncio.sleep(poll_s)
            continue
        if follower.restarts != restarts:
            executed, is_over, restarts = None, False, follower.restarts
        if executed is None:
            if is_over:
                raise WalletError(
                    "The message was executed without effect: another transaction used its nonce or its money first.",
                    code="no_effect",
                    fix="Look at the balance, and force it again if it is still there.",
                )
            await check_patience(l1, deployment, sent.message)
            await asyncio.sleep(poll_s)
            continue
        if executed.batch_id != told_of:
            told_of = executed.batch_id
            yield done("deadline", "The inbox's deadline was met.")
            text = f"Executed in batch {executed.batch_id} as withdrawal {executed.number}."
            yield done("executed", text, amount_nano=sent.tx.amount_nano)
            yield waiting("final", "Batched; the challenge window must pass before L1 pays.", executed.final_at_s)
        if await _is_final(l1, executed):
            break
        await asyncio.sleep(poll_s)
    yield done("final", f"Batch {executed.batch_id} is final.")
    yield doing("claim", "Proving the withdrawal to the contract.")
    key = withdrawal_key(executed.number)
    claim_tx = await claimed(l1, executed.batch_id, key, executed.leaf, list(executed.siblings))
    yield done(
        "claim",
        f"{format_usd(sent.tx.amount_nano)} paid to {checksum_address(sent.tx.recipient)} on L1.",
        l1_tx=claim_tx,
        amount_nano=sent.tx.amount_nano,
    )


async def _is_final(l1: RollupL1, executed: _Executed) -> bool:
    if await l1.final_count() > executed.batch_id:
        return True
    if await l1.time_s() < executed.final_at_s:
        return False
    # Anyone may make it final, so there is no need to wait for a sequencer that ignores this wallet.
    return await finalized(l1) > executed.batch_id


def _withdrawal(number: int, held: Account, amount_nano: int | None, to: bytes, nano_per_unit: int) -> Withdraw:
    most = min(held.balance_nano, MAX_NANO)
    amount = most - most % nano_per_unit if amount_nano is None else amount_nano
    check_whole_units(amount, nano_per_unit)
    if held.balance_nano == 0 or amount > held.balance_nano:
        raise WalletError(
            f"Not enough money: the account holds {format_usd(held.balance_nano)} on L1's record.", code="no_funds"
        )
    check_amount(amount)
    return Withdraw(number, amount, 0, to)


async def _waiting_message(
    l1: RollupL1, state: RollupState, deployment: Deployment, number: int, held: Account, owner: bytes
) -> _Sent | None:
    """A withdrawal of this account that waits in the inbox already."""
    start = state.meta.inbox_cursor
    async for message in waiting_messages(l1, start):
        tx = _own_withdrawal(message, deployment, number, held.nonce, owner)
        if tx is not None:
            return _Sent(message, tx, is_new=False)
    return None


def _own_withdrawal(
    message: InboxMessage, deployment: Deployment, number: int, nonce: int, owner: bytes
) -> Withdraw | None:
    if message.kind != "forced":
        return None
    try:
        tx, signature = decode(message.body)
    except TxFormatError:
        return None
    if not isinstance(tx, Withdraw) or tx.sender != number:
        return None
    return tx if recover(tx.digest(deployment.domain, nonce), signature) == owner else None


def _effect(
    state: RollupState, before: int, replayed: ReplayedBatch, tx: Withdraw, deployment: Deployment
) -> _Executed | None:
    for number in range(before, state.meta.next_withdrawal):
        leaf = state.withdrawal(number)
        if leaf is None:
            continue
        if (leaf.account, leaf.recipient, leaf.amount_nano) == (tx.sender, tx.recipient, tx.amount_nano):
            return _Executed(
                batch_id=replayed.posted.batch_id,
                final_at_s=replayed.posted.submitted_at_s + deployment.challenge_window_s,
                number=number,
                leaf=leaf,
                siblings=tuple(state.proof(withdrawal_key(number))),
            )
    return None


def _told(tx: Withdraw) -> str:
    return f"withdraw {format_usd(tx.amount_nano)} to {checksum_address(tx.recipient)}"
