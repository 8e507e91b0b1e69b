"""``idlewatt serve``: rent out a model, without the terminal app."""

from __future__ import annotations

import asyncio
from collections.abc import Set
from typing import Any

import click

from app.cli.common import (
    announce,
    as_coroutine,
    home_option,
    json_option,
    note,
    speed_said,
    until_stopped,
    with_parent_option,
)
from app.cli.node_access import configured, own_node, tell_clock, unlocked_wallet
from app.cli.setting_options import setting_options
from app.cli.status import advice_text
from chain.errors import IdlewattError
from node.api import NodeApi
from node.values import JobStage, JobView, NodeChanged, Notice, Phase, format_usd


@click.command("serve", help="Rent out a model until stopped: publish its offer, serve buyers, redeem what they pay.")
@home_option
@setting_options
@click.option("--always-available", is_flag=True, help="Rent out also while somebody else uses the machine.")
@json_option
@with_parent_option
@as_coroutine
async def command(
    home_path: str | None, settings: dict[str, Any], always_available: bool, as_json: bool, with_parent: bool
) -> None:
    """Serve until told to stop."""
    from app.llama_build import unused_gpu

    home, config = configured(home_path, **settings, **({"availability.enabled": False} if always_available else {}))
    if config.relay is None or config.chain is None:
        missing = "--relay ws://host:port" if config.relay is None else "--chain http://host:port"
        raise IdlewattError(
            "Renting out needs a relay and a chain.", code="not_configured", fix=f"Pass {missing} once."
        )

    async def rent_out(stop: asyncio.Event) -> None:
        async with own_node(home, config) as node:
            await unlocked_wallet(node, config)
            if config.upstream is None and config.gpu_layers != 0 and (hint := await unused_gpu()):
                note(f"· {hint}")
            earlier = {job.job_id for job in node.snapshot().recent_jobs}
            async with asyncio.TaskGroup() as tasks:
                waiting = tasks.create_task(_tell_notices(node))
                await node.go_online()
                waiting.cancel()
            provider = node.snapshot().provider
            wallet = node.snapshot().wallets[0]
            name = provider.model if provider else config.model
            text = (
                f"Renting out {name} for {format_usd(config.price_in_nano)} in and "
                f"{format_usd(config.price_out_nano)} out per million tokens, paid to {wallet.address} (ctrl-c stops)."
            )
            announce({"model": name, "provider": wallet.address, "relay": config.relay}, as_json=as_json, text=text)
            tell_clock(node)
            async with asyncio.TaskGroup() as tasks:
                telling = tasks.create_task(tell(node, earlier))
                await stop.wait()
                telling.cancel()
            note("Stopping: running answers end first, and what was earned is redeemed.")
            await node.go_offline()

    await until_stopped(rent_out, with_parent=with_parent)


async def tell(node: NodeApi, earlier: Set[str]) -> None:
    """Say on stderr what a person who rents out wants to know.

    Every finished job, every notice, every change of phase.

    Args:
        node: The node that rents out.
        earlier: Ids of the jobs of earlier runs; nothing is said about them.
    """
    told = set(earlier)
    snapshot = node.snapshot()
    headline, suggested = snapshot.why, None
    if snapshot.phase is Phase.DEGRADED:
        note(f"· {snapshot.phase}: {headline} {snapshot.fix}".rstrip())
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
            # What power costs moves a little with every job, and is no news.
            if snapshot.price is not None and suggested != (suggested := snapshot.price.suggested):
                note(f"· {advice_text(snapshot.price)}")
            for job in snapshot.recent_jobs:
                if job.role == "provider" and job.job_id not in told and job.finished_ms is not None:
                    told.add(job.job_id)
                    note(f"· {_job_line(job)}")


async def _tell_notices(node: NodeApi) -> None:
    """Say on stderr why going online takes its time."""
    async with node.subscribe() as events:
        async for event in events:
            if isinstance(event, Notice):
                note(f"· {event.text}")


def _job_line(job: JobView) -> str:
    outcome = "done" if job.stage is JobStage.DONE else f"{job.stage} {job.error}".strip()
    return (
        f"{outcome}: {job.input_tokens} in + {job.output_tokens} out{speed_said(' at ', job.tokens_per_s)}, "
        f"{format_usd(job.amount_nano)} earned"
    )
