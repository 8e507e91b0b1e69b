"""A slash through the L1 inbox: two receipts that contradict each other, which no sequencer can leave out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from chain.l1.protocol import InboxMessage, RollupL1
from chain.money import format_usd
from chain.replay import ReplayError
from chain.signing import checksum_address
from chain.state import RollupState
from chain.stf import BURN_ADDRESS
from chain.txs import Slash
from chain.types import FIRST_INDEX, Account
from wallet.account import UnlockedAccount
from wallet.forcing import account_of, check_patience, deadline_text, read_of, sent_message, waiting_messages
from wallet.receipts import Receipt, check_conflict, receipt_evidence
from wallet.rollup_follower import RollupFollower
from wallet.steps import WithdrawalStep, doing, done, waiting
from wallet.wallet_error import WalletError

POLL_S = 1.0


@dataclass(frozen=True, slots=True)
class _Before:
    """What a batch began with."""

    next_withdrawal: int
    stake_nano: int
    """All that a slash takes."""
    reporter: Account | None


async def force_slash(
    l1: RollupL1,
    account: UnlockedAccount,
    first: Receipt,
    second: Receipt,
    *,
    wait: bool = True,
    poll_s: float = POLL_S,
    snapshot: str | None = None,
) -> AsyncIterator[WithdrawalStep]:
    """Take a provider's stake through L1's inbox, from L1's data alone, and say each step; half is this account's.

    Called again while the same slash waits in the inbox, it goes on with that one.

    Args:
        l1: The rollup's contracts; sends as this account.
        account: Reports, and pays L1's gas.
        first: A receipt that the provider signed.
        second: Another one about the same request.
        wait: Whether to go on until it is executed; without it, ends once the deadline is known.
        poll_s: How often L1 is asked while waiting.
        snapshot: A file or a URL with a final state to begin with, held against L1.

    Raises:
        WalletError: ``bad_receipt`` if the two prove nothing on this chain, ``nothing_to_slash`` without a stake that
            answers for them, ``no_funds`` if the reporter has no account on L1's record; ``not_executed`` where nobody
            executes it in time, ``no_effect`` where another took the stake first.
        ReplayError: If a batch on L1 is wrong and can't be disproven any more.
        ChainRejectedError: As L1 refuses.
        ChainUnavailableError: If L1 does not answer.
    """
    deployment = await l1.deployment()
    check_conflict(deployment.domain, first, second)
    follower = RollupFollower(l1, snapshot)
    yield doing("read", "Executing every batch on L1 again, to know both accounts without asking the sequencer.")
    try:
        await follower.catch_up()
    except ReplayError as error:
        if error.batch_id < await l1.final_count():
            raise
    state = follower.state
    reporter, _, _ = account_of(state, account.address)
    provider, stake_nano = _staked(state, first)
    shown = checksum_address(first.provider)
    yield done("read", f"{read_of(follower)}: {shown} has {format_usd(stake_nano)} at stake.")
    tx = Slash(provider, reporter, first.channel_id, first.sequence, receipt_evidence(first), receipt_evidence(second))
    body = tx.encode(account.sign_digest(tx.digest(deployment.domain, first.provider)))
    message, l1_tx = await _waiting(l1, state.meta.inbox_cursor, body), b""
    was = "already "
    if message is None:
        yield doing("send", "Sending it to the inbox on L1; this wallet pays the gas there.")
        l1_tx, was = await l1.force_tx(body), ""
        message = await sent_message(l1, state.meta.inbox_cursor, body)
    yield done("send", f"It is {was}message {message.index} of the L1 inbox.", l1_tx=l1_tx)
    yield waiting("deadline", deadline_text(deployment), message.at_s + deployment.force_delay_s)
    if not wait:
        return
    reward_nano, batch_id = await _executed(l1, follower, message, tx, poll_s)
    yield done("deadline", "The inbox's deadline was met.")
    text = f"Executed in batch {batch_id}: {shown} lost its stake, {format_usd(reward_nano)} of it is this wallet's."
    yield done("executed", text, amount_nano=reward_nano)


def _staked(state: RollupState, receipt: Receipt) -> tuple[int, int]:
    """The provider's account that answers for a receipt, and what a slash takes of it."""
    for number in range(FIRST_INDEX, state.meta.next_account):
        leaf = state.account(number)
        if leaf is None or leaf.owner != receipt.provider:
            continue
        if _at_stake(leaf) and receipt.channel_id >= leaf.slash_from:
            return number, _at_stake(leaf)
    raise WalletError(
        "On L1's record that provider has no stake that answers for those receipts.", code="nothing_to_slash"
    )


def _at_stake(leaf: Account) -> int:
    return leaf.stake_nano + leaf.unlocking_nano


async def _waiting(l1: RollupL1, start: int, body: bytes) -> InboxMessage | None:
    """The same slash, where it waits in the inbox already: signatures are deterministic."""
    async for message in waiting_messages(l1, start):
        if message.body == body:
            return message
    return None


async def _executed(
    l1: RollupL1, follower: RollupFollower, message: InboxMessage, tx: Slash, poll_s: float
) -> tuple[int, int]:
    """Wait until a batch executes the message; returns the reward, and that batch."""
    deployment = await l1.deployment()
    while True:
        before, restarts = _before(follower.state, tx), follower.restarts
        try:
            async for replayed in follower.follow():
                if follower.restarts != restarts:
                    # From the beginning again, where nobody had anything yet.
                    before, restarts = _Before(FIRST_INDEX, 0, None), follower.restarts
                # By its bytes: a reorg may have moved it.
                if any(one.body == message.body for one in replayed.messages):
                    return _reward_nano(follower.state, before, tx), replayed.posted.batch_id
                before = _before(follower.state, tx)
        except ReplayError as error:
            if error.batch_id < await l1.final_count():
                raise
        await check_patience(l1, deployment, message)
        await asyncio.sleep(poll_s)


def _before(state: RollupState, tx: Slash) -> _Before:
    leaf = state.account(tx.provider)
    staked_nano = _at_stake(leaf) if leaf is not None else 0
    return _Before(state.meta.next_withdrawal, staked_nano, state.account(tx.reporter))


def _reward_nano(state: RollupState, before: _Before, tx: Slash) -> int:
    """The half that wasn't burnt, of what the batch took from the provider."""
    for number in range(before.next_withdrawal, state.meta.next_withdrawal):
        leaf = state.withdrawal(number)
        if leaf is None or leaf.account != tx.provider or leaf.recipient != BURN_ADDRESS:
            continue
        # An odd unit is burnt. Where the stake changed in the same batch, the smaller half is told.
        halves = (leaf.amount_nano - 1, leaf.amount_nano)
        reward_nano = min(halves, key=lambda half: abs(before.stake_nano - leaf.amount_nano - half))
        if not _went_elsewhere(state, before, tx, reward_nano):
            return reward_nano
    raise WalletError(
        "The slash was executed without effect: another took the stake first.",
        code="no_effect",
        fix="Nothing to do: the provider has lost it.",
    )


def _went_elsewhere(state: RollupState, before: _Before, tx: Slash, reward_nano: int) -> bool:
    """Whether the reward is another's: this account signed nothing meanwhile, and has less more than that."""
    was, now = before.reporter, state.account(tx.reporter)
    if was is None or now is None or now.nonce != was.nonce:
        return False
    return now.balance_nano < was.balance_nano + reward_nano
