"""Lines that a person types at a terminal, read without stopping the node that runs in the same process."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from app.streams import say, text_of

TERMINAL_LINE_BYTES = 4096
"""Linux's terminals keep no more of a line, its end included, and drop the rest in silence (termios(3))."""


async def typed_line(prompt: str, *, max_bytes: int = TERMINAL_LINE_BYTES) -> str | None:
    """Ask for a line on stderr and wait for it; ``None`` at the end of input. A line that was cut is asked for again.

    The loop waits for the terminal, not a thread: one that still reads when the program ends aborts it.
    """
    while True:
        click.echo(f"{prompt}> ", err=True, nl=False)
        with _terminal_as_it_was():
            raw = await _next_line(sys.stdin.fileno())
        if raw is None:
            say("")
            return None
        if len(raw) < max_bytes:
            return text_of(raw.rstrip(b"\r\n"))
        say(
            f"idlewatt: The terminal cut this line at {max_bytes - 1:,} bytes; it was not sent. "
            "Ask from a file: idlewatt chat < question.txt"
        )


async def _next_line(terminal: int) -> bytes | None:
    """The next line of a terminal, which hands out whole lines; ``None`` at its end."""
    loop = asyncio.get_running_loop()
    line: asyncio.Future[bytes | None] = loop.create_future()
    typed = bytearray()

    def read() -> None:
        try:
            piece = os.read(terminal, 1 << 16)
        except OSError:  # the terminal is gone
            piece = b""
        typed.extend(piece)
        if line.done() or (piece and not piece.endswith(b"\n")):
            return  # ctrl-d in a line hands out what it holds so far
        line.set_result(bytes(typed) if typed else None)

    loop.add_reader(terminal, read)
    try:
        return await line
    finally:
        loop.remove_reader(terminal)


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
