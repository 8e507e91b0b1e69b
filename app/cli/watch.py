"""``idlewatt watch``: a watchtower. It needs an L1 only, and a key with a little ether if it shall prove."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from app.cli.attest import Place, attesting, check_attesting, take_bond_back
from app.cli.common import (
    announce,
    as_coroutine,
    chain_option,
    home_option,
    json_option,
    passphrase,
    until_stopped,
    with_parent_option,
)
from app.cli.node_access import configured
from app.config import Config
from app.home import Home
from app.logs import log_to
from chain.errors import IdlewattError, UsageError
from chain.signing import parse_address
from chain.views import DisputeStage, DisputeView, WatchEvent

if TYPE_CHECKING:
    from wallet.account import UnlockedAccount

FIX_WHERE = "Give --chain http://host:port, or --l1 http://host:port together with --rollup 0x…"


LAST_DATE_S = 253_402_300_799
"""The end of the year 9999: an L1 may claim any time, and Python knows no later one."""


@click.command("watch", help="Re-execute the rollup from L1 alone, and prove what is wrong.")
@home_option
@chain_option
@click.option("--l1", "l1_url", help="The L1's JSON-RPC; asked of --chain unless given.")
@click.option("--rollup", "rollup", help="The rollup contract's address on L1; asked of --chain unless given.")
@click.option("--snapshot", help="Begin with this file or URL, held against L1; asked of --chain if not given.")
@click.option("--no-snapshot", is_flag=True, help="Re-execute everything from the first batch on.")
@click.option("--prove", is_flag=True, help="Prove wrong batches with the home's wallet, which pays the gas.")
@click.option("--freeze", is_flag=True, help="With --prove: freeze a rollup whose inbox nobody executes.")
@click.option("--attest", is_flag=True, help="Vouch for what is right, with the wallet's bond, on the rollup's board.")
@click.option("--bond", type=click.FloatRange(0, min_open=True), help="With --attest: ether to have put up.")
@click.option("--unbond", is_flag=True, help="Ask for the bond back; once its delay is over, run it again to take it.")
@click.option("--once", is_flag=True, help="Check what stands and end: 0 if all of it is right, else 1.")
@json_option
@with_parent_option
@as_coroutine
async def command(  # noqa: PLR0913, PLR0917 - click passes every option by name
    home_path: str | None,
    chain: str | None,
    l1_url: str | None,
    rollup: str | None,
    snapshot: str | None,
    no_snapshot: bool,
    prove: bool,
    freeze: bool,
    attest: bool,
    bond: float | None,
    unbond: bool,
    once: bool,
    as_json: bool,
    with_parent: bool,
) -> None:
    """Watch until told to stop."""
    if freeze and not prove:
        raise UsageError("--freeze sends a transaction.", fix="Give --prove as well, so that it is known who pays.")
    if once and prove:
        raise UsageError("--once only looks.", fix="Leave --prove away, or --once.")
    if snapshot is not None and no_snapshot:
        raise UsageError("--snapshot and --no-snapshot exclude each other.", fix="Give one of them.")
    home, config = configured(home_path, chain=chain)
    check_attesting(attest=attest, bond=bond, unbond=unbond, once=once, has_board=config.chain is not None)
    log_to(home.logs, "watch", config.log_level)
    place = await watched_place(config, l1_url, rollup)
    # A look at everything that stands is asked for with --once, so that it skips nothing by itself.
    begin_with = None if no_snapshot else snapshot or (None if once else place.offered_snapshot)

    from chain.watchtower import WatchtowerConfig
    from chain.watchtower.open import check_funds, open_watchtower

    account = await unlocked_account(home, config) if prove or attest or unbond else None
    if unbond and account is not None:
        await take_bond_back(place, account, as_json=as_json)
        return
    if account is not None and prove:
        await check_funds(place.l1_url, account.address)

    def tell(event: WatchEvent) -> None:
        announce(event, as_json=as_json, text=_line(event))

    async def watch(stop: asyncio.Event) -> None:
        async with AsyncExitStack() as open_parts:
            vouching = None
            if attest and account is not None:
                vouching = await open_parts.enter_async_context(attesting(place, config.chain or "", account, bond))
            tower = await open_parts.enter_async_context(
                open_watchtower(
                    place.l1_url,
                    place.rollup_address,
                    account=account if prove else None,
                    config=WatchtowerConfig(freezes=freeze),
                    on_event=tell,
                    snapshot=begin_with,
                    **({"on_verified": vouching.note} if vouching else {}),
                )
            )
            who = _roles(account.address_hex, prove=prove, attest=attest) if account else ""
            facts = {
                "l1": place.l1_url,
                "rollup": "0x" + place.rollup_address.hex(),
                "proving": prove,
                "attesting": attest,
            }
            announce({"watching": facts}, as_json=as_json, text=f"Watching {facts['rollup']} on {place.l1_url}{who}.")
            if once:
                await tower.settle()
                _judge(tower.view().disputes)
                return
            async with asyncio.TaskGroup() as tasks:
                running = [tasks.create_task(tower.run())]
                if vouching is not None:
                    publish = vouching.publisher(lambda: tower.view().verified_batches)
                    running.append(tasks.create_task(publish.run()))
                await stop.wait()
                for task in running:
                    task.cancel()

    try:
        await until_stopped(watch, with_parent=with_parent)
    finally:
        if account is not None:
            account.forget()


def _roles(address: str, *, prove: bool, attest: bool) -> str:
    roles = [name for name, is_on in (("proving", prove), ("attesting", attest)) if is_on]
    return f", {' and '.join(roles)} as {address}"


async def watched_place(config: Config, l1_url: str | None, rollup: str | None) -> Place:
    """The place from the options; what they leave out comes from the rollup's RPC."""
    if l1_url is not None and not l1_url.startswith(("http://", "https://")):
        raise UsageError("--l1 takes the URL of an L1's JSON-RPC.", code="bad_url", fix="Give http://host:port.")
    try:
        address = parse_address(rollup) if rollup is not None else None
    except ValueError as error:
        raise UsageError(f"--rollup: {error}.", code="bad_address", fix="Copy the address again.") from None
    offered = None
    if l1_url is None or address is None:
        if config.chain is None:
            raise UsageError("It isn't known which rollup to watch.", code="no_chain", fix=FIX_WHERE)
        from chain.client import RollupClient
        from chain.snapshot_source import SNAPSHOT_PATH

        async with RollupClient(config.chain) as client:
            info = await client.info()
        l1_url = l1_url or info.l1_rpc_url
        address = address or _told_address(info.rollup_address)
        offered = config.chain.rstrip("/") + SNAPSHOT_PATH
    return Place(l1_url=l1_url, rollup_address=address, offered_snapshot=offered)


