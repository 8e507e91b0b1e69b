"""The standard streams as a shell or a service manager leaves them: closed, of another encoding, full, broken."""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
from contextlib import suppress
from typing import IO, Final, TextIO

import click

from chain.errors import EXIT_FAILED, UsageError

_STREAMS: Final = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))
_MARKS: Final = (
    # UTF-32's little-endian mark begins with UTF-16's: it must be looked for first.
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_LINES: Final = {
    errno.ENOSPC: "The disk is full. Free some space and try again.",
    errno.EDQUOT: "Your share of the disk is used up. Free some space and try again.",
    errno.EFBIG: "A file grew larger than this system allows. Raise the limit: ulimit -f unlimited",
    errno.EMFILE: "Too many files are open at once. Raise the limit: ulimit -n 4096",
    errno.ENFILE: "This system has too many open files. Close something and try again.",
    errno.EAGAIN: "This system starts no more processes or threads for you. Close something, or raise ulimit -u.",
    errno.ENOMEM: "There is not enough memory. Close something and try again.",
    errno.EROFS: "The disk is read-only. Choose a --home on another one.",
}
_NO_THREAD: Final = "can't start new thread"


def prepare_streams() -> None:
    """Make the three standard streams usable; called once, before anything else is opened.

    A closed descriptor becomes the null device. Otherwise the next file or socket that is opened would get its number,
    and what a library or a child writes to its standard streams would land there. Text that a stream's encoding lacks
    is replaced, since no output may end a command.
    """
    for number, (name, mode) in enumerate(_STREAMS):
        try:
            os.fstat(number)
        except OSError:
            _open_null(number)
            setattr(sys, name, open(number, mode, encoding="utf-8", errors="replace", closefd=False))  # noqa: SIM115
        if mode == "w":
            # Whoever shares a terminal or a pipe with us may have made it one that refuses what it can't take at once.
            os.set_blocking(number, True)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in {"strict", "surrogateescape"}:
            stream.reconfigure(errors="replace")


def finish_streams(status: int) -> int:
    """Write out what is buffered; returns the exit status.

    Python would do that at its end as well, but with a traceback and a status of its own where it fails.
    """
    problem: OSError | None = None
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as error:
            problem = problem or error
            discard(stream)
        except ValueError:
            continue  # closed already
    # A command that failed has said why already.
    if problem is not None and status == 0 and not isinstance(problem, BrokenPipeError):
        say(f"idlewatt: {line_of(problem) or f'The output could not be written ({problem.strerror}).'}")
    return status or (0 if problem is None else EXIT_FAILED)


def say(text: str, *, end: str = "\n") -> None:
    """Print text for a person on stderr. It is lost where nobody can read it: that is no reason to stop."""
    with suppress(OSError, ValueError):
        click.echo(text + end, err=True, nl=False)


def discard(stream: TextIO) -> None:
    """Send what a broken stream still holds, and all that follows, to the null device."""
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(null, stream.fileno())
        finally:
            os.close(null)


def line_of(error: BaseException) -> str:
    """The one line for an error of the system that a person can mend; empty for any other."""
    if isinstance(error, OSError) and error.errno is not None:
        return _LINES.get(error.errno, "")
    if isinstance(error, RuntimeError) and _NO_THREAD in str(error):
        return _LINES[errno.EAGAIN]
    return _LINES[errno.ENOMEM] if isinstance(error, MemoryError) else ""


def read_text(what: str, max_bytes: int, stream: IO[bytes] | None = None) -> str:
    """What is piped in, or stands in a file, as text.

    UTF-8 whatever the locale, unless a byte order mark says otherwise. Bytes that are no UTF-8 are taken for text in
    the locale's encoding.

    Args:
        what: What it is, as an error's line begins: "The question".
        max_bytes: The most that is taken.
        stream: Where it comes from; standard input unless given.

    Raises:
        UsageError: If it is longer.
    """
    source = sys.stdin.buffer if stream is None else stream
    raw = source.read(max_bytes + 1)
    if len(raw) > max_bytes:
        raise UsageError(
            f"{what} has more than {max_bytes:,} bytes; it was not sent.", fix=f"Keep it within {max_bytes:,} bytes."
        )
    for mark, encoding in _MARKS:
        if raw.startswith(mark):
            return raw.removeprefix(mark).decode(encoding, errors="replace")
    return text_of(raw)


def text_of(raw: bytes) -> str:
    """Bytes of the environment or of a pipe as text: UTF-8, else what the locale says, never with a surrogate."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        encoding = sys.getfilesystemencoding()
        return raw.decode("latin-1" if encoding in {"utf-8", "ascii"} else encoding, errors="replace")


def argument_text(given: str) -> str:
    """An argument of the command line that is a person's words: the same text in every locale."""
    try:
        return text_of(os.fsencode(given))
    except UnicodeEncodeError:
        return given.encode(errors="replace").decode()


def environment_text(name: str) -> str | None:
    """A variable that holds a person's words: the same text in every locale; ``None`` where it isn't set."""
    value = os.environ.get(name)
    return None if value is None else text_of(os.fsencode(value))


def _open_null(number: int) -> None:
    opened = os.open(os.devnull, os.O_RDWR)
    if opened == number:
        os.set_inheritable(opened, True)
        return
    os.dup2(opened, number)
    os.close(opened)
