"""``idlewatt models``: what is on this machine's disk, what the hub has, what fits, and how fast it is."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from app.cli.common import as_coroutine, emit, home_option, json_option, note, until_stopped
from app.cli.model_tables import as_columns, bench_text, bytes_short, count_short, detail_text, duration
from app.cli.node_access import configured
from app.cli.setting_options import setting_option
from app.config import Config
from app.home import Home
from chain.errors import IdlewattError, UsageError
from chain.file_systems import expanded
from node.values.models import (
    BenchRow,
    BenchView,
    FitView,
    HubModelView,
    ModelView,
    PullChosen,
    PullDone,
    PullProgress,
)
from node.values.text import plain

if TYPE_CHECKING:
    from node.models.library import ModelLibrary

TTY_REPORT_S = 0.2
LOG_REPORT_S = 5.0

folder_option = click.option(
    "--folder", "folders", multiple=True, type=click.Path(file_okay=False), help="Look for models here too; repeatable."
)


@click.group("models", help="Find, pull, inspect, measure and remove models.")
@home_option
def command(home_path: str | None) -> None:
    """The group; its commands follow, and read its ``--home``."""


def library_of(home: Home, config: Config, folders: Sequence[str] = ()) -> ModelLibrary:
    """The models that a home and its settings can reach."""
    from node.engine.load_check import CHECKS_FILE, LoadChecks
    from node.hardware.sampler import HardwareSampler, device_view
    from node.models.fit import Device
    from node.models.library import ModelLibrary, free_gpus

    def gpus() -> tuple[Device, ...]:
        with contextlib.closing(HardwareSampler()) as sampler:
            return free_gpus(device_view(reading) for reading in sampler.sample().devices)

    checks = LoadChecks(home.models / CHECKS_FILE)
    return ModelLibrary(
        home.models,
        folders=[expanded(folder) for folder in (*folders, *config.model_folders)],
        slots=config.slots,
        context_length=config.context_length,
        gpu_layers=config.gpu_layers,
        gpus=gpus,
        is_split=config.split_mode != "none",
        problem=lambda path, info, ask: checks.problem(path, info, ask=ask),
        notes=checks.notes,
    )


@command.command("list", help="Every model on this machine that can be rented out, wherever another program keeps it.")
@home_option
@folder_option
@json_option
def list_models(home_path: str | None, folders: tuple[str, ...], as_json: bool) -> None:
    """Print the models."""
    home, config = configured(home_path)
    found = library_of(home, config, folders).list()
    emit({"models": found}, as_json=as_json, text=_as_table(found))


def _as_table(found: Sequence[ModelView]) -> str:
    rows = [("MODEL", "QUANT", "SIZE", "CONTEXT", "FROM", "FIT")]
    rows += [
        (
            model.name,
            model.quantization,
            bytes_short(model.size_bytes),
            str(model.context_length or "-"),
            model.source,
            model.problem or model.fit,
        )
        for model in found
    ]
    return as_columns(rows)


@command.command("search", help="Search the Hugging Face hub for GGUF models, the most downloaded first.")
@click.argument("text")
@click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True, help="How many to show.")
@json_option
@as_coroutine
async def search_hub(text: str, limit: int, as_json: bool) -> None:
    """Print what the hub has."""
    from node.models.pull import search

    found = await search(text, limit, on_notice=note)
    emit(
        {"models": found}, as_json=as_json, text=_as_hits(found) if found else "The hub has no GGUF model by that name."
    )


def _as_hits(found: Sequence[HubModelView]) -> str:
    rows = [("REPOSITORY", "PARAMETERS", "CONTEXT", "DOWNLOADS", "PULLS", "SIZE", "")]
    rows += [
        (
            model.repo,
            count_short(model.parameters) if model.parameters else "-",
            str(model.context_length or "-"),
            count_short(model.downloads),
            model.quantization or "-",
            bytes_short(model.size_bytes) if model.size_bytes else "-",
            "gated" if model.is_gated else "",
        )
        for model in found
    ]
    return as_columns(rows)


@command.command(
    "pull",
    help="Download OWNER/NAME, OWNER/NAME:Q4_K_M or OWNER/NAME:FILE from the hub. A pull that broke off goes on where "
    "it was.",
)
@click.argument("model")
@home_option
@json_option
@as_coroutine
async def pull(model: str, home_path: str | None, as_json: bool) -> None:
    """Download into the home's models folder."""
    from node.models.pull import pulling

    home, _ = configured(home_path)
    done: list[PullDone] = []

    async def work(stop: asyncio.Event) -> None:
        told = _Teller()
        async with asyncio.TaskGroup() as tasks:

            async def transfer() -> None:
                async with pulling(model, home.models) as events:
                    async for event in events:
                        if isinstance(event, PullDone):
                            done.append(event)
                        else:
                            told.tell(event)
                stop.set()

            running = tasks.create_task(transfer())
            running.add_done_callback(lambda _: stop.set())
            await stop.wait()
            running.cancel()
        told.end()

    await until_stopped(work)
    if not done:
        raise click.Abort
    (pulled,) = done
    text = f"{pulled.model} is here, its SHA-256 checked. Rent it out: idlewatt serve --model {pulled.model}"
    emit(pulled, as_json=as_json, text=text)


