"""A server that drops what doesn't fit into its context, in each of the ways that real ones do."""

from __future__ import annotations

import re
from typing import Any, Literal

from aiohttp import web

from tests.node.engine.upstream.hostile import DONE, STOP, Upstream, chunk, refusing, sending, usage

CHARS_PER_TOKEN = 4


class Forgetful:
    """Answers for a server; a token is four characters.

    Attributes:
        context: Tokens of a prompt that it holds.
        way: What it does with a longer one: keeps the end, half of the context long, and counts that (as Ollama); keeps
            the end and counts all; answers nothing (as LM Studio); or refuses.
        remembers: Whether its model can say which numbers it read.
    """

    def __init__(self, server: Upstream, context: int) -> None:
        self.context = context
        self.way: Literal["counts the rest", "counts all", "answers nothing", "refuses"] = "counts the rest"
        self.remembers = True
        self.prompts: list[str] = []
        server.one_token = self.whole
        server.chat = self.streamed

    def _read(self, body: dict[str, Any]) -> tuple[str, int] | None:
        prompt = "\n".join(message["content"] for message in body["messages"])
        self.prompts.append(prompt)
        tokens = len(prompt) // CHARS_PER_TOKEN
        if tokens <= self.context:
            return prompt, tokens
        if self.way == "refuses":
            return None
        kept = self.context // 2 + 2
        return prompt[-kept * CHARS_PER_TOKEN :], kept if self.way == "counts the rest" else tokens

    def _answer(self, body: dict[str, Any], prompt: str) -> str:
        whole = "\n".join(message["content"] for message in body["messages"])
        if self.way == "answers nothing" and prompt != whole:
            return ""
        return " and ".join(re.findall(r"number is (\d+)", prompt)) if self.remembers else "I don't know."

    async def whole(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        read = self._read(body)
        if read is None:
            return await refusing(400, "the prompt exceeds the context size")(request, body)
        prompt, tokens = read
        message = {"content": self._answer(body, prompt)}
        counts = {"prompt_tokens": tokens, "completion_tokens": 5}
        return web.json_response({"choices": [{"message": message, "finish_reason": "stop"}], "usage": counts})

    async def streamed(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        read = self._read(body)
        if read is None:
            return await refusing(400, "the prompt exceeds the context size")(request, body)
        return await sending(chunk("One"), chunk(" two"), STOP, usage(2, prompt=read[1]), DONE)(request, body)
