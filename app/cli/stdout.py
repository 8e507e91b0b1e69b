"""What commands write to stdout: data as it is, text from others neutralized where a terminal draws it."""

from __future__ import annotations

import re
import sys
from typing import TextIO

import click

from node.values.text import TextDrawing

_OBEYED_BY_TERMINALS = re.compile("[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""What JSON text may hold as it is, though a terminal obeys it; all else is escaped anyway (RFC 8259, section 7)."""


class AnswerOutput:
    """Writes an answer to stdout as it comes.

    Into a pipe or a file goes the model's text, byte for byte in UTF-8 whatever the locale, so that its SHA-256 is the
    ``output_hash`` of the receipt. On a terminal it is drawn; see ``TextDrawing``.

    Args:
        stream: Where to write, standard output by default.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stdout if stream is None else stream
        self._drawing = TextDrawing(tab="\t") if self._stream.isatty() else None

    def write(self, text: str) -> None:
        """Write some more of the answer."""
        if self._drawing is None:
            write_bytes(text.encode(errors="replace"), self._stream)
        else:
            self._show(self._drawing.feed(text))

    def end(self) -> None:
        """The answer is over: one line break that is no part of it."""
        if self._drawing is None:
            write_bytes(b"\n", self._stream)
        else:
            self._show(self._drawing.finish() + "\n")

    def _show(self, text: str) -> None:
        encoding = self._stream.encoding or "utf-8"
        click.echo(text.encode(encoding, "replace").decode(encoding), file=self._stream, nl=False)
        self._stream.flush()


def write_bytes(data: bytes, stream: TextIO | None = None) -> None:
    """Write bytes to stdout and flush: neither the locale nor a translation of line breaks changes them."""
    stream = sys.stdout if stream is None else stream
    stream.flush()
    stream.buffer.write(data)
    stream.buffer.flush()


def write_json(data: bytes) -> None:
    """Write JSON and a line break to stdout, in UTF-8. What a terminal would obey is escaped; its value stays.

    Args:
        data: JSON in UTF-8.
    """
    text = _OBEYED_BY_TERMINALS.sub(lambda found: f"\\u{ord(found[0]):04x}", data.decode())
    write_bytes(text.encode() + b"\n")
