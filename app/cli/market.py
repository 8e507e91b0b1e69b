"""``idlewatt market``: what is rentable now, best first."""

from __future__ import annotations

import click

from app.cli.common import as_coroutine, chain_option, emit, home_option, json_option, relay_option
from app.cli.node_access import any_node, configured, tell_clock
from app.streams import argument_text
from node.market.choice import SHORT_ID_CHARS
from node.values import OfferView, format_usd
from node.values.text import plain


@click.command("market", help="List what is rentable now, best first. Offers that can't be verified are not shown.")
@home_option
@relay_option
@chain_option
@click.option("--model", default="", help="Only offers whose model's name contains this.")
@json_option
@as_coroutine
async def command(home_path: str | None, relay: str | None, chain: str | None, model: str, as_json: bool) -> None:
    """Print the offers."""
    home, config = configured(home_path, relay=relay, chain=chain)
    wanted = argument_text(model).lower()
    async with any_node(home, config) as node:
        offers = [offer for offer in await node.market() if wanted in offer.model.lower()]
        clock = node.snapshot().clock
        tell_clock(node)
    emit({"offers": offers, "clock": clock}, as_json=as_json, text=as_table(offers))


def as_table(offers: list[OfferView]) -> str:
    """Offers as aligned text."""
    if not offers:
        return "Nothing is rentable on this relay right now. Try again in a moment, or another --relay."
    rows = [("MODEL", "QUANT", "IN $/Mtok", "OUT $/Mtok", "TOK/S", "TTFT", "FREE", "PROVIDER", "OFFER")]
    rows += [
        (
            plain(offer.model, 32) + ("" if "chat" in offer.abilities else " (completion)"),
            plain(offer.quantization, 8),
            format_usd(offer.prices.input_nano_per_mtok),
            format_usd(offer.prices.output_nano_per_mtok),
            f"{offer.tokens_per_s:.1f}",
            f"{offer.ttft_ms:.0f} ms" if offer.ttft_ms else "-",
            f"{offer.free_slots}/{offer.slots}",
            offer.provider[:10] + "…",
            offer.offer_id[:SHORT_ID_CHARS],
        )
        for offer in offers
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
