"""Screens show local times: the tests live in UTC. No test touches the machine's clipboard."""

import time

import pytest

from screens import clipboard


@pytest.fixture(autouse=True)
def utc(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture(autouse=True)
def no_system_clipboard(monkeypatch):
    async def nowhere(_text: str) -> bool:
        return False

    monkeypatch.setattr(clipboard, "copied_by_system", nowhere)
    monkeypatch.delenv("TMUX", raising=False)


@pytest.fixture(autouse=True)
def plain_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TEXTUAL_ANIMATIONS", "none")
