"""A provider in front of a test L1 that gives as little as the stingy ones do, in the words of the known ones."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.chain.in_front import Ask, in_front

INFURA = "infura"
ALCHEMY = "alchemy"
QUICKNODE = "quicknode"
PUBLIC = "public"
CUTS = "cuts"
"""A provider that hangs up in the middle of what is too long for it."""

_TOO_WIDE: dict[str, tuple[int, str]] = {
    INFURA: (-32602, "range {asked} exceeds limit of {most}"),
    ALCHEMY: (-32600, "You can make eth_getLogs requests with up to a {most} block range."),
    QUICKNODE: (-32614, "eth_getLogs is limited to a {most} range"),
    PUBLIC: (-32603, "eth_getLogs range is too large, max is {most} blocks"),
    CUTS: (-32000, "exceed maximum block range: {most}"),
}
_TOO_MANY: dict[str, tuple[int, str]] = {
    INFURA: (-32005, "query returned more than {most} results. Try with this block range [0x1, 0x2]."),
    ALCHEMY: (-32602, "Log response size exceeded. this block range should work: [0x0, 0x1]"),
    QUICKNODE: (-32602, "query exceeds max results {most}, retry with the range 1-2"),
    PUBLIC: (-32000, "query timeout exceeded"),
    CUTS: (-32000, "too many"),
}


@dataclass
class Caps:
    """What the provider gives at most."""

    max_blocks: int = 1_000
    max_logs: int = 10_000
    max_answer_bytes: int = 10 * 1024 * 1024
    words: str = INFURA
    prunes_below: int = 0
    """No log, transaction or receipt of an older block is kept."""
    refuses_logs: bool = False
    """Whether every ``eth_getLogs`` fails."""
    asked: Counter[str] = field(default_factory=Counter)
    """How often each method was asked for."""
    refused: int = 0


@asynccontextmanager
async def capped(target: str, caps: Caps) -> AsyncIterator[str]:
    """Answers for the L1 at ``target`` within these caps; yields the URL."""

    async def relay(body: bytes, ask: Ask) -> bytes | None:
        request = json.loads(body)
        caps.asked[request["method"]] += 1
        refusal = await _refused_unread(request, caps, ask)
        if refusal is not None:
            caps.refused += 1
            return _error(request, *refusal)
        answer = await ask(body)
        if request["method"] == "eth_getLogs":
            logs = json.loads(answer).get("result") or []
            if len(logs) > caps.max_logs or len(answer) > caps.max_answer_bytes:
                caps.refused += 1
                number, text = _TOO_MANY[caps.words]
                return _error(request, number, text.format(most=caps.max_logs))
        elif len(answer) > caps.max_answer_bytes:
            caps.refused += 1
            return None
        return answer

    async with in_front(target, relay) as url:
        yield url


async def _refused_unread(request: dict[str, Any], caps: Caps, ask: Ask) -> tuple[int, str] | None:
    method, params = request["method"], request["params"]
    if method == "eth_getLogs":
        if caps.refuses_logs:
            return -32601, "the method eth_getLogs does not exist/is not available"
        first = await _number(params[0].get("fromBlock", "latest"), ask)
        last = await _number(params[0].get("toBlock", "latest"), ask)
        if last - first + 1 > caps.max_blocks:
            number, text = _TOO_WIDE[caps.words]
            return number, text.format(asked=last - first + 1, most=caps.max_blocks)
        if first < caps.prunes_below:
            return 4444, "pruned history unavailable"
    return None


async def _number(tag: str, ask: Ask) -> int:
    if tag.startswith("0x"):
        return int(tag, 16)
    request = {"jsonrpc": "2.0", "id": 1, "method": "eth_blockNumber", "params": []}
    return int(json.loads(await ask(json.dumps(request).encode()))["result"], 16)


def _error(request: dict[str, Any], number: int, text: str) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": request["id"], "error": {"code": number, "message": text}}).encode()
