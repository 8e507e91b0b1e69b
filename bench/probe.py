"""``python -m bench.probe FD PARENT``: the engine's worker with a clock around each call into llama.cpp.

What a step takes beyond those calls is Python: the loop, the frames, the text. Steps are kept by the number of tokens
decoded in them, and written as JSON to the file that ``BENCH_PROBE`` names once the worker ends in good order.
"""

from __future__ import annotations

import functools
import itertools
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from node.engine import process
from node.engine.llama import LlamaEngine
from node.engine.worker.native import llama

OUTPUT = "BENCH_PROBE"
DECODE = ("llama_decode", "llama_synchronize")


class ProbedStep(msgspec.Struct, frozen=True):
    """From one `llama_decode` to the next: tokens in its batch, and seconds in all, in computing, in other calls."""

    tokens: int
    whole_s: float
    decode_s: float
    other_s: float

    @property
    def python_share(self) -> float:
        """The part of the step that was not spent in llama.cpp."""
        return 1 - (self.decode_s + self.other_s) / self.whole_s

    @property
    def other_share(self) -> float:
        """The part that llama.cpp spent on all but computing: mostly drawing tokens."""
        return self.other_s / self.whole_s


class Clock:
    """Measures calls, and cuts them into steps."""

    def __init__(self) -> None:
        self.steps: list[ProbedStep] = []
        self._began = 0.0
        self._tokens = 0
        self._depth = 0
        self._spent = {True: 0.0, False: 0.0}

    def around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, with its time taken."""
        computes, clock = name in DECODE, time.perf_counter

        @functools.wraps(function)
        def timed(*values: Any) -> Any:
            if name == "llama_decode":
                self._cut(values[1].n_tokens)
            if self._depth:
                return function(*values)
            self._depth, began = 1, clock()
            try:
                return function(*values)
            finally:
                self._spent[computes] += clock() - began
                self._depth = 0

        return timed

    def _cut(self, tokens: int) -> None:
        now = time.perf_counter()
        if self._tokens:
            self.steps.append(ProbedStep(self._tokens, now - self._began, self._spent[True], self._spent[False]))
        self._began, self._tokens, self._spent = now, tokens, {True: 0.0, False: 0.0}


@asynccontextmanager
async def probed(engine: LlamaEngine, output: Path) -> AsyncIterator[LlamaEngine]:
    """Run an engine's worker under the clock; `steps` reads what it wrote once the block has ended."""
    plain, process.WORKER_MODULE = process.WORKER_MODULE, "bench.probe"
    os.environ[OUTPUT] = str(output)
    try:
        async with engine:
            yield engine
    finally:
        process.WORKER_MODULE = plain
        del os.environ[OUTPUT]


def steps(output: Path, tokens: int) -> Sequence[ProbedStep]:
    """The steps with just so many tokens that were followed by another one."""
    every = msgspec.json.decode(output.read_bytes(), type=list[ProbedStep])
    return [one for one, after in itertools.pairwise(every) if one.tokens == after.tokens == tokens]


def main() -> None:
    """Put the clock around every function, then be the worker."""
    clock = Clock()
    for name in dir(llama):
        function = getattr(llama, name)
        if name.startswith("llama_") and callable(function) and not isinstance(function, type):
            setattr(llama, name, clock.around(name, function))
    # Only now: the worker's modules may keep functions of llama.cpp under names of their own.
    from node.engine.worker.__main__ import main as work

    try:
        work()
    finally:
        Path(os.environ[OUTPUT]).write_bytes(msgspec.json.encode(clock.steps))


if __name__ == "__main__":
    main()
