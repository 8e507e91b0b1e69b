"""Counts prompts as the server counts them, by the cheapest way that it was not caught lying in."""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec
from cachetools import LRUCache

from chain.logs import get_logger
from node.engine.upstream import plausibility as p
from node.engine.upstream.client import UpstreamClient
from node.engine.upstream.dialect import NO_FIELDS, Dialect, Fields
from node.engine.upstream.exclusive import ExclusiveAccess
from node.engine.upstream.identification import CountWay, count_by, ways_to_count
from node.engine.upstream.refusals import DroppedError, UpstreamError
from node.values.inference import ChatMessage

log = get_logger(__name__)

COUNTS_KEPT: Final = 256


class PromptCounter:
    """Counts conversations, each once.

    Args:
        client: The server's.
        model: The model's name there.
        access: Held while the server is asked.
        count_s: How long the server may take to count.
    """

    def __init__(self, client: UpstreamClient, model: str, access: ExclusiveAccess, count_s: float) -> None:
        self._count_s = count_s
        self._client = client
        self._model = model
        self._access = access
        self._dialect: Dialect | None = None
        self._ways: list[CountWay] = []
        self._kept: LRUCache[bytes, int] = LRUCache(COUNTS_KEPT)

    def learn(self, dialect: Dialect) -> None:
        """The server is this one now: what was counted before may no longer hold."""
        if self._dialect is not dialect:
            self._dialect = dialect
            self._ways = list(ways_to_count(dialect))
        self._kept.clear()

    async def count(
        self,
        messages: tuple[ChatMessage, ...],
        fields: Fields = NO_FIELDS,
        *,
        timeout_s: float | None = None,
        held_tokens: int | None = None,
    ) -> int:
        """Tokens of this conversation after the server's own chat template.

        Args:
            messages: The conversation.
            fields: What else the request for an answer says of the chat template.
            timeout_s: How long the server may take; by default as long as is usual.
            held_tokens: What a server that may drop a part of a prompt was seen to hold; ``None`` for any other.

        Raises:
            DroppedError: If it drops a part of this one.
            UpstreamError: If the server is away or refuses the conversation.
        """
        key = _digest(messages) + msgspec.json.encode(dict(fields), order="sorted")
        known = self._kept.get(key)
        if known is not None:
            return known
        async with self._access.held():
            counted = await self._whole(messages, fields, timeout_s or self._count_s, held_tokens)
        self._kept[key] = counted
        return counted

    async def _whole(
        self, messages: tuple[ChatMessage, ...], fields: Fields, timeout_s: float, held_tokens: int | None
    ) -> int:
        if held_tokens is None:
            return await self._ask(messages, timeout_s, fields)
        chars = p.kept_chars(messages)
        # The halves first: what the server then keeps of the whole is at hand for the answer.
        halves = await self._halves(messages, timeout_s) if p.is_near(chars, held_tokens) else None
        counted = await self._ask(messages, timeout_s, fields)
        if halves is None and p.is_dense(chars, counted):
            halves = await self._halves(messages, timeout_s)
        if halves is not None and p.is_cut(counted, *halves):
            raise DroppedError(counted, sum(halves))
        return counted

    async def _halves(self, messages: tuple[ChatMessage, ...], timeout_s: float) -> tuple[int, int]:
        first, second = p.halves(messages)
        return await self._ask((first,), timeout_s), await self._ask((second,), timeout_s)

    async def _ask(self, messages: tuple[ChatMessage, ...], timeout_s: float, fields: Fields = NO_FIELDS) -> int:
        while True:
            way = self._ways[0]
            try:
                return await count_by(self._client, way, self._model, messages, fields=fields, timeout_s=timeout_s)
            except UpstreamError as error:
                if error.code == "context_too_long" or error.reachability == "away" or len(self._ways) == 1:
                    raise
                log.warning("upstream_count_refused", way=way, error=error.owner_line())
                self._ways.remove(way)

    def compare(self, truth: int, counted: int) -> None:
        """The server's own usage, after it counted: where that is less, it is not asked in that way again."""
        if truth >= counted:
            return
        log.warning("upstream_count_contradicted", counted_tokens=counted, used_tokens=truth)
        self._kept.clear()
        if len(self._ways) > 1:
            self._ways.pop(0)


def _digest(messages: tuple[ChatMessage, ...]) -> bytes:
    digest = hashlib.sha256()
    for message in messages:
        for part in (message.role.encode(), message.content.encode()):
            digest.update(len(part).to_bytes(4, "big") + part)
    return digest.digest()
