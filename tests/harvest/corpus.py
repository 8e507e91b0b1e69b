"""Answers whose bytes a program is tempted to change, and the conversation that a server makes of them."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from node.local.node import LocalNode
from tests.node.conftest import PASSPHRASE
from tests.node.engine.upstream.hostile import MODEL, Handler, Upstream, speaking, upstream

CORPUS = {
    "a Makefile": "```make\nall:\n\tcc -o a a.c\n\n\t@echo done\n```",
    "CRLF and lone CR": "GET / HTTP/1.1\r\nHost: x\r\n\r\nold\rmac",
    "Persian with non-joiners": "می\u200cخواهم کتاب\u200cها را بخوانم",
    "Devanagari with joiners": "क्\u200dष श्री क्\u200cष",
    "Thai with break hints": "ที่นี่\u200bน้ำ\u200bใจ",
    "pointed Hebrew": "שׁ\u05bc\u05b8\u0591\u05bdל\u05b9ו\u05b9ם יְרוּשָׁלַ\u034fִם \u200f(א)",
    "emoji of the newest Unicode": "\U0001faea \U0001fac8 \U0001fadc 👩\u200d👩\u200d👧\u200d👦 ❤\ufe0f",
    "a flag of tags": "\U0001f3f4\U000e0067\U000e0062\U000e007f",
    "spaces": "10\u00a0000 km\u202f/\u2009h　全角\u3000空白\u00ad\u2060\ufeff",
    "private use and beyond": "\ue0b0 \uf8ff \U000f0001 \U0010fffd \ufdd0 \ufffd",
    "what attacks a terminal": "\x1b[31mred\x1b]52;c;aGk=\x07\x9b2J\x00\x7f"
    "\u202etxt.exe\u202c \u2066x\u2069 a\u2028b\x85",
    "white space at both ends": "\n\n  spaced \t\r\n\n",
}  # fmt: skip


def echoing(texts: dict[str, str]) -> Any:
    """A chat handler that answers each question with the text of that name, in pieces of one character."""

    async def handler(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        text = texts[body["messages"][-1]["content"]]
        return await speaking(*text, stated=len(text))(request, body)

    return handler


@asynccontextmanager
async def market(
    run_node: Any, relay_url: str, chain_url: str, *, models: Handler | None = None, **settings: Any
) -> AsyncIterator[tuple[Upstream, LocalNode, LocalNode]]:
    """A server that answers with the corpus, the seller that rents it out, and a funded buyer called ``buyer``.

    Args:
        run_node: The fixture of that name.
        relay_url: Where both are.
        chain_url: Where both pay.
        models: How the server lists its models, if not by default.
        settings: Of the seller.
    """
    urls = {"relay": relay_url, "chain": chain_url}
    async with (
        upstream() as server,
        run_node("seller", **urls, upstream=server.url, model=MODEL, **settings) as seller,
        run_node("buyer", **urls) as buyer,
    ):
        server.models = models or server.models
        await seller.create_wallet("main", PASSPHRASE)
        await buyer.create_wallet("main", PASSPHRASE)
        await buyer.faucet("main")
        await seller.go_online()
        server.chat = echoing(CORPUS)
        yield server, seller, buyer


def hash_of(data: bytes) -> str:
    """As receipts write it."""
    return "0x" + hashlib.sha256(data).hexdigest()
