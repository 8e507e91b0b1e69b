"""Events for the readers of a node: bounded, coalesced, never blocking the node."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final, Literal

from node.values import LogLine, NodeChanged, NodeEvent, Notice

What = Literal["phase", "jobs", "relay", "chain", "wallet", "market", "devices", "models"]
MAX_WAITING: Final = 256
"""Notices and log lines kept for a slow reader; the oldest go first. Changes coalesce, so they need no bound."""


class _Subscriber:
    def __init__(self) -> None:
        self.changed: dict[str, NodeChanged] = {}
        self.lines: deque[Notice | LogLine] = deque(maxlen=MAX_WAITING)
        self.wake = asyncio.Event()

    async def events(self) -> AsyncIterator[NodeEvent]:
        while True:
            await self.wake.wait()
            self.wake.clear()
            changed, self.changed = self.changed, {}
            lines = list(self.lines)
            self.lines.clear()
            for line in lines:
                yield line
            for change in changed.values():
                yield change


class EventBus:
    """Hands every event to every subscriber."""

    def __init__(self) -> None:
        self._subscribers: set[_Subscriber] = set()

    def changed(self, what: What) -> None:
        """Say that something in the snapshot changed."""
        for subscriber in self._subscribers:
            subscriber.changed[what] = NodeChanged(what=what)
            subscriber.wake.set()

    def tell(self, line: Notice | LogLine) -> None:
        """Pass on a notice or a log line."""
        for subscriber in self._subscribers:
            subscriber.lines.append(line)
            subscriber.wake.set()

    def notice(self, severity: Literal["information", "warning", "error"], text: str) -> None:
        """Tell a person something once."""
        self.tell(Notice(severity=severity, text=text))

    @asynccontextmanager
    async def subscribe(self) -> AsyncIterator[AsyncIterator[NodeEvent]]:
        """Events from now on."""
        with self._subscribed() as subscriber:
            yield subscriber.events()

    @contextmanager
    def _subscribed(self) -> Iterator[_Subscriber]:
        subscriber = _Subscriber()
        self._subscribers.add(subscriber)
        try:
            yield subscriber
        finally:
            self._subscribers.discard(subscriber)
