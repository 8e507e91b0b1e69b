"""``idlewatt demo``: both sides on this machine, with test money, over a real relay and a real chain."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine

import click

from app.cli.common import as_coroutine, emit, home_option, json_option, note, prepared_home, until_stopped
from app.cli.stdout import AnswerOutput
from app.config import Config
from app.home import Home
from app.logs import log_to
from chain.errors import UsageError


@click.command("demo", help="Play both sides on this machine: rent out a tiny model, chat with it, with test money.")
@home_option
@click.option("--headless", is_flag=True, help="No terminal app: ask --prompt, settle, print, and end.")
@click.option("--prompt", default="What is 17 + 25?", show_default=True, help="What to ask, with --headless.")
@click.option("--stay", is_flag=True, help="With --headless: keep the network running after the answer.")
@json_option
@as_coroutine
async def command(home_path: str | None, headless: bool, prompt: str, stay: bool, as_json: bool) -> None:
    """Run the demo in a folder of its own inside the home."""
    if (as_json or stay) and not headless:
        raise UsageError("--json and --stay go with --headless.")
    home = prepared_home(home_path).below("demo").prepare()
    config = Config.load(home.config_path)
    log_to(home.logs, "demo", config.log_level)
    if headless:

        async def ask(stop: asyncio.Event) -> None:
            await _until(stop, _ask_and_settle(home, config, prompt, stay=stop if stay else None, as_json=as_json))

        await until_stopped(ask)
    else:
        from app.cli.tui import show_demo

        await show_demo(home, config)


async def _until(stop: asyncio.Event, work: Coroutine[object, object, None]) -> None:
    """Do the work, and cancel it when the command is stopped."""
    working = asyncio.create_task(work)
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
        else:
            raise KeyboardInterrupt
    finally:
        for task in (working, stopping):
            task.cancel()
        await asyncio.gather(working, stopping, return_exceptions=True)


async def _ask_and_settle(
    home: Home, config: Config, prompt: str, *, stay: asyncio.Event | None, as_json: bool
) -> None:
    import psutil

    from app.demo import prepare, running_demo
    from app.demo_run import ask_and_settle

    started_s = psutil.Process().create_time()
    note("· starting a chain, a relay, a node that rents and a node that buys")
    async with running_demo(home, config) as demo:
        await prepare(demo, home)
        note(f"· ready after {time.time() - started_s:.1f} s; asking: {prompt}")
        facts = await ask_and_settle(demo, prompt, started_s=started_s)
        if as_json:
            emit(facts, as_json=True, text="")
        else:
            output = AnswerOutput()
            output.write(str(facts["answer"]))
            output.end()
        if stay is not None:
            note("· staying until stopped (ctrl-c)")
            await stay.wait()
