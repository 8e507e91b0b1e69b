"""A small grammar for ways to say one thing, and the noise of how people type.

`{a|b}` picks one, `[a]` may be left out, and both nest. `{}` with a name (`{=a}`) is filled in by the caller.
"""

from __future__ import annotations

import functools
import random
import re
from itertools import product

_TOKEN = re.compile(r"[{}\[\]|]|[^{}\[\]|]+")

Node = str | tuple["Node", ...] | list["Node"]
"""Text, a sequence (tuple) or a choice (list)."""


@functools.cache
def parse(pattern: str) -> Node:
    """Read a pattern into its tree."""
    tokens = _TOKEN.findall(pattern)
    node, used = _sequence(tokens, 0)
    if used != len(tokens):
        raise ValueError(f"unbalanced pattern: {pattern}")
    return node


def _sequence(tokens: list[str], at: int) -> tuple[Node, int]:
    items: list[Node] = []
    while at < len(tokens) and tokens[at] not in "|}]":
        if tokens[at] in "{[":
            optional = tokens[at] == "["
            choices: list[Node] = [""] if optional else []
            at += 1
            while True:
                node, at = _sequence(tokens, at)
                choices.append(node)
                if at >= len(tokens):
                    raise ValueError("a choice that never closes")
                at += 1
                if tokens[at - 1] != "|":
                    break
            items.append(choices)
        else:
            items.append(tokens[at])
            at += 1
    return tuple(items), at


def say(pattern: str, rng: random.Random) -> str:
    """Pick one of the wordings of a pattern."""
    return _tidy(_say(parse(pattern), rng))


def _say(node: Node, rng: random.Random) -> str:
    if isinstance(node, str):
        return node
    if isinstance(node, list):
        return _say(rng.choice(node), rng)
    return "".join(_say(part, rng) for part in node)


def every(pattern: str) -> list[str]:
    """List all wordings of a pattern."""
    return [_tidy(text) for text in _every(parse(pattern))]


def _every(node: Node) -> list[str]:
    if isinstance(node, str):
        return [node]
    if isinstance(node, list):
        return [text for choice in node for text in _every(choice)]
    return ["".join(parts) for parts in product(*(_every(part) for part in node))]


def _tidy(text: str) -> str:
    return re.sub(r" +", " ", text).strip()


def words_of(text: str) -> tuple[str, ...]:
    """Reduce a question to its words: no case, no punctuation."""
    return tuple(re.findall(r"[a-z0-9]+", text.lower().replace("'", "")))


_OPENERS = (
    "please", "hey,", "hi,", "hello,", "ok,", "so,", "sorry,", "quick question:", "i wonder,", "tell me,",
    "just asking:", "good morning,", "i'm new here.", "one more thing:", "and", "but", "well,",
    "can you explain?", "help me:",
)  # fmt: skip
_CLOSERS = ("please", "thanks", "thank you", "exactly", "then", "again", "by the way", "in short", "for me")
_FILLERS = frozenset(
    ("a", "an", "the", "of", "to", "in", "on", "it", "is", "are", "do", "does", "i", "my", "me", "you", "your", "this")
)


def typed(text: str, rng: random.Random, *, question: bool = True, wordy: bool = True) -> str:
    """Type `text` the way people do: with or without capitals, marks, courtesy, small words, or all letters right.

    Args:
        text: What to say, without a final mark.
        rng: The source of chance.
        question: Whether a question mark fits.
        wordy: Whether words may be added, dropped or misspelt (never for numbers).
    """
    if wordy and rng.random() < 0.12:
        text = f"{rng.choice(_OPENERS)} {text}"
    if wordy and rng.random() < 0.05:
        text = f"{text} {rng.choice(_CLOSERS)}"
    if wordy and rng.random() < 0.2:
        text = _drop_small_words(text, rng)
    if wordy and rng.random() < 0.05:
        text = " ".join(rng.sample(text.split(), len(text.split())))
    if wordy and rng.random() < 0.05:
        text = _misspell(text, rng)
    case = rng.random()
    if case < 0.65:
        text = text[:1].upper() + text[1:]
        text = re.sub(r"\bi\b", "I", text)
    elif case < 0.68:
        text = text.upper()
    mark = rng.random()
    if mark < 0.65:
        return text + ("?" if question else ".")
    if mark < 0.70:
        return text + rng.choice((" ?", "??", "...", "!", "."))
    return text


def _drop_small_words(text: str, rng: random.Random) -> str:
    kept = [word for word in text.split() if word.lower() not in _FILLERS or rng.random() < 0.5]
    return " ".join(kept) if len(kept) > 1 else text


def _misspell(text: str, rng: random.Random) -> str:
    places = [at for at in range(1, len(text) - 1) if text[at].isalpha() and text[at + 1].isalpha()]
    if not places:
        return text
    at = rng.choice(places)
    kind = rng.randrange(3)
    if kind == 0:
        return text[:at] + text[at + 1] + text[at] + text[at + 2 :]
    return text[:at] + text[at + 1 :] if kind == 1 else text[:at] + text[at] + text[at:]
