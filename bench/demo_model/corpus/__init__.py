"""The text the demo model learns from: seeded conversations about small numbers, Idlewatt, and what it can't do.

What the evaluation asks is excluded by rule, not by luck. A hash of its numbers decides whether a problem is reserved
(`arithmetic.Problem.reserved`), and a question whose words are those of a reserved question, in whatever order, case
or punctuation, is drawn again.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from bench.demo_model.corpus import arithmetic, facts_chain, facts_money, facts_node, out_of_scope, smalltalk
from bench.demo_model.corpus.facts import Fact
from bench.demo_model.corpus.wording import words_of

IDLEWATT_FACTS: tuple[Fact, ...] = facts_node.FACTS + facts_money.FACTS + facts_chain.FACTS
SMALLTALK: tuple[Fact, ...] = smalltalk.FACTS

_SYSTEM_PROMPTS = (
    "You are a helpful assistant.",
    "You are a helpful, honest assistant. Answer briefly.",
    "You are Idlewatt's demo model.",
    "Answer in one sentence.",
)

Turn = tuple[str, str]


def _bag(question: str) -> tuple[str, ...]:
    return tuple(sorted(words_of(question)))


_RESERVED = frozenset(
    _bag(question)
    for questions in (*(fact.reserved for fact in IDLEWATT_FACTS + SMALLTALK), out_of_scope.RESERVED)
    for question in questions
)


def is_reserved(question: str) -> bool:
    """Tell whether a question in words has the very words of one that only the evaluation may ask."""
    return _bag(question) in _RESERVED


def exchange(rng: random.Random) -> Turn:
    """Draw one question and its answer."""
    while True:
        roll = rng.random()
        if roll < 0.38:
            return arithmetic.ask(arithmetic.draw(rng), rng)
        if roll < 0.84:
            fact = rng.choice(IDLEWATT_FACTS)
            question, answer = fact.ask(rng), fact.answer
        elif roll < 0.90:
            fact = rng.choice(SMALLTALK)
            question, answer = fact.ask(rng), fact.answer
        else:
            question, answer = out_of_scope.ask(rng)
        if not is_reserved(question):
            return question, answer


def conversations(rng: random.Random, *, longest: int) -> Iterator[list[Turn]]:
    """Draw conversations without end, as `(role, content)` turns.

    Args:
        rng: The source of chance; the same state gives the same conversations.
        longest: The most questions in one; most have only one when this is small.
    """
    while True:
        count = rng.randint(1, longest) if longest > 3 else min(longest, rng.choices((1, 2, 3), (8, 1, 1))[0])
        turns: list[Turn] = []
        if rng.random() < 0.05:
            turns.append(("system", rng.choice(_SYSTEM_PROMPTS)))
        for _ in range(count):
            question, answer = exchange(rng)
            turns += [("user", question), ("assistant", answer)]
        yield turns
