"""Lines that a person types at a terminal, read without stopping the node that runs in the same process."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import click


async def typed_line(prompt: str) -> str | None:
    """Ask for a line on stderr and wait for it; ``None`` at the end of input.

    A daemon thread waits for the person: unlike a thread of the executor it doesn't hold up the end of the program.
    """
    loop = asyncio.get_running_loop()
    line: asyncio.Future[str | None] = loop.create_future()

    def deliver(text: str | None) -> None:
        if not line.done():
            line.set_result(text)

    def read() -> None:
        try:
            text = click.prompt(prompt, prompt_suffix="> ", err=True, default="", show_default=False)
        except (click.Abort, OSError, ValueError):
            text = None
        if not loop.is_closed():
            loop.call_soon_threadsafe(deliver, text)

    with _terminal_as_it_was():
        threading.Thread(target=read, name="terminal input", daemon=True).start()
        return await line


@contextmanager
def _terminal_as_it_was() -> Iterator[None]:
    """Give the terminal its settings back: a reading that is abandoned leaves it without echo."""
    try:
        import termios

        before = termios.tcgetattr(sys.stdin)
    except (ImportError, OSError, termios.error):
        yield
        return
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
