"""``idlewatt channels``: list, redeem and close payment channels."""

from __future__ import annotations

import click

from app.cli.common import as_coroutine, chain_option, emit, home_option, json_option
from app.cli.node_access import any_node, configured, unlocked_wallet
from node.values import ChannelSummary, format_usd


@click.group("channels", help="List, redeem and close payment channels.")
@home_option
def command(home_path: str | None) -> None:
    """The group; its commands follow, and read its ``--home``."""


@command.command("list", help="Every channel of this home, newest first.")
@home_option
@chain_option
@json_option
@as_coroutine
async def list_channels(home_path: str | None, chain: str | None, as_json: bool) -> None:
    """Print the channels."""
    home, config = configured(home_path, chain=chain)
    async with any_node(home, config) as node:
        channels = await node.channels()
    emit({"channels": channels}, as_json=as_json, text="\n".join(map(_line, channels)) or "There are no channels yet.")


def _line(channel: ChannelSummary) -> str:
    paid = "spent" if channel.role == "buyer" else "earned"
    return (
        f"#{channel.channel_id}  {channel.state}  {channel.role}  with {channel.peer}: "
        f"{paid} {format_usd(channel.spent_nano)} of {format_usd(channel.deposit_nano)}, "
        f"{format_usd(channel.redeemed_nano)} redeemed"
    )


@command.command("redeem", help="Redeem the best voucher held for a channel.")
@click.argument("channel_id", type=click.IntRange(0, 2**32 - 1))
@home_option
@chain_option
@json_option
@as_coroutine
async def redeem(channel_id: int, home_path: str | None, chain: str | None, as_json: bool) -> None:
    """Redeem one channel."""
    home, config = configured(home_path, chain=chain)
    async with any_node(home, config) as node:
        await unlocked_wallet(node, config)
        l2_tx = await node.redeem(channel_id)
    emit({"l2_tx": l2_tx}, as_json=as_json, text=f"Redeemed channel {channel_id} in {l2_tx}.")


@command.command("close", help="Close a channel with its peer at once, or --alone after the delay.")
@click.argument("channel_id", type=click.IntRange(0, 2**32 - 1))
@click.option("--alone", is_flag=True, help="Don't ask the peer; the deposit returns after the delay.")
@home_option
@chain_option
@json_option
@as_coroutine
async def close(channel_id: int, alone: bool, home_path: str | None, chain: str | None, as_json: bool) -> None:
    """Close one channel."""
    home, config = configured(home_path, chain=chain)
    async with any_node(home, config) as node:
        await unlocked_wallet(node, config)
        l2_tx = await node.close_channel(channel_id, alone=alone)
    how = "started closing" if alone else "closed"
    emit({"l2_tx": l2_tx}, as_json=as_json, text=f"Channel {channel_id} {how} in {l2_tx}.")
