"""The format of an answer as a grammar: made and tried out in a short-lived process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import Literal

import msgspec
from cachetools import LRUCache

from node.engine.process import worker_environment
from node.engine.protocol import EngineError
from node.values.inference import JsonObject, ResponseFormat

GRAMMAR_MODULE = "node.engine.worker.grammar"
MAX_SECONDS = 30.0
"""A schema's process has a few seconds of processor time; on a busy machine they take longer."""
KEPT_GRAMMARS = 64
AT_ONCE = 2
_ANY_OBJECT = '{"type": "object"}'


Notation = Literal["lark", "gbnf"]
"""llguidance's, for this node's own worker, or that of llama.cpp's servers."""


class _Made(msgspec.Struct):
    lark: str = ""
    gbnf: str = ""
    problem: str = ""
    gbnf_problem: str = ""


class Formats:
    """Makes grammars, each schema once.

    Args:
        max_seconds: How long a schema's process may take.
        kept: How many schemas' grammars are kept.
        at_once: How many processes run at once.
    """

    def __init__(self, *, max_seconds: float = MAX_SECONDS, kept: int = KEPT_GRAMMARS, at_once: int = AT_ONCE) -> None:
        self._kept: LRUCache[str, _Made] = LRUCache(kept)
        self._room = asyncio.Semaphore(at_once)
        self._max_seconds = max_seconds

    async def grammar(self, answer: ResponseFormat | None, notation: Notation = "lark") -> str:
        """The grammar of a format; nothing for no format.

        Raises:
            EngineError: With code ``bad_request`` if an answer can't be held to it.
        """
        if answer is None:
            return ""
        schema = _ANY_OBJECT if isinstance(answer, JsonObject) else answer.schema
        made = self._kept.get(schema)
        if made is None:
            async with self._room:
                made = await _make(schema, self._max_seconds)
            self._kept[schema] = made
        problem = made.problem or (made.gbnf_problem if notation == "gbnf" else "")
        if problem:
            raise EngineError(problem, code="bad_request", fix="Change the schema.")
        return made.gbnf if notation == "gbnf" else made.lark


async def _make(schema: str, max_seconds: float) -> _Made:
    try:
        text = schema.encode()
    except UnicodeEncodeError:
        return _Made(problem="The JSON schema holds half a character.")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        GRAMMAR_MODULE,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=worker_environment(),
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(max_seconds):
            said, _ = await process.communicate(text)
        return msgspec.json.decode(said, type=_Made)
    except (TimeoutError, msgspec.DecodeError):
        # It was ended by its limits, or ended itself.
        return _Made(problem="The JSON schema takes too much time or memory.")
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
