"""A loopback server in front of an L1 that counts what it is asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import msgspec

from tests.chain.in_front import Ask, in_front


@dataclass
class CountingL1:
    """Passes everything on, and counts the calls by method."""

    url: str = ""
    calls: Counter[str] = field(default_factory=Counter)

    def taken(self) -> dict[str, int]:
        """The calls since this was last asked."""
        taken, self.calls = dict(self.calls), Counter()
        return taken


@asynccontextmanager
async def counting(target: str) -> AsyncIterator[CountingL1]:
    """One in front of the L1 at ``target``."""
    counted = CountingL1()

    async def answer(body: bytes, ask: Ask) -> bytes:
        asked = msgspec.json.decode(body)
        for call in asked if isinstance(asked, list) else [asked]:
            counted.calls[call["method"]] += 1
        return await ask(body)

    async with in_front(target, answer) as counted.url:
        yield counted