def _told_address(text: str) -> bytes:
    try:
        return parse_address(text)
    except ValueError as error:
        raise IdlewattError(
            "The rollup's RPC names no contract.", code="chain_bad_answer", fix="Give --l1 and --rollup yourself."
        ) from error


async def unlocked_account(home: Home, config: Config) -> UnlockedAccount:
    """The home's wallet, unlocked: its key pays the gas, and gets what is won."""
    from wallet.keystore import Keystore

    keystore = Keystore(home.keystore)
    entries = await keystore.accounts()
    if not entries:
        raise IdlewattError(
            "This home has no wallet yet.",
            code="no_wallet",
            fix="Create one with `idlewatt wallet new`, and send it a little ether on L1.",
        )
    words = passphrase(use_keyring=config.keyring, account=entries[0].address_hex)
    return await keystore.unlock(entries[0].address, words)


def _line(event: WatchEvent) -> str:
    at = datetime.fromtimestamp(min(event.at_s, LAST_DATE_S), UTC).strftime("%Y-%m-%d %H:%M:%S") if event.at_s else "-"
    gas = [gas for gas in (event.dispute.commit_gas, event.dispute.prove_gas) if gas] if event.dispute else []
    spent = f" Gas so far: {sum(gas)}." if gas else ""
    return f"{at}  {event.kind:<10} {event.text}{spent}"


def _judge(disputes: tuple[DisputeView, ...]) -> None:
    """Fail where L1 has a wrong batch."""
    standing = {DisputeStage.FOUND, DisputeStage.COMMITTED, DisputeStage.MISSED, DisputeStage.REFUSED}
    for dispute in disputes:
        if dispute.stage in standing:
            raise IdlewattError(
                f"Batch {dispute.batch_id} is wrong at frame {dispute.frame}: {dispute.rule} (code {dispute.code}).",
                code="fraud_found",
                fix="Prove it with `idlewatt watch --prove`, and accept nothing from this sequencer.",
            )
