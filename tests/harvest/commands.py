"""Every command of the program, started as a shell would."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from app.cli import cli
from tests.patience import PATIENCE_S

NO_HUB = "http://127.0.0.1:9"
ASCII_ONLY = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
WORDS = {"channel_id": "1", "kind": "mnemonic", "model": "absent", "text": "absent"}
"""What a required argument gets."""
SERVICES = {("relay",): ("--port", "0"), ("devnet",): ("--l1-port", "0", "--l2-port", "0")}
"""They begin, and end at once: their standard input, a lifeline, has no other end."""


def leaves(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command there is, with what it must be given, but for options."""
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            below = command.get_command(click.Context(command), name)
            assert below is not None
            yield from leaves(below, (*path, name))
        return
    required = [p.name for p in command.params if isinstance(p, click.Argument) and p.required]
    options = [word for p in command.params if isinstance(p, click.Option) and p.required for word in (p.opts[0], "1")]
    yield (
        *path,
        *SERVICES.get(path, ()),
        *(["--with-parent"] if path in SERVICES else []),
        *(WORDS[name or ""] for name in required),
        *options,
    )


EVERY = tuple(leaves(cli))
NAMES = [" ".join(command) for command in EVERY]
NEED_A_HOME = [name for name in NAMES if name.split()[:2] not in (["doctor"], ["models", "search"])]
"""Those that can do nothing without one."""


def start(command: tuple[str, ...], home: Path, redirect: str = "", **environment: str | None) -> subprocess.Popen:
    """Begin a real command as a shell would, in an environment that holds nothing but what is given here."""
    given = {"PATH": os.environ["PATH"], "IDLEWATT_HOME": str(home), "HOME": str(home), **environment}
    return subprocess.Popen(
        ["/bin/sh", "-c", f'exec "$@" {redirect}', "sh", sys.executable, "-m", "app.cli", *command],
        env={name: value for name, value in given.items() if value is not None},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def ended(process: subprocess.Popen) -> tuple[int, bytes, bytes]:
    out, said = process.communicate(timeout=PATIENCE_S)
    assert b"Traceback" not in out + said
    assert b"Exception ignored" not in said
    assert b"unexpected" not in said
    return process.returncode, out, said


def commanded(
    command: tuple[str, ...], home: Path, redirect: str = "", **environment: str | None
) -> tuple[int, bytes, bytes]:
    return ended(start(command, home, redirect, **environment))
