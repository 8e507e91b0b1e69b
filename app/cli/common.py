"""Shared by the commands: options, output as text or JSON, passphrases, running until stopped."""

from __future__ import annotations

import asyncio
import functools
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

import click
import msgspec

from app.cli.setting_options import setting_option
from app.cli.stdout import write_json
from app.home import Home
from app.streams import environment_text, say
from app.variables import PASSPHRASE_VARIABLE
from chain.errors import IdlewattError
from node.values import Health
from node.values.text import drawn

P = ParamSpec("P")
R = TypeVar("R")

KEYRING_SERVICE = "idlewatt"
HEALTH_MARKS = {Health.OK: "ok  ", Health.WARN: "warn", Health.FAIL: "FAIL"}


def _home_of_group(ctx: click.Context, _: click.Parameter, given: str | None) -> str | None:
    """``idlewatt channels --home H list`` means the same as ``idlewatt channels list --home H``."""
    return given or (ctx.parent.params.get("home_path") if ctx.parent else None)


home_option = click.option(
    "--home",
    "home_path",
    type=click.Path(file_okay=False),
    callback=_home_of_group,
    help="The folder of everything this node owns; else $IDLEWATT_HOME, else the platform's data folder.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
relay_option = setting_option("relay")
with_parent_option = click.option(
    "--with-parent", is_flag=True, hidden=True, help="End when standard input ends: for child processes."
)
chain_option = setting_option("chain")


def as_coroutine(function: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, R]:
    """Run a command written as a coroutine on a loop of its own."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        return asyncio.run(function(*args, **kwargs))

    return run


def json_ready(value: object) -> object:
    """Plain values for JSON.

    Structs become objects, and every ``…_nano`` a decimal string, since JSON numbers end at 2⁵³.
    """
    return _money_as_strings(msgspec.to_builtins(value, str_keys=True))


def _money_as_strings(value: object) -> object:
    if isinstance(value, str):
        # A path may hold bytes that are no text, which JSON can't.
        return value.encode(errors="replace").decode()
    if isinstance(value, dict):
        return {
            key: str(item)
            if key.endswith(("_nano", "_per_mtok")) and isinstance(item, int)
            else _money_as_strings(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_money_as_strings(item) for item in value]
    return value


def emit(value: object, *, as_json: bool, text: str) -> None:
    """Print facts: the JSON of ``value``, or ``text``, neutralized where it repeats what others wrote."""
    if as_json:
        write_json(msgspec.json.format(msgspec.json.encode(json_ready(value)), indent=2))
    else:
        click.echo(drawn(text, tab="\t"))


def announce(value: object, *, as_json: bool, text: str) -> None:
    """Print that a service is ready: one line, flushed, so that the parent process can read it."""
    if as_json:
        write_json(msgspec.json.encode(json_ready(value)))
    else:
        click.echo(drawn(text, tab="\t"))
        sys.stdout.flush()


def note(text: str) -> None:
    """Print progress for a person on stderr, neutralized; stdout stays for results.

    A service goes on where nobody can read it.
    """
    say(drawn(text, tab="\t"))


def speed_said(before: str, tokens_per_s: float) -> str:
    """How fast tokens came, after ``before``; empty if they all came at once and nothing could be measured."""
    return f"{before}{tokens_per_s:.1f} tok/s" if tokens_per_s > 0 else ""


def prepared_home(home_path: str | None) -> Home:
    """The home this command works on, created when missing."""
    return Home.resolve(home_path).prepare()


def passphrase(
    *, confirm: bool = False, use_keyring: bool = False, account: str = "", prompt: str = "Passphrase"
) -> str:
    """A passphrase from the environment, the system's keyring, or the prompt; never from an argument.

    Raises:
        IdlewattError: If there is nobody to ask.
    """
    from_environment = environment_text(PASSPHRASE_VARIABLE)
    if from_environment is not None:
        return from_environment
    if use_keyring and (kept := _from_keyring(account)) is not None:
        return kept
    if not sys.stdin.isatty():
        raise IdlewattError(
            "A passphrase is needed and nobody is there to type it.",
            code="passphrase_needed",
            fix=f"Set {PASSPHRASE_VARIABLE}, or run this in a terminal.",
        )
    return str(click.prompt(prompt, hide_input=True, confirmation_prompt=confirm, err=True))


def _from_keyring(account: str) -> str | None:
    import keyring
    from keyring.errors import KeyringError

    try:
        kept: str | None = keyring.get_password(KEYRING_SERVICE, account or "default")
        return kept
    except KeyringError as error:
        raise IdlewattError(
            f"The system's keyring does not answer ({type(error).__name__}).",
            code="keyring_unavailable",
            fix=f"Unlock it, set {PASSPHRASE_VARIABLE}, or set keyring = false in config.toml.",
        ) from None


async def until_stopped(main: Callable[[asyncio.Event], Awaitable[None]], *, with_parent: bool = False) -> None:
    """Run a service until it ends by itself or is told to stop: SIGINT, SIGTERM, SIGHUP, or the parent's end.

    Args:
        main: Receives the event that says "stop"; it ends in its own order when that is set.
        with_parent: Whether standard input is a lifeline that the parent holds open.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in signals:
        loop.add_signal_handler(number, stop.set)
    if with_parent:
        from app.children import hold_lifeline

        await hold_lifeline(stop)
    try:
        await main(stop)
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
