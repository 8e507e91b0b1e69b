"""``idlewatt liquidity``: pay withdrawals out before they are final, for a fee."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from app.cli.common import (
    announce,
    as_coroutine,
    chain_option,
    home_option,
    json_option,
    until_stopped,
    with_parent_option,
)
from app.cli.dollars import Dollars
from app.cli.node_access import configured
from app.cli.watch import LAST_DATE_S, unlocked_account, watched_place
from app.logs import log_to
from chain.errors import IdlewattError, UsageError
from node.values import format_usd

if TYPE_CHECKING:
    from wallet.account import UnlockedAccount
    from wallet.liquidity.pricing import PricingPolicy
    from wallet.liquidity.provider import LiquidityEvent, LiquidityView

PERCENT_PPM = 10_000


@click.command("liquidity", help="Pay withdrawals out before they are final, for a fee, with the wallet's money on L1.")
@click.option("--l1-funds", "funds", required=True, type=Dollars(), help="Dollars that may be out at once.")
@click.option("--rate", type=click.FloatRange(0, 10_000), default=20.0, show_default=True, help="Percent a year.")
@click.option("--risk", type=click.FloatRange(0, 100), default=0.05, show_default=True, help="Percent for the risk.")
@click.option("--least-fee", type=Dollars(), default=1_000, help="Dollars; $0.000001 unless given.")
@click.option(
    "--ether-price", type=Dollars(), default=0, help="Dollars that an ether of gas is counted at; nothing unless given."
)
@click.option("--attestations", type=click.IntRange(0, 32), default=0, help="Bonded watchtowers that must vouch.")
@click.option("--l1", "l1_url", help="The L1's JSON-RPC; asked of --chain unless given.")
@click.option("--rollup", help="The rollup contract's address on L1; asked of --chain unless given.")
@click.option("--once", is_flag=True, help="Look once, claim and buy what is due, show the earnings, and end.")
@home_option
@chain_option
@json_option
@with_parent_option
@as_coroutine
async def command(  # noqa: PLR0913, PLR0917 - click passes every option by name
    funds: int,
    rate: float,
    risk: float,
    least_fee: int,
    ether_price: int,
    attestations: int,
    l1_url: str | None,
    rollup: str | None,
    once: bool,
    home_path: str | None,
    chain: str | None,
    as_json: bool,
    with_parent: bool,
) -> None:
    """Offer liquidity until told to stop."""
    if funds <= 0:
        raise UsageError("--l1-funds must be above zero.", fix="Give the dollars that may be out at once.")
    home, config = configured(home_path, chain=chain)
    if config.chain is None:
        raise IdlewattError("No chain is set.", code="no_chain", fix="Pass --chain http://host:port once.")
    log_to(home.logs, "liquidity", config.log_level)
    place = await watched_place(config, l1_url, rollup)
    account = await unlocked_account(home, config)

    from wallet.liquidity.pricing import PricingPolicy

    policy = PricingPolicy(
        annual_rate_ppm=round(rate * PERCENT_PPM),
        risk_ppm=round(risk * PERCENT_PPM),
        ether_price_nano=ether_price,
        least_fee_nano=least_fee,
        max_exposure_nano=funds,
        attestations=attestations,
    )

    async def offer(stop: asyncio.Event) -> None:
        await _serve(
            (place.l1_url, place.rollup_address, config.chain or ""), account, policy, stop, once=once, as_json=as_json
        )

    try:
        await until_stopped(offer, with_parent=with_parent)
    finally:
        account.forget()


async def _serve(
    where: tuple[str, bytes, str],
    account: UnlockedAccount,
    policy: PricingPolicy,
    stop: asyncio.Event,
    *,
    once: bool,
    as_json: bool,
) -> None:
    from chain.client import RollupClient
    from wallet.l1 import open_rollup
    from wallet.liquidity.provider import LiquidityProvider

    def tell(event: LiquidityEvent) -> None:
        announce(event, as_json=as_json, text=_line(event))

    l1_url, rollup_address, chain = where
    l1 = await open_rollup(l1_url, rollup_address, account)
    try:
        async with RollupClient(chain) as client:
            provider = LiquidityProvider(l1, client, policy=policy, on_event=tell)
            facts = {"offering_nano": policy.max_exposure_nano, "address": account.address_hex, "l1": l1_url}
            text = f"Offering {format_usd(policy.max_exposure_nano)} from {account.address_hex} on {l1_url}."
            announce({"liquidity": facts}, as_json=as_json, text=text)
            if once:
                await provider.step()
            else:
                async with asyncio.TaskGroup() as tasks:
                    running = tasks.create_task(provider.run())
                    await stop.wait()
                    running.cancel()
            announce({"earnings": provider.view()}, as_json=as_json, text=_earnings(provider.view()))
    finally:
        await l1.aclose()


def _line(event: LiquidityEvent) -> str:
    at = datetime.fromtimestamp(min(event.at_s, LAST_DATE_S), UTC).strftime("%Y-%m-%d %H:%M:%S") if event.at_s else "-"
    tail = f" [{event.l1_tx}]" if event.l1_tx else ""
    return f"{at}  {event.kind:<8} {event.text}{tail}"


def _earnings(view: LiquidityView) -> str:
    count = "1 claim" if view.bought == 1 else f"{view.bought} claims"
    return (
        f"{count} bought for {format_usd(view.paid_out_nano)} in all; {format_usd(view.earned_nano)} earned, "
        f"{format_usd(view.pending_fee_nano)} still to come with {format_usd(view.waiting_nano)}."
    )
