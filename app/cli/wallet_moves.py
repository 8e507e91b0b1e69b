"""The wallet's commands that go past the sequencer, and those about stakes; ``app.cli.wallet`` lists them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import click

from app.cli.common import as_coroutine, chain_option, emit, home_option, json_option, note
from app.cli.dollars import Dollars
from app.cli.node_access import any_node, configured, unlocked_wallet
from chain.errors import UsageError
from node.values import StepState, WithdrawalStep, format_usd

_MARKS = {StepState.DOING: "…", StepState.WAITING: "◷", StepState.DONE: "✓"}

l1_option = click.option(
    "--l1", "l1_url", default="", help="An L1 to use instead of the one that the rollup named, e.g. http://host:port."
)
wait_option = click.option("--no-wait", is_flag=True, help="Don't wait for windows to end; run it again later.")


class Amount(Dollars):
    """Dollars, or ``all``."""

    name = "dollars|all"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read an amount; ``all`` is -1."""
        return -1 if value == "all" else super().convert(value, param, ctx)


max_fee_option = click.option(
    "--max-fee",
    "max_fee_nano",
    type=Dollars(),
    help="The most to pay as a fee; unless given, $1 for a withdrawal and $0.10 for the rest.",
)


def told_fee(fee_nano: int) -> int:
    """Say what the chain asks for, before anything is signed; returns it."""
    note(f"The chain asks for a fee of {format_usd(fee_nano)}.")
    return fee_nano


def step_line(step: WithdrawalStep) -> str:
    """One step for a person."""
    tail = f" [{step.l1_tx}]" if step.l1_tx else ""
    return f"{_MARKS[step.state]} {step.text}{_when(step)}{tail}"


def _when(step: WithdrawalStep) -> str:
    if step.ready_at_s is None or step.state is StepState.DONE:
        return ""
    from datetime import UTC, datetime

    try:
        at = datetime.fromtimestamp(step.ready_at_s, tz=UTC).astimezone()
    except (OverflowError, OSError, ValueError):
        return ""
    return f" (at {at:%Y-%m-%d %H:%M:%S} on L1's clock)"


async def told(stream: AbstractAsyncContextManager[AsyncIterator[WithdrawalStep]]) -> list[WithdrawalStep]:
    """Print each step on stderr as it goes; returns the last state of every step."""
    latest: dict[str, WithdrawalStep] = {}
    async with stream as steps:
        async for step in steps:
            latest[step.key] = step
            note(step_line(step))
    return list(latest.values())


def checked_l1(url: str) -> str:
    """An L1's URL, or an empty text for the one that the rollup named.

    Raises:
        UsageError: ``bad_url``.
    """
    if url and not url.startswith(("http://", "https://")):
        raise UsageError("--l1 takes the URL of an L1's JSON-RPC.", code="bad_url", fix="Give http://host:port.")
    return url


@click.command("force-withdraw", help="Withdraw through the L1 inbox, past a sequencer that ignores you.")
@click.option("--amount", required=True, type=Amount(), help="Dollars, or `all`.")
@click.option("--to", default="", help="An L1 address; the wallet's own unless given.")
@wait_option
@l1_option
@home_option
@chain_option
@json_option
@as_coroutine
async def force_withdraw(
    amount: int, to: str, no_wait: bool, l1_url: str, home_path: str | None, chain: str | None, as_json: bool
) -> None:
    """Force a withdrawal, and say each step."""
    home, config = configured(home_path, chain=chain)
    async with any_node(home, config) as node:
        wallet = await unlocked_wallet(node, config)
        stream = node.force_withdraw(
            wallet.wallet_id, None if amount < 0 else amount, to, wait=not no_wait, l1_url=checked_l1(l1_url)
        )
        steps = await told(stream)
    paid_nano = sum(step.amount_nano or 0 for step in steps if step.key == "claim")
    text = f"{format_usd(paid_nano)} arrived on L1." if paid_nano else "It waits; run this again to see it through."
    emit({"steps": steps, "paid_nano": paid_nano}, as_json=as_json, text=text)


@click.command("exit", help="Leave a frozen rollup with everything, from L1 alone; it needs no sequencer.")
@click.option("--freeze", is_flag=True, help="Freeze the rollup first, where its inbox was ignored for that long.")
@wait_option
@l1_option
@home_option
@chain_option
@json_option
@as_coroutine
async def exit_(
    freeze: bool, no_wait: bool, l1_url: str, home_path: str | None, chain: str | None, as_json: bool
) -> None:
    """Leave, and say each step."""
    home, config = configured(home_path, chain=chain)
    async with any_node(home, config) as node:
        wallet = await unlocked_wallet(node, config)
        note("Everything is proven against the last state that L1 holds; nobody has to be asked or believed.")
        steps = await told(node.leave(wallet.wallet_id, freeze=freeze, wait=not no_wait, l1_url=checked_l1(l1_url)))
    paid_nano = sum(step.amount_nano or 0 for step in steps if step.state is StepState.DONE)
    is_done = all(step.state is StepState.DONE for step in steps)
    rest = "" if is_done else " The rest still waits; run this again later."
    text = f"{format_usd(paid_nano)} left for L1 now.{rest}"
    emit({"steps": steps, "paid_nano": paid_nano, "is_done": is_done}, as_json=as_json, text=text)