class _Teller:
    """Prints a pull's progress on stderr: one line redrawn on a terminal, a line now and then elsewhere."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._said_at = float("-inf")
        self._width = 0

    def tell(self, event: PullChosen | PullProgress) -> None:
        if isinstance(event, PullChosen):
            if event.notice:
                note(event.notice)
            others = f" (there is also {', '.join(event.others[:12])})" if event.others else ""
            files = f" in {event.files} files" if event.files > 1 else ""
            licence = f", licence {event.licence}" if event.licence else ""
            note(f"Pulling {event.name}, {bytes_short(event.size_bytes)}{files}{licence}{others}.")
            return
        now = time.monotonic()
        if now - self._said_at < (TTY_REPORT_S if self._is_terminal else LOG_REPORT_S):
            return
        self._said_at = now
        line = progress_line(event)
        if self._is_terminal:
            click.echo("\r" + line.ljust(self._width), nl=False, err=True)
            self._width = len(line)
        else:
            note(line)

    def end(self) -> None:
        """Leave the line that is redrawn."""
        if self._is_terminal and self._width:
            click.echo("", err=True)


def progress_line(event: PullProgress) -> str:
    """How far a pull is, on one line."""
    share = event.done_bytes / event.total_bytes if event.total_bytes else 0.0
    line = f"{share:4.0%}  {bytes_short(event.done_bytes)} of {bytes_short(event.total_bytes)}"
    if event.checking:
        return f"{line}  checking what is here"
    eta = f", {duration(event.eta_s)} left" if event.eta_s is not None else ""
    return f"{line}  {bytes_short(int(event.bytes_per_s))}/s{eta}"


@command.command("inspect", help="Say everything that a model's file says about itself, with its SHA-256.")
@click.argument("model")
@home_option
@folder_option
@json_option
def inspect_model(model: str, home_path: str | None, folders: tuple[str, ...], as_json: bool) -> None:
    """Print the facts."""
    home, config = configured(home_path)
    detail = library_of(home, config, folders).inspect(model)
    emit(detail, as_json=as_json, text=detail_text(detail))


@command.command("fit", help="Say before loading whether a model fits into the free memory, and with how much context.")
@click.argument("model")
@setting_option("context_length", "--context")
@setting_option("slots")
@setting_option("kv_type")
@home_option
@folder_option
@json_option
def fit(
    model: str,
    context_length: int | None,
    slots: int | None,
    kv_type: str | None,
    home_path: str | None,
    folders: tuple[str, ...],
    as_json: bool,
) -> None:
    """Print the sentence and the sum."""
    home, config = configured(home_path, kv_type=kv_type)
    library = library_of(home, config, folders)
    view = library.fit(model, context_length=context_length, slots=slots, kv_type=config.kv_type)
    emit(view, as_json=as_json, text=_as_sum(view))


def _as_sum(view: FitView) -> str:
    parts = f"weights {bytes_short(view.weights_bytes)}, context {bytes_short(view.cache_bytes)}"
    more = f"work space {bytes_short(view.work_bytes)}, program {bytes_short(view.process_bytes)}"
    slots = "1 slot" if view.slots == 1 else f"{view.slots} slots"
    takes = "It takes" if view.fits else "It would take"
    return (
        f"{view.model} {view.sentence}.\n"
        f"{takes} {bytes_short(view.needed_bytes)} with {view.context_length} tokens of context and {slots} "
        f"({parts}, {more}) of {bytes_short(view.available_bytes)} that are free in {view.device}; "
        f"{bytes_short(view.headroom_bytes)} stay free for other programs."
    )


@command.command("bench", help="Measure how fast a model reads and writes with 1, 2, 4 and 8 streams, and keep it.")
@click.argument("model")
@click.option("--streams", default="1,2,4,8", show_default=True, help="How many at once, in turn.")
@click.option(
    "--prompt-tokens", type=click.IntRange(32, 512), default=512, show_default=True, help="The longest prompt."
)
@click.option(
    "--seconds",
    type=click.FloatRange(0.1, 60.0),
    default=4.0,
    show_default=True,
    help="How long each number of streams writes.",
)
@home_option
@folder_option
@json_option
@as_coroutine
async def bench_model(
    model: str,
    streams: str,
    prompt_tokens: int,
    seconds: float,
    home_path: str | None,
    folders: tuple[str, ...],
    as_json: bool,
) -> None:
    """Measure, print, keep."""
    from node.engine.benchmark import engine_for, history, keep, measure, summary

    home, config = configured(home_path)
    found = await asyncio.to_thread(library_of(home, config, folders).find, model)
    if await _rented_out(home):
        raise IdlewattError(
            "A model is being rented out here, and both would be slow.", code="model_in_use", fix="Go offline first."
        )
    counts = _stream_counts(streams)
    name = plain(found.name, 96)
    rows: list[BenchRow] = []
    measured: list[BenchView] = []

    async def work(stop: asyncio.Event) -> None:
        async def run() -> None:
            engine = engine_for(
                found, home.models, home.logs / "engine.log", threads=config.threads, gpu_layers=config.gpu_layers
            )
            note(f"Loading {name}.")
            async with engine as loaded:
                async for row in measure(loaded, counts, prompt_tokens=prompt_tokens, decode_s=seconds):
                    rows.append(row)
                    note(f"{row.streams} at once: {row.decode_tokens_per_s:.1f} tokens a second.")
                measured.append(summary(name, await loaded.info(), rows, threads=config.threads))

        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(run())
            running.add_done_callback(lambda _: stop.set())
            await stop.wait()
            running.cancel()

    await until_stopped(work)
    if not measured:
        raise click.Abort
    before = [entry for entry in history(home.models) if entry.model_sha256 == measured[0].model_sha256]
    keep(home.models, measured[0])
    text = bench_text(measured[0], before[0] if before else None)
    emit({"measured": measured[0], "history": before}, as_json=as_json, text=text)


def _stream_counts(text: str) -> tuple[int, ...]:
    counts = [int(word) for word in text.split(",") if word.strip().isdecimal()]
    if not counts or len(counts) != len(text.split(",")) or not all(1 <= count <= 8 for count in counts):
        raise UsageError("--streams takes numbers from 1 to 8.", fix="Write them as 1,2,4,8.")
    return tuple(dict.fromkeys(counts))


@command.command("rm", help="Delete a model from the home or from the Hugging Face cache; other programs' models stay.")
@click.argument("model")
@click.option("--yes", is_flag=True, help="Don't ask.")
@home_option
@json_option
def remove_model(model: str, yes: bool, home_path: str | None, as_json: bool) -> None:
    """Delete a model, after asking."""
    from node.models.removal import check_removable, remove

    home, config = configured(home_path)
    library = library_of(home, config)
    found = library.find(model)
    check_removable(library, found)
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError("Deleting asks first, and nobody is there to answer.", fix="Pass --yes.")
        click.confirm(f"Delete {found.path} ({bytes_short(found.size_bytes)})?", abort=True, err=True)
    loaded = asyncio.run(_rented_out(home))
    digest = library.inspect(model).sha256 if loaded else ""
    freed = asyncio.run(remove(library, model, in_use=lambda _: bool(loaded) and digest == loaded))
    emit({"freed_bytes": freed}, as_json=as_json, text=f"Deleted; {bytes_short(freed)} are free again.")


async def _rented_out(home: Home) -> str:
    """The SHA-256 of the model that the node on this home has loaded; empty without one."""
    from app.control.client import attach

    if not home.is_locked():
        return ""
    node = await attach(home.control_socket)
    provider = node.snapshot().provider
    return provider.model_sha256 if provider is not None else ""
