"""``idlewatt devnet``: an L1, embedded or another, with the rollup, its sequencer, its RPC and a faucet on it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from app.cli.common import (
    announce,
    as_coroutine,
    home_option,
    json_option,
    prepared_home,
    until_stopped,
    with_parent_option,
)
from app.cli.dollars import Dollars
from app.config import Config
from app.logs import log_to
from app.variables import DEV_FUNDS_VARIABLE
from chain.errors import UsageError

if TYPE_CHECKING:
    from chain.fees.quotas import Network
    from chain.villains import Villain


@click.command("devnet", help="Run an embedded L1 with the rollup on it. Its money is test money.")
@home_option
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--l1-port", default=8545, show_default=True, type=click.IntRange(0, 65535), help="L1 JSON-RPC.")
@click.option("--l2-port", default=8547, show_default=True, type=click.IntRange(0, 65535), help="Rollup RPC.")
@click.option("--challenge-window-s", type=click.IntRange(2, 31_536_000), help="Of a new chain; 60 unless given.")
@click.option("--turn-batches", type=click.IntRange(1, 10**9), help="Of a new chain: batches in a sequencer's turn.")
@click.option("--turn-s", type=click.IntRange(1, 31_536_000), help="Of a new chain: seconds in a sequencer's turn.")
@click.option("--l1", "l1_url", help="Deploy to and sequence on this L1, e.g. http://127.0.0.1:8545.")
@click.option(
    "--l1-dev-funds",
    is_flag=True,
    envvar=DEV_FUNDS_VARIABLE,
    help="With --l1: take ether from a development chain's own account.",
)
@click.option("--rollup", "rollup_text", metavar="ADDRESS", help="With --l1: sequence the rollup that is there.")
@click.option(
    "--inbox-confirmations",
    type=click.IntRange(0, 1_000),
    help="With --l1: L1 blocks that must stand on an inbox message before it is executed; 12 unless given.",
)
@click.option(
    "--ether-price",
    "ether_price_nano",
    type=Dollars(),
    help="With --l1: what an ether costs; fees then cover L1's gas. It costs nothing unless given.",
)
@click.option(
    "--trusted-proxy",
    "proxy_texts",
    metavar="NETWORK",
    multiple=True,
    help="A proxy of yours, as an address or network, whose X-Forwarded-For tells clients apart.",
)
@click.option("--snapshot", help="With --rollup: begin with this file or URL, held against L1.")
@click.option("--villain", "villain_name", metavar="KIND", help="Make its sequencer misbehave, e.g. bad-signature.")
@json_option
@with_parent_option
@as_coroutine
async def command(  # noqa: PLR0913, PLR0917 - click passes every option by name
    home_path: str | None,
    host: str,
    l1_port: int,
    l2_port: int,
    challenge_window_s: int | None,
    turn_batches: int | None,
    turn_s: int | None,
    l1_url: str | None,
    l1_dev_funds: bool,
    rollup_text: str | None,
    inbox_confirmations: int | None,
    ether_price_nano: int | None,
    proxy_texts: tuple[str, ...],
    snapshot: str | None,
    villain_name: str | None,
    as_json: bool,
    with_parent: bool,
) -> None:
    """Serve until told to stop; the same home resumes the same chain."""
    from chain.devnet import DevnetReady, OperatorTerms, OtherL1, run_devnet

    if l1_url is not None and not l1_url.startswith(("http://", "https://")):
        raise UsageError("--l1 takes the URL of an L1's JSON-RPC.", code="bad_url", fix="Give http://host:port.")
    if l1_dev_funds and l1_url is None:
        raise UsageError("--l1-dev-funds is about another L1.", fix="Give --l1 as well, or leave it away.")
    if inbox_confirmations is not None and l1_url is None:
        raise UsageError(
            "--inbox-confirmations is about another L1: the embedded one takes no block back.",
            fix="Give --l1 as well, or leave it away.",
        )

    if ether_price_nano is not None and l1_url is None:
        raise UsageError(
            "--ether-price is about another L1: on the embedded one ether costs nothing.",
            fix="Give --l1 as well, or leave it away.",
        )
    terms = OperatorTerms(ether_price_nano=ether_price_nano or 0, trusted_proxies=_networks(proxy_texts))
    if snapshot is not None and rollup_text is None:
        raise UsageError("--snapshot is about a rollup that is there.", fix="Give --rollup as well, or leave it away.")
    rollup_address = None if rollup_text is None else _rollup(rollup_text, l1_url)
    villain = None if villain_name is None else _villain(villain_name)
    home = prepared_home(home_path)
    log_to(home.logs, "devnet", Config.load(home.config_path).log_level)

    def ready(devnet: DevnetReady) -> None:
        facts = {"l1": devnet.l1_url, "l2": devnet.l2_url, "deployment": devnet.deployment}
        text = f"L1 JSON-RPC at {devnet.l1_url}, rollup RPC at {devnet.l2_url} (ctrl-c stops both)."
        if villain is not None:
            facts["villain"] = villain.name
            text += f" Its sequencer {villain.does}: don't send it anything that you want to keep."
        announce(facts, as_json=as_json, text=text)

    async def serve(stop: asyncio.Event) -> None:
        await run_devnet(
            home.devnet,
            host=host,
            l1_port=l1_port,
            l2_port=l2_port,
            on_ready=ready,
            stop=stop,
            challenge_window_s=challenge_window_s,
            turn_batches=turn_batches,
            turn_s=turn_s,
            other_l1=None
            if l1_url is None
            else OtherL1(url=l1_url, use_dev_account=l1_dev_funds, rollup_address=rollup_address, snapshot=snapshot),
            villain=villain,
            inbox_confirmations=inbox_confirmations,
            terms=terms,
        )

    await until_stopped(serve, with_parent=with_parent)


def _rollup(text: str, l1_url: str | None) -> bytes:
    from chain.signing import parse_address

    if l1_url is None:
        raise UsageError("--rollup is about another L1.", fix="Give --l1 as well, or leave it away.")
    try:
        return parse_address(text)
    except ValueError as error:
        raise UsageError(f"--rollup takes a rollup's address: {error}.", code="bad_address") from error


def _networks(texts: tuple[str, ...]) -> tuple[Network, ...]:
    import ipaddress

    try:
        return tuple(ipaddress.ip_network(text) for text in texts)
    except ValueError as error:
        raise UsageError(
            "--trusted-proxy takes an IP address or a network.", fix="Give 10.0.0.2 or 10.0.0.0/8."
        ) from error


def _villain(name: str) -> Villain:
    from chain.villains import VILLAINS

    if name not in VILLAINS:
        raise UsageError(
            f"There is no villain {name!r}.", code="unknown_villain", fix=f"Choose one of: {', '.join(VILLAINS)}."
        )
    return VILLAINS[name]
