"""What goes in and out of a command: closed, full or foreign streams cost one line and the right exit status."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from app.streams import argument_text, line_of, read_text, text_of
from chain.errors import IdlewattError
from tests.harvest.commands import ASCII_ONLY, SERVICES, commanded


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (("--help",), 0),
        (("settings",), 0),
        (("models", "list"), 0),
        (("demo",), 2),
        (("relay", *SERVICES["relay",], "--with-parent"), 0),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_closed_streams_change_no_exit_status(command: tuple[str, ...] | str, status: int, tmp_path: Path) -> None:
    """A daemon's children have no standard streams; what opened next got their numbers, and a library's output
    (vectorize-io/hindsight#4580)."""
    assert commanded(tuple(command), tmp_path, "<&- >&- 2>&-")[0] == status


@pytest.mark.parametrize(
    ("command", "redirect"),
    [
        (("models", "list"), ">/dev/full"),
        (("--help",), ">/dev/full"),
        (("settings", "--json"), ">/dev/full"),
        (("models", "list"), ">/dev/full 2>/dev/full"),
    ],
)
def test_output_that_cannot_be_written_is_one_line_and_status_1(
    command: tuple[str, ...], redirect: str, tmp_path: Path
) -> None:
    """Python printed a second complaint at its end, and left with a status of its own, 120."""
    status, out, said = commanded(command, tmp_path, redirect)
    assert (status, out) == (1, b"")
    assert said.splitlines() == (
        [] if "2>" in redirect else [b"idlewatt: The disk is full. Free some space and try again."]
    )


def test_recovery_words_that_nobody_could_see_are_no_success(tmp_path: Path) -> None:
    """A secret that is shown once went to a stream that couldn't be written, and the command ended well."""
    status, out, _ = commanded(("wallet", "new"), tmp_path, "2>/dev/full", IDLEWATT_PASSPHRASE="correct horse")
    assert (status, out) == (1, b"")


def test_a_passphrase_opens_the_wallet_in_every_locale(tmp_path: Path) -> None:
    """Bytes of the environment became other letters in another locale: a wallet made there couldn't be opened here."""
    secret = {"IDLEWATT_PASSPHRASE": "pässwörd ✓"}
    status, _, said = commanded(("wallet", "new"), tmp_path, ">/dev/full", **ASCII_ONLY, **secret)
    assert status == 1
    assert len(said.splitlines()[2].split()) == 12, "the words are shown before anything else can fail"
    assert commanded(("wallet", "unlock"), tmp_path, LC_ALL="C.UTF-8", **secret)[0] == 0


def test_json_is_utf8_in_every_locale(tmp_path: Path) -> None:
    """Paths and names that the terminal's encoding lacks came out as question marks, in JSON too."""
    home = tmp_path / "данные-é"
    status, out, _ = commanded(("settings", "--json"), home, LC_ALL="C.UTF-8", PYTHONIOENCODING="iso8859-1:strict")
    assert status == 0
    assert json.loads(out.decode())["file"] == str(home / "config.toml")


def test_a_path_that_is_no_text_can_be_printed_as_json(tmp_path: Path) -> None:
    """A file name may hold any byte; JSON may not."""
    home = os.fsdecode(os.fsencode(tmp_path) + b"/\xe9\xff")
    status, out, said = commanded(("settings", "--json", "--home", home), tmp_path, LC_ALL="C.UTF-8")
    assert status == 0, said
    assert json.loads(out)["file"].endswith("??/config.toml")


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("سؤال\t👩‍👩‍👧\r\n".encode(), "سؤال\t👩‍👩‍👧\r\n"),
        (b"\xef\xbb\xbfword", "word"),
        (b"\xff\xfe" + "wörd".encode("utf-16-le"), "wörd"),
        (b"\xfe\xff" + "wörd".encode("utf-16-be"), "wörd"),
        (b"\xff\xfe\x00\x00" + "wörd".encode("utf-32-le"), "wörd"),
        (b"na\xefve", "naïve"),
        (b"", ""),
    ],
)
def test_piped_text_is_what_it_was_written_as(raw: bytes, text: str, tmp_path: Path) -> None:
    """PowerShell and Notepad write UTF-16 with a byte order mark; a locale made other letters of UTF-8."""
    (tmp_path / "piped").write_bytes(raw)
    with (tmp_path / "piped").open("rb") as file:
        assert read_text("The question", 100, file) == text


def test_piped_text_beyond_the_limit_is_refused_not_cut(tmp_path: Path) -> None:
    """A cut recovery phrase or key file is a wrong one."""
    (tmp_path / "piped").write_bytes(b"x" * 101)
    with (tmp_path / "piped").open("rb") as file, pytest.raises(IdlewattError) as refused:
        read_text("The secret", 100, file)
    assert "100 bytes" in refused.value.line()


def test_words_on_the_command_line_hold_no_half_characters() -> None:
    """An argument in another encoding reached a library as a surrogate that it couldn't encode."""
    assert argument_text(os.fsdecode("naïve ✓".encode())) == "naïve ✓"
    assert argument_text(os.fsdecode(b"na\xefve")) == "naïve"
    assert argument_text("half \ud83d") == "half ?"
    assert text_of(b"\xff").encode()


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "ulimit -n"),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "ulimit -u"),
        (RuntimeError("can't start new thread"), "ulimit -u"),
        (OSError(errno.EFBIG, "File too large"), "ulimit -f"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "disk"),
        (OSError(errno.EROFS, "Read-only file system"), "--home"),
        (MemoryError(), "memory"),
        (OSError(errno.EPERM, "Operation not permitted"), ""),
        (RuntimeError("anything else"), ""),
    ],
)
def test_a_limit_of_the_system_is_named(error: BaseException, word: str) -> None:
    """Limits of services and containers looked like faults of the program."""
    assert word in line_of(error)
    assert bool(word) == bool(line_of(error))
