"""``idlewatt status``: how the node on this home is doing."""

from __future__ import annotations

import click

from app.cli.common import HEALTH_MARKS, as_coroutine, emit, home_option, json_option
from app.cli.node_access import any_node, configured
from node.values import NodeSnapshot, format_usd


@click.command("status", help="Say how the node on this home is doing, and why.")
@home_option
@json_option
@as_coroutine
async def command(home_path: str | None, as_json: bool) -> None:
    """Print the snapshot of the running node, or of this home at rest."""
    home, config = configured(home_path)
    running = home.is_locked()
    async with any_node(home, config) as node:
        snapshot = node.snapshot()
    emit({"running": running, "snapshot": snapshot}, as_json=as_json, text=_text(snapshot, running))


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
    lines += [
        f"{HEALTH_MARKS[item.health]}  {item.name}: {item.detail} {item.fix}".rstrip() for item in snapshot.checklist
    ]
    lines += [f"not taken: {skipped.count} x {skipped.reason}. {skipped.fix}" for skipped in snapshot.skipped]
    for wallet in snapshot.wallets:
        balance = format_usd(wallet.balance_nano) if wallet.balance_nano is not None else "balance unknown"
        staked = f", {format_usd(wallet.stake_nano)} staked" if wallet.stake_nano else ""
        lines.append(f"wallet {wallet.address or '(none)'} {wallet.state}: {balance}{staked}")
    if snapshot.alarm is not None:
        lines.insert(0, snapshot.alarm.text)
    return "\n".join(lines)
