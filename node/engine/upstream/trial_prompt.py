"""Long prompts with a word to remember at either end; pure."""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from node.values.inference import ChatMessage

_PLACES: Final = ("river", "market", "old mill", "harbour", "garden", "station", "library", "bridge")
_DOINGS: Final = ("was quiet", "was closed for repairs", "smelled of rain", "was full of people", "had a new roof")


class TrialPrompt(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation, and what a model that read all of it can say."""

    messages: tuple[ChatMessage, ...]
    first: str
    """The word at its beginning."""
    last: str
    """The word at its end."""


def trial_prompt(lines: int, number: int) -> TrialPrompt:
    """A prompt of so many lines of plain English.

    Args:
        lines: Lines between the two words.
        number: Another number makes other words, so that no prompt begins as another does and is answered from a cache.
    """
    digits = hashlib.sha256(f"{lines} {number}".encode()).digest()
    first, last = (str(int.from_bytes(part) % 9_000 + 1_000) for part in (digits[:4], digits[4:8]))
    text = [f"The first number is {first}. Remember it."]
    text += [f"Day {n}: the {_PLACES[n % 8]} {_DOINGS[n % 5]}, and nobody wrote." for n in range(1, lines + 1)]
    text += [f"The last number is {last}.", "Which is the first number, and which is the last? Answer with both."]
    return TrialPrompt(messages=(ChatMessage("user", "\n".join(text)),), first=first, last=last)
