"""How long ago a person touched the machine, by the desktop, the login manager or the terminals.

Asked in this order, the first that answers wins: a Mac's HID registry, GNOME's idle monitor, the screen saver's session
bus name (Plasma; milliseconds), ``xprintidle``, logind's idle hint where it says idle, and the terminals of people who
are logged in. A hint that says "not idle" is not taken for a person: many desktops never set it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import psutil

ASK_TIMEOUT_S: Final = 1.0
MAX_ANSWER_BYTES: Final = 1 << 20
_NUMBER: Final = re.compile(r"\b[tux] (\d{1,20})\b")
_MAC_IDLE: Final = re.compile(r'"HIDIdleTime"\s*=\s*(\d{1,20})')
_MUTTER: Final = (
    "busctl", "--user", "--timeout=1", "call", "org.gnome.Mutter.IdleMonitor", "/org/gnome/Mutter/IdleMonitor/Core",
    "org.gnome.Mutter.IdleMonitor", "GetIdletime",
)  # fmt: skip
_SCREEN_SAVER: Final = (
    "busctl", "--user", "--timeout=1", "call", "org.freedesktop.ScreenSaver", "/ScreenSaver",
    "org.freedesktop.ScreenSaver", "GetSessionIdleTime",
)  # fmt: skip
_LOGIND: Final = (
    "busctl", "--system", "--timeout=1", "get-property", "org.freedesktop.login1", "/org/freedesktop/login1",
    "org.freedesktop.login1.Manager", "IdleHint", "IdleSinceHint",
)  # fmt: skip
_MAC: Final = ("ioreg", "-c", "IOHIDSystem", "-d", "4")
Ask = Callable[[tuple[str, ...]], str]


class Presence:
    """Asks what this machine has; blocking, so on a thread.

    Args:
        ask: Runs a command and gives its output; empty when it can't.
        clock: Seconds UTC.
        terminals: The terminals of the people who are logged in.
        platform: The operating system, as Python names it.
    """

    def __init__(
        self,
        ask: Ask | None = None,
        clock: Callable[[], float] = time.time,
        terminals: Callable[[], list[Path]] | None = None,
        platform: str = sys.platform,
    ) -> None:
        self._platform = platform
        self._ask = ask or run
        self._clock = clock
        self._terminals = terminals or terminals_in_use
        self.source = ""
        """What answered last, for a person."""

    def idle_s(self) -> float | None:
        """Seconds since the last input; ``None`` where nothing reports."""
        for name, look in self._looks():
            idle_s = look()
            if idle_s is not None:
                self.source = name
                return max(0.0, idle_s)
        self.source = ""
        return None

    def _looks(self) -> tuple[tuple[str, Callable[[], float | None]], ...]:
        if self._platform == "darwin":
            return (("HID", self._mac),)
        return (
            ("GNOME", lambda: self._milliseconds(_MUTTER)),
            ("screen saver", lambda: self._milliseconds(_SCREEN_SAVER)),
            ("xprintidle", self._xprintidle),
            ("logind", self._logind),
            ("terminals", self._terminal),
        )

    def _mac(self) -> float | None:
        found = _MAC_IDLE.search(self._ask(_MAC))
        return int(found[1]) / 1e9 if found else None

    def _milliseconds(self, command: tuple[str, ...]) -> float | None:
        if "DBUS_SESSION_BUS_ADDRESS" not in os.environ and "XDG_RUNTIME_DIR" not in os.environ:
            return None  # there is no session bus to ask
        found = _NUMBER.fullmatch(self._ask(command).strip())
        return int(found[1]) / 1000 if found else None

    def _xprintidle(self) -> float | None:
        text = self._ask(("xprintidle",)).strip() if "DISPLAY" in os.environ else ""
        return int(text) / 1000 if re.fullmatch(r"[0-9]{1,20}", text) else None

    def _logind(self) -> float | None:
        lines = self._ask(_LOGIND).split("\n")
        if lines[0].strip() != "b true" or len(lines) < 2:
            return None
        found = _NUMBER.fullmatch(lines[1].strip())
        since_us = int(found[1]) if found else 0
        return self._clock() - since_us / 1e6 if since_us else None

    def _terminal(self) -> float | None:
        """The kernel sets a terminal's access time when a key is pressed."""
        newest: float | None = None
        for path in self._terminals():
            try:
                touched_s = path.stat().st_atime
            except OSError:
                continue
            newest = touched_s if newest is None else max(newest, touched_s)
        return None if newest is None else self._clock() - newest


def terminals_in_use(users: Callable[[], Iterable[Any]] = psutil.users) -> list[Path]:
    """The terminals of the people who are logged in, by utmp."""
    try:
        names = {user.terminal for user in users() if user.terminal}
    except (OSError, RuntimeError):
        return []
    return [Path("/dev") / name for name in sorted(names) if re.fullmatch(r"(pts/\d+|tty\w*)", name)]


def run(command: tuple[str, ...], timeout_s: float = ASK_TIMEOUT_S) -> str:
    """A command's output; empty if it is not there, fails or takes too long."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout[:MAX_ANSWER_BYTES].decode(errors="replace") if done.returncode == 0 else ""
