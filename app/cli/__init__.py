"""The command line: a lazily loaded group, and the one place where a failure becomes a line and an exit status."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime

import click

from app.home import Home
from app.streams import discard, finish_streams, line_of, prepare_streams, say
from chain.errors import ERRORS, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE, IdlewattError

MAX_LINE_CHARS = 10_000
COMMANDS = {
    "demo": "Play both sides on this machine with test money.",
    "serve": "Rent out a model, without the terminal app.",
    "chat": "Ask a model on somebody's machine, paying by the token.",
    "market": "List what is rentable now.",
    "models": "Find, pull, inspect, measure and remove models.",
    "wallet": "Keys and money: create, import, show, export, deposit, withdraw, stake, exit.",
    "channels": "List, redeem and close payment channels.",
    "relay": "Run a relay that joins nodes.",
    "devnet": "Run an embedded L1 with the rollup on it.",
    "watch": "Re-execute the rollup from L1 alone, and prove what is wrong.",
    "liquidity": "Pay withdrawals out before they are final, for a fee.",
    "settings": "List every setting: its value, where that comes from, and what it may be.",
    "status": "Say how the node on this home is doing.",
    "doctor": "Check what newcomers trip over, and print the fixes.",
}


class LazyGroup(click.Group):
    """Imports a command's module when it is called, so that ``--help`` and light commands start at once."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command, in the order of a newcomer's needs."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command itself, imported."""
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(f"app.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does it, and beside a word that is no command the nearest one: click knows those it imported."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            import difflib  # only what is refused needs it

            near = difflib.get_close_matches(args[0], COMMANDS, 1)
            if not near or args[0] in COMMANDS:
                raise
            raise click.UsageError(f"No such command {args[0]!r}. Did you mean {near[0]!r}?", ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List commands by their one-line help, importing none of them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


class LateHelp(click.Option):
    """The option of a setting; its declaration is imported only when help is shown."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """What ``--help`` shows."""
        from app.cli.setting_options import declared, help_text

        self.help = help_text(declared(str(self.name)))
        return super().get_help_record(ctx)


@click.group(cls=LazyGroup, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="idlewatt", prog_name="idlewatt")
@click.option(
    "--home",
    type=click.Path(file_okay=False),
    help="The folder of everything this node owns; else $IDLEWATT_HOME, else the platform's data folder.",
)
@click.option("--relay", cls=LateHelp)
@click.option("--chain", cls=LateHelp)
@click.pass_context
def cli(ctx: click.Context, home: str | None, relay: str | None, chain: str | None) -> None:
    """Rent out an idle GPU, or chat with a model on a stranger's machine, paying token by token.

    Without a command the terminal app opens.
    """
    if ctx.invoked_subcommand is None:
        from app.cli.tui import open_terminal_app

        open_terminal_app(home, relay, chain)
    elif home or relay or chain:
        raise click.UsageError(f"Write these options after the command: idlewatt {ctx.invoked_subcommand} --home …")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 failed with one clear line on stderr, 2 wrong usage, 130 interrupted."""
    prepare_streams()
    # Records go to the logs of the home, or nowhere: where no log is kept, Python would print them on the terminal.
    logging.getLogger().addHandler(logging.NullHandler())
    sys.exit(finish_streams(run(arguments)))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    try:
        result = cli.main(
            args=list(arguments) if arguments is not None else None, prog_name="idlewatt", standalone_mode=False
        )
    except click.exceptions.Exit as leaving:
        return leaving.exit_code
    except click.ClickException as error:
        with suppress(OSError):  # nobody reads stderr: the exit status still says it
            error.show()
        return EXIT_USAGE
    except (click.Abort, KeyboardInterrupt):
        say("Interrupted.")
        return EXIT_INTERRUPTED
    except BaseException as error:
        return report(error)
    return result if isinstance(result, int) else 0


def report(error: BaseException) -> int:
    """Turn the error that ended a command into one line on stderr and an exit status."""
    cause = innermost(error)
    match cause:
        case IdlewattError():
            from node.values.text import plain  # most commands end well, and some need nothing of the node

            # It may repeat a peer's words, a path or a file's: none of them is for the terminal to obey.
            say(f"idlewatt: {plain(cause.line(), MAX_LINE_CHARS)}")
            return cause.entry.exit_status
        case KeyboardInterrupt():
            say("Interrupted.")
            return EXIT_INTERRUPTED
        case SystemExit():
            return cause.code if isinstance(cause.code, int) else EXIT_FAILED
        case BrokenPipeError():
            # The reader of our output has gone. Python would complain again while flushing at exit.
            discard(sys.stdout)
            return EXIT_FAILED
    if line := line_of(cause):
        say(f"idlewatt: {line}")
        return EXIT_FAILED
    say(f"idlewatt: {_unexpected(error, cause)}")
    return ERRORS["internal"].exit_status


def innermost(error: BaseException) -> BaseException:
    """The failure a person should read of an exception group: the first one of ours, else the first."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    leaves = [innermost(inner) for inner in error.exceptions]
    return next((leaf for leaf in leaves if isinstance(leaf, IdlewattError)), leaves[0])


def _unexpected(error: BaseException, cause: BaseException) -> str:
    said = f"Something unexpected went wrong ({type(cause).__name__})."
    try:
        folder = Home.resolve(_home_argument()).prepare().logs
        path = folder / f"crash-{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}.log"
        # Frames only, without local variables: those may hold keys.
        path.write_text("".join(traceback.format_exception(error)), encoding="utf-8", errors="backslashreplace")
        path.chmod(0o600)
    except (IdlewattError, OSError) as no_log:
        return f"{said} Its details could not be written either ({no_log}). Please report it."
    return f"{said} The details are in {path}: please report them."


def _home_argument() -> str | None:
    arguments = sys.argv[1:]
    for position, argument in enumerate(arguments):
        if argument.startswith("--home="):
            return argument.removeprefix("--home=")
        if argument == "--home" and position + 1 < len(arguments):
            return arguments[position + 1]
    return None
