"""Copying from the app says what happened, and copies what was meant."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest

from screens import clipboard
from screens.chat.code_blocks import code_blocks
from tests.patience import PATIENCE_S

TEXT = "سلام\tمی‌خواهم\r\n👩‍👩‍👧\n"


@pytest.fixture
def xclip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only clipboard program there is: a script to be written by the test."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    return folder / "xclip"


def write_script(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


WORKS = 'case "$*" in *-o*) cat "$0.held";; *) cat > "$0.held";; esac'


async def test_what_is_on_the_clipboard_is_the_text_byte_for_byte(xclip: Path) -> None:
    """Copies lost tabs, joiners and line ends."""
    write_script(xclip, WORKS)
    assert await clipboard.copied_by_system(TEXT, PATIENCE_S)
    assert xclip.with_name("xclip.held").read_bytes() == TEXT.encode()


async def test_a_program_that_stays_to_hold_the_clipboard_is_not_waited_for(xclip: Path) -> None:
    """xclip and wl-copy go on in the background for as long as they own the selection."""
    write_script(xclip, WORKS.replace('> "$0.held"', '> "$0.held"; sleep 600 & echo $! > "$0.pid"'))
    began = time.monotonic()
    assert await clipboard.copied_by_system(TEXT, PATIENCE_S)
    assert time.monotonic() - began < PATIENCE_S
    os.kill(int(xclip.with_name("xclip.pid").read_text()), 9)


@pytest.mark.parametrize(
    "body", ["exit 1", "cat > /dev/null", "echo no display >&2; kill -9 $$"], ids=["fails", "forgets", "dies"]
)
async def test_a_clipboard_program_that_fails_has_copied_nothing(xclip: Path, body: str) -> None:
    """The app said "copied" though xclip had failed: its exit status was not looked at."""
    write_script(xclip, body)
    assert not await clipboard.copied_by_system(TEXT, PATIENCE_S)


async def test_a_clipboard_program_that_hangs_is_ended(xclip: Path) -> None:
    """wl-copy without its compositor hung, and with it the app's thread."""
    write_script(xclip, 'echo $$ > "$0.pid"; exec sleep 600')
    assert not await clipboard.copied_by_system(TEXT, timeout_s=2)
    pid = xclip.with_name("xclip.pid")
    if pid.exists():  # on a busy machine the time limit may come before the program
        with pytest.raises(ProcessLookupError):
            _wait_for_end(int(pid.read_text()))


def _wait_for_end(pid: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        os.kill(pid, 0)
        if Path(f"/proc/{pid}/stat").read_text().split(") ")[1].startswith("Z"):
            raise ProcessLookupError
        time.sleep(0.01)


def test_a_text_too_long_for_a_terminal_goes_into_a_file_of_its_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long answers could not be copied over SSH at all."""
    monkeypatch.setenv("XDG_DOWNLOAD_DIR", str(tmp_path))
    path = clipboard.copied_to_file(TEXT)
    assert path.parent == tmp_path
    assert path.read_bytes() == TEXT.encode()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("markdown", "blocks"),
    [
        ("```python\nprint(1)\n```", ["print(1)\n"]),
        ("````markdown\n```\ninner\n```\n````", ["```\ninner\n```\n"]),
        ("~~~sh\nmake\n~~~", ["make\n"]),
        ("```\nnever closed\n", ["never closed\n"]),
        ("all:\n```make\nall:\n\techo hi\n```\n", ["all:\n\techo hi\n"]),
        ("```\r\none\r\ntwo\r\n```\r\n", ["one\r\ntwo\r\n"]),
        ("- item\n  ```\n  nested\n  ```\n", ["nested\n"]),
        ("```\na\n```\ntext\n~~~\nb\n~~~\n", ["a\n", "b\n"]),
        ("```\na\u2028b\n```\n~~~\r\nc\r\n~~~\r\n", ["a\u2028b\n", "c\r\n"]),
        ("inline ```code``` only", []),
    ],
)
def test_a_code_block_is_what_markdown_calls_one(markdown: str, blocks: list[str]) -> None:
    """Fences of four backticks, of tildes, and one that a cut answer left open were no code blocks."""
    assert code_blocks(markdown) == blocks
