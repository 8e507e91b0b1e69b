"""What a hostile schema costs, found out in a process that may be ended: reading it, and the tokens of answers."""

from __future__ import annotations

import multiprocessing
import random
import resource
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection

import psutil

from bench.schema_sides import Side
from node.engine.protocol import EngineError

CPU_SECONDS = 60
MEMORY_BYTES = 8 << 30
ANSWERS = 3
TOKENS = 100
ANSWER_SECONDS = 10.0


@dataclass(frozen=True)
class Cost:
    """What one schema took at most; a refusal is cheap."""

    reading_s: float = 0.0
    token_ms: float = 0.0
    memory_mib: float = 0.0
    refusal: str = ""
    ended: bool = False
    """Whether the process that tried it was ended: by its limits, or by itself."""

    def line(self) -> str:
        """For a person."""
        how = "ended" if self.ended else self.refusal or "kept to"
        return f"{how}, {self.reading_s:.2f} s, {self.token_ms:.1f} ms a token, {self.memory_mib:.0f} MiB"


def cost_of(side: Side, schema: str, pieces: Sequence[bytes], ends: Collection[int]) -> Cost:
    """Try a schema in a copy of this process, under limits."""
    ours, theirs = multiprocessing.Pipe(duplex=False)
    context = multiprocessing.get_context("fork")
    child = context.Process(target=_try, args=(theirs, side, schema, pieces, ends))
    child.start()
    theirs.close()
    try:
        cost: Cost = ours.recv()
    except EOFError:
        cost = Cost(ended=True)
    child.join()
    return cost


def _try(sender: Connection, side: Side, schema: str, pieces: Sequence[bytes], ends: Collection[int]) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    process = psutil.Process()
    before = process.memory_info().rss
    began, refusal, token_ms, reading_s = time.process_time(), "", 0.0, 0.0
    try:
        grammar = side.grammar(schema)
        reading_s = time.process_time() - began
        token_ms = max(_longest_token(side, grammar, pieces, ends, random.Random(seed)) for seed in range(ANSWERS))
    except EngineError as error:
        refusal = error.message
    except (MemoryError, RecursionError):
        refusal = "too large"
    reading_s = reading_s or time.process_time() - began
    memory_mib = max(0, process.memory_info().rss - before) / 2**20
    sender.send(Cost(reading_s, token_ms, memory_mib, refusal))


def _longest_token(
    side: Side, grammar: str, pieces: Sequence[bytes], ends: Collection[int], dice: random.Random
) -> float:
    """Milliseconds of the slowest of an answer's tokens: what may come, and going on by it."""
    longest, until = 0.0, time.process_time() + ANSWER_SECONDS
    with side.begin(grammar) as held:
        for _ in range(TOKENS):
            began = time.process_time()
            allowed = held.allowed()
            mask_s = time.process_time() - began
            some = [token for token in dice.choices(allowed.tolist(), k=100) if token not in ends]
            if not some or began > until:
                break
            # What closes a text would end most answers at once.
            token = next((one for one in some if pieces[one].isascii() and not set(pieces[one]) & set(b'"]}')), some[0])
            told = time.process_time()
            held.take(token)
            longest = max(longest, mask_s + time.process_time() - told)
    return longest * 1000
