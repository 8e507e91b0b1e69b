"""``idlewatt status``: how the node on this home is doing."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

import click

from app.cli.common import HEALTH_MARKS, as_coroutine, emit, home_option, json_option
from app.cli.node_access import any_node, configured
from node.api import NodeApi
from node.values import EnergyView, Health, NodeSnapshot, PriceAdvice, RejectionView, format_usd

FIRST_LOOK_S: Final = 5.0
"""How long a node that has just begun may take to learn how it is doing."""
LOOK_AGAIN_S: Final = 0.05


@click.command("status", help="Say how the node on this home is doing, and why.")
@home_option
@json_option
@as_coroutine
async def command(home_path: str | None, as_json: bool) -> None:
    """Print the snapshot of the running node, or of this home at rest."""
    home, config = configured(home_path)
    running = home.is_locked()
    async with any_node(home, config) as node:
        if not running:
            await first_look(node)
        snapshot = node.snapshot()
    emit({"running": running, "snapshot": snapshot}, as_json=as_json, text=_text(snapshot, running))


async def first_look(node: NodeApi, limit_s: float = FIRST_LOOK_S) -> None:
    """Wait until a node that has just begun knows how it is doing: relay, chain, account and hardware."""
    with suppress(TimeoutError):
        async with asyncio.timeout(limit_s):
            while not has_looked(node.snapshot()):  # noqa: ASYNC110 - not all of it is told as an event
                await asyncio.sleep(LOOK_AGAIN_S)


def has_looked(snapshot: NodeSnapshot) -> bool:
    """Whether all that a node finds out by itself is known, or known to be out of reach."""
    relay_is_known = snapshot.relay.state in {"off", "online"} or bool(snapshot.relay.error)
    if not relay_is_known or snapshot.energy is None:
        return False
    if not snapshot.chain_reachable:
        return any(item.name == "chain" and item.health is Health.FAIL for item in snapshot.checklist)
    return all(wallet.balance_nano is not None for wallet in snapshot.wallets if wallet.address)


def _text(snapshot: NodeSnapshot, running: bool) -> str:
    lines = [
        f"{snapshot.phase.upper()}: {snapshot.why} {snapshot.fix}".rstrip() if running else "No node runs on this home."
    ]
    if snapshot.provider:
        provider = snapshot.provider
        lines.append(
            f"renting out {provider.model}: {provider.free_slots}/{provider.slots} slots free, "
            f"{format_usd(provider.earned_today_nano)} today, {format_usd(provider.claimable_nano)} claimable"
        )
    if snapshot.energy is not None:
        lines.append(energy_text(snapshot.energy))
    if snapshot.price is not None:
        lines.append(advice_text(snapshot.price))
    lines += [
        f"{HEALTH_MARKS[item.health]}  {item.name}: {item.detail} {item.fix}".rstrip() for item in snapshot.checklist
    ]
    lines += [f"why no jobs: {_missed(rejection)}" for rejection in snapshot.rejections]
    for wallet in snapshot.wallets:
        balance = format_usd(wallet.balance_nano) if wallet.balance_nano is not None else "balance unknown"
        staked = f", {format_usd(wallet.stake_nano)} staked" if wallet.stake_nano else ""
        lines.append(f"wallet {wallet.address or '(none)'} {wallet.state}: {balance}{staked}")
    if snapshot.alarm is not None:
        lines.insert(0, snapshot.alarm.text)
    return "\n".join(lines)


def _missed(rejection: RejectionView) -> str:
    unit = " x" if rejection.unit == "requests" else " s"
    earlier = f", {rejection.week_count}{unit} this week" if rejection.week_count > rejection.count else ""
    title = rejection.title or f"{rejection.reason}."
    return f"{rejection.count}{unit} today{earlier} ({rejection.group}): {title} {rejection.fix}"


def energy_text(energy: EnergyView) -> str:
    """Today's earnings after electricity, and the sources of the figures."""
    today = energy.today
    about = " (estimated)" if today.is_estimate else ""
    price = f"at {format_usd(energy.nano_per_kwh)} a kWh{' (assumed)' if energy.price_is_assumed else ''}"
    guessed = " (estimated)" if energy.is_estimate else ""
    watts = "" if energy.power_w is None else f", {energy.power_w:.0f} W now{guessed}"
    return (
        f"today: earned {format_usd(today.earned_nano)}, power {format_usd(today.cost_nano)}{about} {price}, "
        f"net {format_usd(today.net_nano)}{watts}"
    )


def advice_text(advice: PriceAdvice) -> str:
    """The suggested price and the floor."""
    about = " (estimated)" if advice.is_estimate else ""
    floor = advice.floor
    power = (
        f"costs {format_usd(floor.input_nano_per_mtok)} and {format_usd(floor.output_nano_per_mtok)}{about}"
        if advice.is_floor_known
        else "cost is not known"
    )
    return (
        f"suggested price: {format_usd(advice.suggested.input_nano_per_mtok)} in and "
        f"{format_usd(advice.suggested.output_nano_per_mtok)} out per million tokens ({advice.basis}); power {power}"
    )
