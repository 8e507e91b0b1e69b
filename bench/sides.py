"""One way to ask every side of a measurement, and what came when."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import aiohttp
import msgspec

from bench.peers import PeerError
from node.engine.protocol import Chunk, Engine, Finished, GenerateRequest, Started
from node.values.inference import ChatMessage, Sampling

GREEDY = Sampling(temperature=0.0, top_k=0, min_p=0.0, seed=1)
DRAWN = Sampling(temperature=0.7, top_k=40, top_p=0.95, min_p=0.05, seed=1)
Conversation = Sequence[ChatMessage]


@dataclass
class TimedAnswer:
    """One answer as its reader saw it: when asked, when pieces came and of how many tokens, and the text."""

    asked_at: float
    pieces: list[tuple[float, int]] = field(default_factory=list)
    text: str = ""
    prompt_tokens: int = 0
    decode_ms: float = 0.0
    """The side's own clock from its first token to its last."""
    came: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def tokens(self) -> int:
        """Tokens that came."""
        return sum(tokens for _, tokens in self.pieces)

    @property
    def first_s(self) -> float:
        """Seconds to the first token."""
        return self.pieces[0][0] - self.asked_at

    @property
    def ended_at(self) -> float:
        """When the last token came."""
        return self.pieces[-1][0]

    @property
    def tokens_per_s(self) -> float:
        """Tokens over the time from asking to the last one."""
        return self.tokens / (self.ended_at - self.asked_at)

    def add(self, text: str, tokens: int) -> None:
        """A piece came now."""
        if tokens:
            self.pieces.append((time.perf_counter(), tokens))
            self.came.set()
        self.text += text

    async def reach(self, tokens: int) -> None:
        """Wait until so many have come."""
        while self.tokens < tokens:
            self.came.clear()
            await self.came.wait()


class Contender(Protocol):
    """Something that answers; `ask` fills the answer while it comes, so that others can watch it."""

    async def ask(self, messages: Conversation, tokens: int, sampling: Sampling, answer: TimedAnswer) -> None:
        """Run one request to its end."""
        ...


class OurEngine:
    """The engine through its own interface, its worker in a process of its own.

    Args:
        engine: The engine.
        reuse: Whether a prompt may begin where an earlier one did; else each request is a stranger's.
    """

    def __init__(self, engine: Engine, *, reuse: bool = False) -> None:
        self._engine = engine
        self._reuse = reuse
        self._numbers = itertools.count()

    async def ask(self, messages: Conversation, tokens: int, sampling: Sampling, answer: TimedAnswer) -> None:
        """Run one request to its end."""
        name = f"bench {next(self._numbers)}"
        request = GenerateRequest(
            request_id=name,
            messages=tuple(messages),
            max_tokens=tokens,
            sampling=sampling,
            cache_key="chat" if self._reuse else name,
        )
        async for event in self._engine.generate(request):
            match event:
                case Started():
                    answer.prompt_tokens = event.input_tokens
                case Chunk():
                    answer.add(event.text, event.tokens)
                case Finished():
                    answer.decode_ms = event.decode_ms


class LlamaServer:
    """`llama-server` by its leanest endpoint: the prompt as text, one event a token."""

    def __init__(self, client: aiohttp.ClientSession, url: str, *, reuse: bool = False) -> None:
        self._client = client
        self._url = f"{url}/completion"
        self._reuse = reuse

    async def ask(self, messages: Conversation, tokens: int, sampling: Sampling, answer: TimedAnswer) -> None:
        """Run one request to its end."""
        body = {
            "prompt": rendered(messages),
            "n_predict": tokens,
            "stream": True,
            "cache_prompt": self._reuse,
            "return_tokens": True,
        } | _sampling(sampling)
        async with self._client.post(self._url, json=body) as response:
            if response.status != 200:
                raise PeerError(f"llama-server answered {response.status}: {await response.text()}")
            async for line in response.content:
                if line.startswith(b"data: "):
                    self._take(msgspec.json.decode(line[6:]), answer)

    @staticmethod
    def _take(event: dict[str, object], answer: TimedAnswer) -> None:
        text, tokens = event["content"], event.get("tokens", [])
        assert isinstance(text, str)
        assert isinstance(tokens, list)
        answer.add(text, len(tokens))
        if event.get("stop"):
            timings = event["timings"]
            assert isinstance(timings, dict)
            answer.prompt_tokens, answer.decode_ms = timings["prompt_n"], timings["predicted_ms"]


class PythonServer:
    """`llama_cpp.server`; it runs one request after the other, so the whole answer is asked for at once."""

    def __init__(self, client: aiohttp.ClientSession, url: str) -> None:
        self._client = client
        self._url = f"{url}/v1/completions"

    async def ask(self, messages: Conversation, tokens: int, sampling: Sampling, answer: TimedAnswer) -> None:
        """Run one request to its end."""
        body = {"prompt": rendered(messages), "max_tokens": tokens} | _sampling(sampling)
        async with self._client.post(self._url, json=body) as response:
            if response.status != 200:
                raise PeerError(f"llama_cpp.server answered {response.status}: {await response.text()}")
            said = await response.json()
        answer.prompt_tokens = said["usage"]["prompt_tokens"]
        answer.add(said["choices"][0]["text"], said["usage"]["completion_tokens"])


def _sampling(sampling: Sampling) -> dict[str, float | int | None]:
    return {
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "min_p": sampling.min_p,
        "repeat_penalty": sampling.repeat_penalty,
        "seed": sampling.seed,
    }


def rendered(messages: Conversation) -> str:
    """What the random model's chat template makes of a conversation."""
    turns = "".join(f"<|im_start|>{message.role}\n{message.content}<|im_end|>\n" for message in messages)
    return turns + "<|im_start|>assistant\n"


def question(text: str) -> list[ChatMessage]:
    """A conversation of one message."""
    return [ChatMessage("user", text)]


async def ask(side: Contender, messages: Conversation, tokens: int, sampling: Sampling = GREEDY) -> TimedAnswer:
    """One answer."""
    answer = TimedAnswer(time.perf_counter())
    await side.ask(messages, tokens, sampling, answer)
    return answer


async def together(
    side: Contender, texts: Sequence[str], tokens: int, sampling: Sampling = GREEDY
) -> list[TimedAnswer]:
    """As many answers at once as there are questions."""
    return await asyncio.gather(*(ask(side, question(text), tokens, sampling) for text in texts))


def aggregate(answers: Sequence[TimedAnswer]) -> float:
    """Tokens of all answers a second, from the first question to the last token."""
    seconds = max(answer.ended_at for answer in answers) - min(answer.asked_at for answer in answers)
    return sum(answer.tokens for answer in answers) / seconds


def decode_rate(answers: Sequence[TimedAnswer]) -> float:
    """Tokens after the first of each a second, by the side's own clock."""
    return sum(answer.tokens - 1 for answer in answers) / max(answer.decode_ms for answer in answers) * 1_000
