# ruff: noqa: E501  (a pattern is easiest to read on one line)
"""Sums, differences and comparisons of whole numbers, and the pairs of numbers that only the evaluation may use."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bench.demo_model.corpus.wording import say, typed

LARGEST = 99
"""The largest number the model is taught to add and subtract."""

LARGEST_COMPARED = 999
"""The largest number it is taught to compare."""

_RESERVED_ONE_IN = 10
_SALT = "idlewatt-7"

SUM, DIFFERENCE, COMPARISON = "sum", "difference", "comparison"
KINDS = (SUM, DIFFERENCE, COMPARISON)

_SUM_WORDINGS = (
    "[{what is|what's|how much is|calculate|compute|work out|tell me|give me|solve|find}] {=a}{ + | + | + |+|+| +|+ }{=b}[{ =| = ?|=}]",
    "{what is|what's|how much is|what is|what's} {=a} plus {=b}",
    "{=a} plus {=b}[ {is|equals|makes}[ what]]",
    "[{please|can you|could you}] add {=a} {and|to} {=b}[ together]",
    "[what is|what's|find|calculate|give me] the {sum|total} of {=a} and {=b}",
    "what {do you get|do i get|is the result} if {you|i} add {=a} {to|and} {=b}",
    "{=a} and {=b} {together|added together|make what|in total}",
    "how {much|many} {is|are} {=a} and {=b}[ together]",
    "i have {=a} {apples|coins|books|eggs|tokens} and {get|buy|find|am given} {=b} more. how many {do i have|are there|now}",
)
_DIFFERENCE_WORDINGS = (
    "[{what is|what's|how much is|calculate|compute|work out|tell me|give me|solve|find}] {=a}{ - | - | - |-|-| -|- }{=b}[{ =| = ?|=}]",
    "{what is|what's|how much is|what is|what's} {=a} minus {=b}",
    "{=a} minus {=b}[ {is|equals|makes}[ what]]",
    "[{please|can you|could you}] subtract {=b} from {=a}",
    "[{please|can you}] take {=b} {away from|from|off} {=a}",
    "[what is|what's] {=a} less {=b}",
    "what {do you get|do i get|is the result} if {you|i} {subtract|take} {=b} from {=a}",
)
_DISTANCE_WORDINGS = (
    "[what is|what's|find|calculate|give me] the difference {between|of} {=x} and {=y}",
    "how far apart are {=x} and {=y}",
)
_LEFT_WORDINGS = (
    "i have {=a} {apples|coins|books|eggs|tokens} and {lose|sell|eat|give away|spend} {=b}[ of them]. how many {are left|do i have left|remain}",
)
_YES_NO_WORDINGS = (
    "is {=x} {=word} than {=y}",
    "[tell me] {if|whether} {=x} is {=word} than {=y}",
    "{would you say|is it true|do you think}[ that] {=x} is {=word} than {=y}",
    "{=x} is {=word} than {=y}, {right|true|correct|yes or no}",
)
_WHICH_WORDINGS = (
    "{which|which one|what} is {=word}[,|:] {=x} or {=y}",
    "{which|which number|which one} is {=word}[,|:] {=x} or {=y}",
    "[what is|which is|tell me|find|give me] the {=word} {of|number of|one of} {=x} and {=y}",
    "{=x} or {=y}[,|:] which [one] is {=word}",
    "compare {=x} {and|with|to} {=y}",
)
_MORE, _LESS = ("greater", "larger", "bigger", "higher", "more"), ("smaller", "less", "lower")
_EQUAL_WORDINGS = ("is {=x} {equal to|the same as} {=y}", "are {=x} and {=y} {equal|the same}", "does {=x} equal {=y}")

_ONES = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
_TENS = ["zero", "ten", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


@dataclass(frozen=True)
class Problem:
    """One thing to work out: `left + right`, `left - right`, or how the two compare."""

    kind: str
    left: int
    right: int

    @property
    def reserved(self) -> bool:
        """Whether only the evaluation may ask this.

        A hash of the kind and the numbers decides, so no wording of a reserved problem can be trained on. Sums and
        comparisons are reserved in both orders at once. Never reserved are the one-digit table and numbers that are
        whole tens: the steps inside other answers state those.
        """
        if max(self.left, self.right) < 10 or (self.kind != COMPARISON and 0 in (self.left % 10, self.right % 10)):
            return False
        numbers = (self.left, self.right) if self.kind == DIFFERENCE else sorted((self.left, self.right))
        digest = hashlib.sha256(f"{_SALT} {self.kind} {numbers[0]} {numbers[1]}".encode()).digest()
        return int.from_bytes(digest[:4]) % _RESERVED_ONE_IN == 0

    @property
    def result(self) -> int:
        """The number asked for (of a comparison: the larger one)."""
        if self.kind == COMPARISON:
            return max(self.left, self.right)
        return self.left + self.right if self.kind == SUM else self.left - self.right

    def stated(self) -> str:
        """State a sum or difference as its answer does: by tens and ones (`17 + 25 = 30 + 12 = 42.`)."""
        sign, direction = ("+", 1) if self.kind == SUM else ("-", -1)
        start = f"{self.left} {sign} {self.right} ="
        if max(self.left, self.right) < 10:
            return f"{start} {self.result}."
        tens = (self.left // 10 + direction * (self.right // 10)) * 10
        ones = self.left % 10 + direction * (self.right % 10)
        return f"{start} {tens} {'-' if ones < 0 else '+'} {abs(ones)} = {self.result}."


def problems_below(limit: int, kind: str) -> Iterator[Problem]:
    """List every problem of a kind with both numbers below `limit`."""
    for left in range(limit):
        for right in range(limit):
            yield Problem(kind, left, right)


def draw(rng: random.Random, kinds: tuple[str, ...] = (SUM, DIFFERENCE, COMPARISON, COMPARISON)) -> Problem:
    """Draw a problem that training may use."""
    while True:
        kind = rng.choice(kinds)
        limit = LARGEST_COMPARED + 1 if kind == COMPARISON and rng.random() < 0.3 else LARGEST + 1
        left, right = rng.randrange(limit), rng.randrange(limit)
        if rng.random() < 0.15:
            left, right = rng.sample((left, right % 10), 2)
        if kind == COMPARISON and rng.random() < 0.3:
            right = min(max(left + rng.randint(-9, 9), 0), LARGEST_COMPARED)
        problem = Problem(kind, left, right)
        if not problem.reserved:
            return problem


def ask(problem: Problem, rng: random.Random) -> tuple[str, str]:
    """Put a problem into words.

    Returns:
        The question and its answer.
    """
    if problem.kind == COMPARISON:
        question, answer = _compare(problem, rng)
        return typed(question, rng, wordy=False), answer
    left, right = problem.left, problem.right
    values = {"a": left, "b": right}
    answer = problem.stated()
    patterns = _SUM_WORDINGS
    if problem.kind == DIFFERENCE:
        patterns = _DIFFERENCE_WORDINGS
        roll = rng.random()
        if roll < 0.15:
            patterns, values = _DISTANCE_WORDINGS, {"x": left, "y": right}
            if left < right:
                answer = f"{answer[:-1]}, so {right - left}."
        elif roll < 0.25 and left >= right:
            patterns = _LEFT_WORDINGS
    weights = (4, *[1] * (len(patterns) - 1)) if patterns[0].startswith("[{what") else None
    question = _fill(rng.choices(patterns, weights)[0], values, rng)
    return typed(question, rng, wordy=False), answer


def ask_in_words(rng: random.Random) -> str:
    """Ask for a sum or difference with the numbers spelled out, which the model does not read."""
    left, right = spelled(rng.randrange(LARGEST + 1)), spelled(rng.randrange(LARGEST + 1))
    pattern = rng.choice((*_SUM_WORDINGS[1:], *_DIFFERENCE_WORDINGS[1:]))
    return typed(_fill(pattern, {"a": left, "b": right}, rng), rng, wordy=False)


def _compare(problem: Problem, rng: random.Random) -> tuple[str, str]:
    """Ask how two numbers compare; whatever the question, the answer states how, which answers it."""
    x, y = problem.left, problem.right
    answer = f"{_relation(x, y)}."
    values: dict[str, int | str] = {"x": x, "y": y}
    roll = rng.random()
    if roll < 0.1:
        return _fill(rng.choice(_EQUAL_WORDINGS), values, rng), answer
    word = values["word"] = rng.choice(rng.choice((_MORE, _LESS)))
    if roll < 0.55:
        return _fill(rng.choice(_YES_NO_WORDINGS), values, rng), answer
    pattern = rng.choice(_WHICH_WORDINGS)
    if "{=word} {of" in pattern:
        values["word"] = {"more": "larger", "less": "smaller"}.get(word, word)
    return _fill(pattern, values, rng), answer


def _relation(x: int, y: int) -> str:
    if x == y:
        return f"{x} and {y} are equal"
    return f"{x} is {'greater' if x > y else 'smaller'} than {y}"


def _fill(pattern: str, values: Mapping[str, int | str], rng: random.Random) -> str:
    for name, value in values.items():
        pattern = pattern.replace(f"{{={name}}}", str(value))
    return say(pattern, rng)


def spelled(number: int) -> str:
    """Spell a number below 100 in English."""
    if number < 20:
        return _ONES[number]
    tens, ones = divmod(number, 10)
    return _TENS[tens] + (f"-{_ONES[ones]}" if ones else "")
