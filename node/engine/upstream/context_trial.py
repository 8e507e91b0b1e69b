"""Sees how long a prompt a server really takes: some drop the beginning of what doesn't fit, and say nothing.

The evidence is that the server's own count grows as the prompt does. Beside it a word at either end of the prompt is
asked for, of servers that are not known to refuse what is too long, and only where the model can answer such a question
in a short prompt.
"""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec

from chain.logs import get_logger
from node.engine.upstream import dialect as d
from node.engine.upstream.chunks import text_of, usage_of
from node.engine.upstream.limits import UpstreamLimits
from node.engine.upstream.refusals import UpstreamError
from node.engine.upstream.server import Server
from node.engine.upstream.trial_prompt import trial_prompt

log = get_logger(__name__)

_FEW_LINES: Final = 6
_SOME_LINES: Final = 36
_ANSWER_TOKENS: Final = 48
_ROOM_TOKENS: Final = 2 * _ANSWER_TOKENS
_LEAST_TOKENS_PER_LINE: Final = 4
"""A line has twelve words or so: a count that grows by less doesn't count them."""
_GROWN: Final = 0.9
_STEPS: Final = 4
LEAST_TOKENS: Final = 256
"""A server that holds less than this can't be rented out."""


class ContextSeen(msgspec.Struct, frozen=True, kw_only=True):
    """What a trial showed."""

    held_tokens: int | None = None
    """The longest prompt that arrived whole, where a longer one did not; ``None`` where none was seen to be cut."""
    tried_tokens: int = 0
    """The length that was tried."""
    how: str = ""
    """What happened to the one that was cut, for the owner."""


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    tokens: int
    has_first: bool
    has_last: bool
    is_empty: bool
    took_s: float


class _Told(msgspec.Struct, frozen=True):
    """The tokens that a prompt of so many lines has, told by two short ones."""

    few: _Answer
    tokens_per_line: float

    def tokens(self, lines: int) -> float:
        return self.few.tokens + self.tokens_per_line * (lines - _FEW_LINES)

    def lines(self, tokens: float) -> int:
        return _FEW_LINES + int((tokens - self.few.tokens) / self.tokens_per_line)


class ContextTrial:
    """Tries one server and model.

    Args:
        server: The server to try.
        limits: How long the trial may take, and how long a prompt it may send.
    """

    def __init__(self, server: Server, limits: UpstreamLimits) -> None:
        self._server = server
        self._limits = limits
        self._number = 0

    async def seen(self, context_length: int) -> ContextSeen:
        """What the server holds of this context; what can't be seen in time is taken as told.

        Args:
            context_length: Tokens of prompt and answer, as it is offered.

        Raises:
            UpstreamError: With code ``upstream_unusable`` if its counts are none, or it holds too little; with code
                ``engine_busy`` if it has no time to be tried.
        """
        try:
            async with asyncio.timeout(self._limits.trial_s):
                return await self._tried(context_length)
        except TimeoutError:
            log.info("upstream_context_not_tried", why="it took too long", limit_s=self._limits.trial_s)
        except UpstreamError as error:
            if error.code in {"engine_busy", "upstream_unusable"} or error.reachability != "here":
                raise
            log.info("upstream_context_not_tried", why=error.owner_line())
        return ContextSeen()

    async def _tried(self, context_length: int) -> ContextSeen:
        few, some = await self._ask(_FEW_LINES), await self._ask(_SOME_LINES)
        told = _Told(few, (some.tokens - few.tokens) / (_SOME_LINES - _FEW_LINES))
        if told.tokens_per_line < _LEAST_TOKENS_PER_LINE:
            raise _unusable(f"The upstream counts {some.tokens} tokens in a text of {_SOME_LINES} long lines.")
        target = min(context_length, self._limits.trial_tokens) - _ROOM_TOKENS
        # What a short prompt took tells how long a long one may be to be tried in half of the time.
        target = min(target, int(some.tokens * self._limits.trial_s / 2 / max(some.took_s, 1e-3)))
        most = told.lines(target)
        if most <= _SOME_LINES:
            return ContextSeen(tried_tokens=some.tokens)
        problem = await self._problem(told, most)
        if not problem:
            return ContextSeen(tried_tokens=target)
        held = await self._bisected(told, _SOME_LINES, most)
        if held < LEAST_TOKENS:
            raise _unusable(f"The upstream holds no more than {held} tokens: {problem}.")
        return ContextSeen(held_tokens=held, tried_tokens=target, how=problem)

    async def _bisected(self, told: _Told, whole: int, cut: int) -> int:
        for _ in range(_STEPS):
            middle = (whole + cut) // 2
            if await self._problem(told, middle):
                cut = middle
            else:
                whole = middle
        return int(told.tokens(whole))

    async def _problem(self, told: _Told, lines: int) -> str:
        """What a prompt of so many lines lost; empty if it arrived whole."""
        expected = int(told.tokens(lines))
        problem = ""
        # A model may forget a number once; it doesn't twice.
        for _ in range(2):
            try:
                answer = await self._ask(lines)
            except UpstreamError as error:
                if error.code != "context_too_long":
                    raise
                return f"it refused a prompt of {expected} tokens as too long"
            if answer.tokens < _GROWN * expected:
                return f"it counted {answer.tokens} tokens in a prompt of about {expected}"
            problem = self._forgotten(told, answer, expected)
            if not problem:
                return ""
        return problem

    def _forgotten(self, told: _Told, answer: _Answer, expected: int) -> str:
        can_answer = told.few.has_first and told.few.has_last
        if not can_answer or not self._server.dialect.drops_prompts:
            return ""
        if answer.is_empty:
            return f"it answered nothing to a prompt of {expected} tokens"
        if answer.has_last and not answer.has_first:
            return f"its model did not see the beginning of a prompt of {expected} tokens"
        return ""

    async def _ask(self, lines: int) -> _Answer:
        self._number += 1
        prompt = trial_prompt(lines, self._number)
        body = d.one_token_body(self._server.model, prompt.messages)
        if self._server.dialect.drops_prompts:
            body |= {"max_tokens": _ANSWER_TOKENS, "temperature": 0}
        began_s = asyncio.get_running_loop().time()
        async with self._server.access.held():
            said = await self._server.client.complete(body, timeout_s=self._limits.trial_s)
        tokens, text = usage_of(said).prompt_tokens, text_of(said)
        if not tokens:
            raise _no_count()
        return _Answer(
            tokens=tokens,
            has_first=prompt.first in text,
            has_last=prompt.last in text,
            is_empty=not text.strip(),
            took_s=asyncio.get_running_loop().time() - began_s,
        )


def _no_count() -> UpstreamError:
    return UpstreamError(
        "The provider's server sent a broken answer.",
        code="engine_crashed",
        owner="The upstream does not say how many tokens a prompt has that it answers.",
    )


def _unusable(owner: str) -> UpstreamError:
    return UpstreamError(
        "The provider's server can't be used now.",
        code="upstream_unusable", fix="Choose another offer.", reachability="misconfigured", owner=owner,
        owner_fix="A server whose tokens can't be counted can't be rented out by the token.",
    )  # fmt: skip
