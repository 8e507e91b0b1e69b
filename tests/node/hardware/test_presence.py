"""When somebody last touched the machine, as real programs and real terminals tell it."""

from __future__ import annotations

import os
import pty
import sys
from pathlib import Path

import pytest

from node.hardware.presence import Presence, run, terminals_in_use

NOW = 1_800_000_000.0
pytestmark = pytest.mark.skipif(sys.platform == "darwin", reason="Linux desktops")


@pytest.fixture
def desktop(tmp_path, monkeypatch):
    """Puts programs of the given scripts, and nothing else, on the path."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere")
    monkeypatch.delenv("DISPLAY", raising=False)

    def install(name, script):
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o700)

    return install


def looked(**changes):
    values = {"clock": lambda: NOW, "terminals": list} | changes
    found = Presence(**values)
    return found.idle_s(), found.source


def test_gnome_tells_milliseconds(desktop):
    desktop("busctl", 'case "$*" in *GetIdletime) echo "t 61500";; *) exit 1;; esac')
    assert looked() == (61.5, "GNOME")


def test_the_screen_saver_answers_where_there_is_no_gnome(desktop):
    desktop("busctl", 'case "$*" in *GetSessionIdleTime) echo "u 2000";; *) exit 1;; esac')
    assert looked() == (2.0, "screen saver")


def test_xprintidle_answers_on_a_bare_x_server(desktop, monkeypatch):
    desktop("busctl", "exit 1")
    desktop("xprintidle", "echo 3000")
    assert looked()[0] is None
    monkeypatch.setenv("DISPLAY", ":0")
    assert looked() == (3.0, "xprintidle")


@pytest.mark.parametrize(("hint", "expected"), [("true", (600.0, "logind")), ("false", (None, ""))])
def test_a_hint_of_the_login_manager_counts_only_where_it_says_idle(desktop, hint, expected):
    desktop("busctl", f'case "$*" in *login1*) echo "b {hint}"; echo "t {int((NOW - 600) * 1e6)}";; *) exit 1;; esac')
    assert looked() == expected


@pytest.mark.parametrize("answer", ["", "t -5", "t " + "9" * 23, "b true", "s hello", "t 5 6", "b true\\nx"])
def test_an_answer_that_means_nothing_is_no_answer(desktop, answer):
    desktop("busctl", f"printf '{answer}'")
    assert looked() == (None, "")


def test_the_newest_keystroke_of_any_terminal_counts(desktop, tmp_path):
    desktop("busctl", "exit 1")
    terminals = []
    for age_s in (500, 20, 90):
        path = tmp_path / f"pts{age_s}"
        path.touch()
        os.utime(path, (NOW - age_s, NOW - 9_999))
        terminals.append(path)
    gone = tmp_path / "gone"
    assert looked(terminals=lambda: [*terminals, gone]) == (20.0, "terminals")
    assert looked(terminals=lambda: [gone]) == (None, "")


def test_typing_on_a_real_terminal_is_seen(desktop):
    desktop("busctl", "exit 1")
    keyboard, terminal = pty.openpty()
    try:
        path = Path(os.ttyname(terminal))
        os.utime(path, (1_000_000, 1_000_000))
        os.write(keyboard, b"x\n")
        os.read(terminal, 10)
        idle_s = Presence(terminals=lambda: [path]).idle_s()
    finally:
        os.close(keyboard)
        os.close(terminal)
    assert idle_s < 60


def test_only_terminals_are_asked():
    class User:
        def __init__(self, terminal):
            self.terminal = terminal

    names = ("pts/3", "tty2", ":0", "../../etc/passwd", None, "pts/x")
    assert terminals_in_use(lambda: [User(name) for name in names]) == [Path("/dev/pts/3"), Path("/dev/tty2")]

    def broken():
        raise OSError

    assert terminals_in_use(broken) == []


def test_a_program_that_hangs_or_is_not_there_says_nothing(desktop):
    desktop("hanging", "exec sleep 20")
    assert run(("hanging",), timeout_s=0.2) == ""
    assert run(("idlewatt-no-such-program",)) == ""


def test_a_mac_tells_nanoseconds():
    assert looked(ask=lambda _: '  |   "HIDIdleTime" = 2500000000', platform="darwin") == (2.5, "HID")
    assert looked(ask=lambda _: "nothing", platform="darwin") == (None, "")


def test_without_a_session_bus_none_is_asked(monkeypatch):
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.delenv("DISPLAY", raising=False)
    asked = []
    looked(ask=lambda command: asked.append(command) or "")
    assert [command[1] for command in asked] == ["--system"]
