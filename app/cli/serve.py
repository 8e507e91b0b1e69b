"""``idlewatt serve``: rent out a model, without the terminal app."""

from __future__ import annotations

import asyncio

import click
from msgspec.structs import replace

from app.cli.common import (
    Dollars,
    announce,
    as_coroutine,
    chain_option,
    home_option,
    json_option,
    note,
    relay_option,
    until_stopped,
    with_parent_option,
)
from app.cli.node_access import configured, own_node, unlocked_wallet
from app.cli.status import advice_text
from chain.errors import IdlewattError
from node.api import NodeApi
from node.engine.options import KV_TYPES
from node.values import JobStage, JobView, NodeChanged, Notice, Prices, format_usd


@click.command("serve", help="Rent out a model until stopped: publish its offer, serve buyers, redeem what they pay.")
@home_option
@relay_option
@chain_option
@click.option("--model", help="`demo`, a GGUF's path, or a name in the home's models folder.")
@click.option("--upstream", help="Rent out an OpenAI-compatible server instead: its address, ending in /v1.")
@click.option("--upstream-key-env", metavar="VAR", help="The variable that holds the upstream's bearer token.")
@click.option("--price-in", type=Dollars(), help="Dollars per million input tokens.")
@click.option("--price-out", type=Dollars(), help="Dollars per million output tokens.")
@click.option("--slots", type=click.IntRange(1, 64), help="Requests served at once.")
@click.option("--context-length", type=click.IntRange(64), help="Tokens of context a slot has.")
@click.option("--threads", type=click.IntRange(1, 1024), help="CPU threads of the engine.")
@click.option("--gpu-layers", type=click.IntRange(-1), help="Layers on the GPU; -1 for all.")
@click.option(
    "--kv-type", type=click.Choice(KV_TYPES), help="Form of the cache: q8_0 takes half of f16, q4_0 a quarter."
)
@click.option("--tensor-split", help="Shares of several GPUs, such as 3,1.")
@click.option("--allow-loss", is_flag=True, default=None, help="Let a price be below what its power costs.")
@click.option("--always-available", is_flag=True, help="Rent out whoever else wants the machine.")
@json_option
@with_parent_option
@as_coroutine
async def command(  # noqa: PLR0913, PLR0917 - one parameter an option
    home_path: str | None,
    relay: str | None,
    chain: str | None,
    model: str | None,
    upstream: str | None,
    upstream_key_env: str | None,
    price_in: int | None,
    price_out: int | None,
    slots: int | None,
    context_length: int | None,
    threads: int | None,
    gpu_layers: int | None,
    kv_type: str | None,
    tensor_split: str | None,
    allow_loss: bool | None,
    always_available: bool,
    as_json: bool,
    with_parent: bool,
) -> None:
    """Serve until told to stop."""
    home, config = configured(
        home_path, relay=relay, chain=chain, model=model, price_in_nano=price_in, price_out_nano=price_out, slots=slots,
        context_length=context_length, threads=threads, gpu_layers=gpu_layers,
        kv_type=kv_type, tensor_split=tensor_split, upstream=upstream, upstream_key_env=upstream_key_env,
        allow_below_cost=allow_loss,
    )  # fmt: skip
    if always_available:
        config = replace(config, availability=replace(config.availability, enabled=False))
    if config.relay is None or config.chain is None:
        missing = "--relay ws://host:port" if config.relay is None else "--chain http://host:port"
        raise IdlewattError(
            "Renting out needs a relay and a chain.", code="not_configured", fix=f"Pass {missing} once."
        )
    prices = Prices(input_nano_per_mtok=config.price_in_nano, output_nano_per_mtok=config.price_out_nano)

    async def rent_out(stop: asyncio.Event) -> None:
        async with own_node(home, config) as node:
            await unlocked_wallet(node, config)
            await node.go_online(config.model, prices)
            provider = node.snapshot().provider
            wallet = node.snapshot().wallets[0]
            name = provider.model if provider else config.model
            text = (
                f"Renting out {name} for {format_usd(config.price_in_nano)} in and "
                f"{format_usd(config.price_out_nano)} out per million tokens, paid to {wallet.address} (ctrl-c stops)."
            )
            announce({"model": name, "provider": wallet.address, "relay": config.relay}, as_json=as_json, text=text)
            async with asyncio.TaskGroup() as tasks:
                telling = tasks.create_task(_tell(node))
                await stop.wait()
                telling.cancel()
            note("Stopping: running answers end first, and what was earned is redeemed.")
            await node.go_offline()

    await until_stopped(rent_out, with_parent=with_parent)


async def _tell(node: NodeApi) -> None:
    """Say on stderr what a person who rents out wants to know.

    Every finished job, every notice, every change of phase.
    """
    told: set[str] = set()
    headline, advised = node.snapshot().why, ""
    async with node.subscribe() as events:
        async for event in events:
            if isinstance(event, Notice):
                note(f"· {event.text}")
            if not isinstance(event, NodeChanged):
                continue
            snapshot = node.snapshot()
            if snapshot.why != headline:
                headline = snapshot.why
                note(f"· {snapshot.phase}: {headline} {snapshot.fix}".rstrip())
            if snapshot.price is not None and advised != (advised := advice_text(snapshot.price)):
                note(f"· {advised}")
            for job in snapshot.recent_jobs:
                if job.role == "provider" and job.job_id not in told and job.finished_ms is not None:
                    told.add(job.job_id)
                    note(f"· {_job_line(job)}")


def _job_line(job: JobView) -> str:
    outcome = "done" if job.stage is JobStage.DONE else f"{job.stage} {job.error}".strip()
    return (
        f"{outcome}: {job.input_tokens} in + {job.output_tokens} out at {job.tokens_per_s:.1f} tok/s, "
        f"{format_usd(job.amount_nano)} earned"
    )
