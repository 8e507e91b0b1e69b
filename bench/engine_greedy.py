"""Whether greedy answers agree, token by token: with other programs, and alone with in a batch."""

from __future__ import annotations

from collections.abc import Sequence

from bench.report import Result, median_of
from bench.sides import Contender, OurEngine, ask, question, together
from bench.testbed import Testbed

QUESTIONS = 8


async def measure(testbed: Testbed, tokens: int) -> list[Result]:
    """The same questions on every side, one by one and all at once."""
    texts = [testbed.words(16) for _ in range(QUESTIONS)]
    ours, ours_batch = await _alone(testbed.ours, texts, tokens), await _batch(testbed.ours, texts, tokens)
    server, server_batch = await _alone(testbed.server, texts, tokens), await _batch(testbed.server, texts, tokens)
    keeping = OurEngine(testbed.engine, reuse=True)
    pairs = {
        "alone: engine and llama-server": (ours, server),
        "engine: alone and in a batch of 8": (ours, ours_batch),
        "llama-server: alone and in a batch of 8": (server, server_batch),
        "in a batch of 8: engine and llama-server": (ours_batch, server_batch),
        "engine: alone, twice": (ours, await _alone(testbed.ours, texts, tokens)),
        "engine: a prompt read whole and one that begins like an earlier one": (
            ours,
            await _alone(keeping, texts, tokens),
        ),
    }
    if testbed.python is not None:
        pairs["alone: engine and the high-level API"] = (ours, await _alone(testbed.python, texts, tokens))
    return [result for label, (some, others) in pairs.items() for result in compare(label, some, others)]


async def _alone(side: Contender, texts: Sequence[str], tokens: int) -> list[str]:
    return [(await ask(side, question(text), tokens)).text for text in texts]


async def _batch(side: Contender, texts: Sequence[str], tokens: int) -> list[str]:
    return [answer.text for answer in await together(side, texts, tokens)]


def agreeing(one: str, other: str) -> tuple[int, int]:
    """Tokens before the first that differs, and tokens in all; the model's words are its tokens."""
    mine, theirs = one.split(), other.split()
    longest = max(len(mine), len(theirs))
    same = next(
        (at for at, (a, b) in enumerate(zip(mine, theirs, strict=False)) if a != b), min(len(mine), len(theirs))
    )
    return same, longest


def compare(label: str, some: Sequence[str], others: Sequence[str]) -> list[Result]:
    """Answers that are equal to the end, and the part of each before its first difference."""
    pairs = [agreeing(one, other) for one, other in zip(some, others, strict=True)]
    equal = sum(same == longest for same, longest in pairs)
    shares = [same / longest for same, longest in pairs]
    return [
        median_of(f"greedy, {label}: equal answers", [float(equal)], f"of {len(pairs)}", against="token by token"),
        median_of(f"greedy, {label}: before the first difference", shares, "ratio", against="tokens of an answer"),
    ]
