"""Automata that there may be none of, and texts drawn from them."""

from __future__ import annotations

import random
from collections.abc import Callable

from node.engine.protocol import EngineError
from node.engine.worker.regular.automaton import Automaton


def unless_empty(make: Callable[[], Automaton]) -> Automaton | None:
    """What is made, or None where nothing fits."""
    try:
        return make()
    except EngineError as error:
        if "Nothing fits" not in error.message:
            raise
        return None


def drawn(found: Automaton, dice: random.Random, *, limit: int = 400) -> str | None:
    """One of its texts; None if it doesn't end in time."""
    text, state = "", 0
    for _ in range(limit):
        ways = list(found.steps[state])
        if state in found.ends and (not ways or dice.random() < 0.3):
            return text
        place, state = dice.choice(ways)
        low, high = dice.choice(found.alphabet[place])
        # The ends of a range are where mistakes are.
        text += chr(dice.choice([low, high, dice.randint(low, min(high, low + 200))]))
    return None
