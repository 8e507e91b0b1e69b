"""What every forced transaction needs: the account on L1's record, the message, and its deadline."""

from __future__ import annotations

from collections.abc import AsyncIterator

from chain.l1.protocol import Deployment, InboxMessage, RollupL1
from chain.state import RollupState
from chain.types import FIRST_INDEX, Account
from wallet.rollup_follower import RollupFollower
from wallet.wallet_error import WalletError

PAGE_MESSAGES = 256


def read_of(follower: RollupFollower) -> str:
    """What was re-executed."""
    begin, count = follower.began_at, follower.batch_count
    return f"{count - begin} batches re-executed" + (f" after a snapshot of {begin}" if begin else "")


def account_of(state: RollupState, address: bytes) -> tuple[int, Account, int]:
    """An address's richest account, and what its other ones hold.

    Raises:
        WalletError: ``no_funds`` if it has none.
    """
    found = [
        (number, leaf)
        for number in range(FIRST_INDEX, state.meta.next_account)
        if (leaf := state.account(number)) is not None and leaf.owner == address
    ]
    if not found:
        raise WalletError("This wallet has no account on the rollup, as L1 has it.", code="no_funds")
    number, richest = max(found, key=lambda entry: entry[1].balance_nano)
    return number, richest, sum(leaf.balance_nano for _, leaf in found) - richest.balance_nano


async def waiting_messages(l1: RollupL1, start: int) -> AsyncIterator[InboxMessage]:
    """The messages from ``start`` on: no batch that was read executes them.

    Raises:
        ChainUnavailableError: If L1 does not answer.
    """
    while page := await l1.inbox_messages(start, PAGE_MESSAGES):
        for message in page:
            yield message
        start += len(page)


async def sent_message(l1: RollupL1, start: int, body: bytes) -> InboxMessage:
    """The message that a transaction became.

    Raises:
        WalletError: ``unconfirmed`` if the inbox doesn't show it.
        ChainUnavailableError: If L1 does not answer.
    """
    async for message in waiting_messages(l1, start):
        if message.body == body:
            return message
    raise WalletError(
        "L1 took the transaction, but its inbox doesn't show it.",
        code="unconfirmed",
        fix="Try again: a second one is harmless.",
    )


async def check_patience(l1: RollupL1, deployment: Deployment, message: InboxMessage) -> None:
    """Make sure that the message can still be executed.

    Raises:
        WalletError: ``not_executed`` if the rollup has ended, or may be ended by anyone.
    """
    if await l1.frozen_at_s() is None and await l1.time_s() <= message.at_s + deployment.freeze_delay_s:
        return
    raise WalletError(
        "Nobody executed the message in time: this rollup has ended, or may be ended by anyone now.",
        code="not_executed",
        fix="Leave with everything: idlewatt wallet exit --freeze.",
    )


def deadline_text(deployment: Deployment) -> str:
    """By when the inbox is obeyed, and what happens else."""
    return (
        f"No batch stands that leaves it out after {deployment.force_delay_s} s; after "
        f"{deployment.takeover_delay_s} s anyone bonded may sequence, after {deployment.freeze_delay_s} s anyone may "
        f"freeze the rollup and everybody leaves (idlewatt wallet exit)."
    )
