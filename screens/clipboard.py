"""Copying: to the system's clipboard, else by OSC 52, which a terminal may ignore, else into a file; it says which."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import sys
import tempfile
from asyncio.subprocess import DEVNULL, PIPE, Process
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import platformdirs
from textual.app import App

MAX_OSC52_BYTES: Final = 74_000
"""Terminals cut longer requests or drop them."""
SYSTEM_COPY_TIMEOUT_S: Final = 5.0


async def copied_by_system(text: str, timeout_s: float = SYSTEM_COPY_TIMEOUT_S) -> bool:
    """Put a text on the system's clipboard.

    A child process does it: ``xclip`` and ``wl-copy`` can hang for ever, and a thread that waits for them can't be
    ended.

    Args:
        text: What to copy.
        timeout_s: How long the system's program may take.

    Returns:
        Whether the same text was on the clipboard afterwards.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "screens.system_clipboard", stdin=PIPE, stdout=DEVNULL, stderr=DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        async with asyncio.timeout(timeout_s):
            # Its output goes nowhere, so a program that stays to hold the clipboard doesn't keep this waiting.
            await process.communicate(text.encode())
    except TimeoutError:
        return False
    finally:
        await _end(process)
    return process.returncode == 0


async def _end(process: Process) -> None:
    """End a child that still runs, with what it started."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def osc52(text: str, *, in_tmux: bool) -> str:
    """The escape sequence that asks the terminal to set its clipboard, wrapped for tmux where needed."""
    sequence = f"\x1b]52;c;{base64.b64encode(text.encode()).decode()}\a"
    return "\x1bPtmux;" + sequence.replace("\x1b", "\x1b\x1b") + "\x1b\\" if in_tmux else sequence


def copied_to_file(text: str) -> Path:
    """Write the text, byte for byte, into a new file that only its owner can read.

    Raises:
        OSError: If no file can be written.
    """
    downloads = platformdirs.user_downloads_path()
    folder = downloads if os.access(downloads, os.W_OK) else None
    handle, name = tempfile.mkstemp(prefix="idlewatt-", suffix=".txt", dir=folder)
    with os.fdopen(handle, "wb") as file:
        file.write(text.encode())
    return Path(name)


async def copy_to_clipboard(app: App[Any], text: str) -> str:
    """Copy, and say in one sentence what happened; ``""`` if nothing could be done."""
    over_ssh = bool(os.environ.get("SSH_CONNECTION") or os.environ.get("SSH_TTY"))
    if not app.is_web and not over_ssh and await copied_by_system(text):
        return "is on the clipboard."
    if len(text.encode()) <= MAX_OSC52_BYTES:
        driver = app._driver  # Textual offers no public way to write its own escape sequence
        if "TMUX" in os.environ and driver is not None:
            driver.write(osc52(text, in_tmux=True))
        app.copy_to_clipboard(text)
        return "was sent to the terminal; whether it takes it (OSC 52) is its choice."
    if app.is_web:
        return ""  # a file would lie on the node's machine, not on the reader's
    try:
        path = await asyncio.to_thread(copied_to_file, text)
    except OSError:
        return ""
    return f"is too long for this terminal's clipboard; it is in the file {path}."


def copy_text(app: App[Any], text: str, what: str) -> None:
    """Copy without blocking the screen, then tell the person what happened."""

    async def work() -> None:
        outcome = await copy_to_clipboard(app, text)
        if outcome:
            app.notify(f"{what} {outcome}", markup=False)
        else:
            app.notify(
                f"{what} was not copied: it is too long for this terminal's clipboard, and no file could be written.",
                severity="warning",
                markup=False,
            )

    app.run_worker(work(), group="clipboard", exit_on_error=False)
