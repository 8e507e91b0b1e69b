"""A loopback line to an L1 on which requests and answers come late, twice, or not at all. Real sockets."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.chain.in_front import Ask, in_front

TROUBLES = ("late", "twice", "request lost", "answer lost", "garbage")
LATEST_S = 0.2


@dataclass
class BadLine:
    """Passes requests on, one in ``one_in`` of them with trouble; the seed says which and how."""

    seed: int
    one_in: int = 4
    is_bad: bool = True
    url: str = ""
    met: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def trouble(self) -> str:
        """What happens to the next request."""
        if not self.is_bad or self._random.randrange(self.one_in):
            return ""
        found = self._random.choice(TROUBLES)
        self.met[found] += 1
        return found

    def delay_s(self) -> float:
        """How long a late one takes."""
        return self._random.uniform(0, LATEST_S)


@asynccontextmanager
async def bad_line(target: str, seed: int) -> AsyncIterator[BadLine]:
    """A line to the L1 at ``target``."""
    line = BadLine(seed)

    async def answer(body: bytes, ask: Ask) -> bytes | None:
        trouble = line.trouble()
        if trouble == "request lost":
            return None
        if trouble == "late":
            await asyncio.sleep(line.delay_s())
        said = await ask(body)
        if trouble == "twice":
            said = await ask(body)
        if trouble == "answer lost":
            return None
        return said[: len(said) // 2] if trouble == "garbage" else said

    async with in_front(target, answer) as line.url:
        yield line
