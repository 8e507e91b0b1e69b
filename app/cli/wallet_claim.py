"""``idlewatt wallet claim``: withdrawals that no operator pays out, claimed on L1 at the wallet's own cost."""

from __future__ import annotations

import click

from app.cli.common import as_coroutine, chain_option, emit, home_option, json_option
from app.cli.node_access import any_node, configured, unlocked_wallet
from app.cli.wallet_moves import checked_l1, l1_option, told
from node.values import format_usd


@click.command("claim", help="Claim final withdrawals on L1 yourself; the wallet pays the gas there.")
@l1_option
@home_option
@chain_option
@json_option
@as_coroutine
async def claim(l1_url: str, home_path: str | None, chain: str | None, as_json: bool) -> None:
    """Claim, and say each step."""
    home, config = configured(home_path, chain=chain)
    async with any_node(home, config) as node:
        wallet = await unlocked_wallet(node, config)
        steps = await told(node.claim(wallet.wallet_id, l1_url=checked_l1(l1_url)))
    paid_nano = sum(step.amount_nano or 0 for step in steps)
    emit({"steps": steps, "paid_nano": paid_nano}, as_json=as_json, text=f"{format_usd(paid_nano)} arrived on L1.")
