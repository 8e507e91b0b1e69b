"""Copying: to the system's clipboard where there is one, else by OSC 52, which a terminal may ignore."""

from __future__ import annotations

import asyncio
import base64
import os
from typing import Any

from textual.app import App

MAX_OSC52_BYTES = 74_000
"""Terminals cut longer requests or drop them."""


def _system_copy(text: str) -> bool:
    import pyperclip

    try:
        pyperclip.copy(text)
    except (pyperclip.PyperclipException, OSError):
        return False
    return True


def osc52(text: str, *, in_tmux: bool) -> str:
    """The escape sequence that asks the terminal to set its clipboard, wrapped for tmux where needed."""
    sequence = f"\x1b]52;c;{base64.b64encode(text.encode()).decode()}\a"
    return "\x1bPtmux;" + sequence.replace("\x1b", "\x1b\x1b") + "\x1b\\" if in_tmux else sequence


async def copy_to_clipboard(app: App[Any], text: str) -> str:
    """Copy, and say in one sentence what happened; ``""`` if nothing could be done."""
    over_ssh = bool(os.environ.get("SSH_CONNECTION") or os.environ.get("SSH_TTY"))
    if not app.is_web and not over_ssh and await asyncio.to_thread(_system_copy, text):
        return "is on the clipboard."
    if len(text.encode()) > MAX_OSC52_BYTES:
        return ""
    driver = app._driver  # Textual offers no public way to write its own escape sequence
    if "TMUX" in os.environ and driver is not None:
        driver.write(osc52(text, in_tmux=True))
    app.copy_to_clipboard(text)
    return "was sent to the terminal; whether it takes it (OSC 52) is its choice."


def copy_text(app: App[Any], text: str, what: str) -> None:
    """Copy in a thread, then tell the person what happened."""

    async def work() -> None:
        outcome = await copy_to_clipboard(app, text)
        if outcome:
            app.notify(f"{what} {outcome}", markup=False)
        else:
            app.notify(f"{what} is too long for this terminal's clipboard.", severity="warning", markup=False)

    app.run_worker(work(), group="clipboard", exit_on_error=False)
