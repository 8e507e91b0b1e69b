"""What the engine's tests say again and again."""

from __future__ import annotations

import itertools

from node.engine.llama import LlamaEngine
from node.engine.protocol import ChatMessage, Chunk, Finished, GenerateRequest, Sampling, Started

GREEDY = Sampling(temperature=0)
_numbers = itertools.count()


def ask(text: str = "hello", *, max_tokens: int = 24, sampling: Sampling = GREEDY, **more: object) -> GenerateRequest:
    more.setdefault("request_id", f"request-{next(_numbers)}")
    return GenerateRequest(messages=(ChatMessage("user", text),), max_tokens=max_tokens, sampling=sampling, **more)


async def answer(engine: LlamaEngine, request: GenerateRequest) -> tuple[str, Started, Finished]:
    """Run a request to its end, and check what holds for every stream."""
    events = [event async for event in engine.generate(request)]
    started, *chunks, finished = events
    assert isinstance(started, Started)
    assert isinstance(finished, Finished)
    assert all(isinstance(chunk, Chunk) and chunk.text for chunk in chunks)
    text = "".join(chunk.text for chunk in chunks)
    assert (
        finished.output_tokens == sum(chunk.tokens for chunk in chunks) <= min(len(text.encode()), request.max_tokens)
    )
    assert finished.input_tokens == started.input_tokens
    return text, started, finished