@click.command("stake", help="Put money behind the receipts that this wallet signs as a provider.")
@click.option("--amount", required=True, type=Dollars(), help="Dollars.")
@max_fee_option
@home_option
@chain_option
@json_option
@as_coroutine
async def stake(amount: int, max_fee_nano: int | None, home_path: str | None, chain: str | None, as_json: bool) -> None:
    """Stake."""
    home, config = configured(home_path, chain=chain)
    async with any_node(home, config) as node:
        wallet = await unlocked_wallet(node, config)
        fee_nano = told_fee((await node.fees()).stake_nano)
        l2_tx = await node.stake(wallet.wallet_id, amount, max_fee_nano=max_fee_nano)
    text = f"{format_usd(amount)} staked in {l2_tx}. Two receipts about one request would lose it."
    emit({"l2_tx": l2_tx, "amount_nano": amount, "fee_nano": fee_nano}, as_json=as_json, text=text)


@click.command("unstake", help="Take a part of the stake out, in two steps: begin, and after the delay --finish.")
@click.option("--amount", type=Amount(), help="Dollars, or `all`.")
@click.option("--finish", is_flag=True, help="Take back the part whose delay is over.")
@max_fee_option
@home_option
@chain_option
@json_option
@as_coroutine
async def unstake(
    amount: int | None,
    finish: bool,
    max_fee_nano: int | None,
    home_path: str | None,
    chain: str | None,
    as_json: bool,
) -> None:
    """Begin to take stake out, or finish."""
    if finish == (amount is not None):
        raise UsageError("Either --amount begins, or --finish ends it.", fix="Give one of the two.")
    home, config = configured(home_path, chain=chain)
    async with any_node(home, config) as node:
        wallet = await unlocked_wallet(node, config)
        if amount is None:
            l2_tx = await node.finish_unstake(wallet.wallet_id)
            text = f"Back in the balance with {l2_tx}."
        else:
            told_fee((await node.fees()).unstake_nano)
            l2_tx = await node.unstake(wallet.wallet_id, None if amount < 0 else amount, max_fee_nano=max_fee_nano)
            text = f"On its way out with {l2_tx}; `idlewatt wallet unstake --finish` takes it back after the delay."
    emit({"l2_tx": l2_tx}, as_json=as_json, text=text)


@click.command("slash", help="Take the stake of providers that signed two receipts about one request.")
@click.option("--force", is_flag=True, help="Through the L1 inbox, past a sequencer that refuses or ignores it.")
@wait_option
@l1_option
@home_option
@chain_option
@json_option
@as_coroutine
async def slash(
    force: bool, no_wait: bool, l1_url: str, home_path: str | None, chain: str | None, as_json: bool
) -> None:
    """Hand in the evidence kept here."""
    if not force and (no_wait or l1_url):
        raise UsageError("--no-wait and --l1 go with --force.", fix="Add --force, or leave them out.")
    home, config = configured(home_path, chain=chain)
    async with any_node(home, config) as node:
        wallet = await unlocked_wallet(node, config)
        if force:
            note("L1's gas is this wallet's to pay; half of each stake comes to its account on the rollup.")
            stream = node.force_slash(wallet.wallet_id, wait=not no_wait, l1_url=checked_l1(l1_url))
            steps = await told(stream)
            reward_nano = sum(step.amount_nano or 0 for step in steps)
            text = f"{format_usd(reward_nano)} is this wallet's." if reward_nano else "It waits in the inbox."
            emit({"steps": steps, "reward_nano": reward_nano}, as_json=as_json, text=text)
            return
        slashed = await node.slash(wallet.wallet_id)
    lines = [
        f"{view.provider} lost its stake for two receipts about request {view.sequence} of channel "
        f"{view.channel_id}; {format_usd(view.reward_nano)} of it is this wallet's."
        for view in slashed
    ]
    emit({"slashed": slashed}, as_json=as_json, text="\n".join(lines))


@click.command("merge", help="Bring the money of this wallet's further accounts into its first, for one fee each.")
@home_option
@chain_option
@json_option
@as_coroutine
async def merge(home_path: str | None, chain: str | None, as_json: bool) -> None:
    """Merge the wallet's accounts."""
    home, config = configured(home_path, chain=chain)
    async with any_node(home, config) as node:
        wallet = await unlocked_wallet(node, config)
        merged = await node.merge(wallet.wallet_id)
    text = "Nothing to bring together: one account holds everything that is worth a fee."
    if merged.accounts:
        numbers = ", ".join(f"#{number}" for number in merged.accounts)
        text = f"{format_usd(merged.moved_nano)} brought together from {numbers}; fees {format_usd(merged.fees_nano)}."
    emit(merged, as_json=as_json, text=text)


MOVES = (force_withdraw, exit_, merge, stake, unstake, slash)
"""Every command of this module."""
