"""Numbers between bounds, as they are written: exact at the borders, and as any validator will read them.

Most validators read numbers as doubles. Those tell apart all decimals of 15 digits and all whole numbers below 2⁵³, so
nothing longer is written, and a number that lies strictly within a bound still does after it was read. There is no
exponent and no negative zero.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal

from node.engine.protocol import EngineError
from node.engine.worker.regular.automaton import NO_TEXTS, Automaton, automaton
from node.engine.worker.regular.charsets import listed

MOST_WHOLE = 2**53 - 1
"""RFC 7493 (I-JSON), 2.2: the greatest whole number that receivers agree on."""
MOST_DIGITS = 15
MOST_STEP = 100

_SIGNS = "0123456789-."
_LONGEST = len(str(MOST_WHOLE))
_OUTSIDE = Decimal(10) ** _LONGEST


@dataclass(frozen=True)
class Bound:
    """An end of a range."""

    value: Decimal
    excluded: bool = False


@dataclass(frozen=True)
class Range:
    """Numbers from a least to a greatest one; an end that is missing is as far as numbers are written."""

    low: Bound | None = None
    high: Bound | None = None
    step: Decimal | None = None
    """What all of them are multiples of."""
    whole: bool = False


def numbers(asked: Range, what: str, *, may_be_empty: bool = False) -> Automaton:
    """How the numbers of a range are written.

    Args:
        asked: The range.
        what: What the schema calls it, for the line of an error.
        may_be_empty: Whether there may be no such number.

    Raises:
        EngineError: With code ``bad_request`` if there is no such number, or no telling its multiples.
    """
    least, most = asked.low or Bound(-_OUTSIDE), asked.high or Bound(_OUTSIDE)
    if asked.whole:
        low = math.floor(least.value) + 1 if least.excluded else math.ceil(least.value)
        high = math.ceil(most.value) - 1 if most.excluded else math.floor(most.value)
        least, most = Bound(Decimal(max(low, -MOST_WHOLE))), Bound(Decimal(min(high, MOST_WHOLE)))
    else:
        least = Bound(_rounded(max(least.value, -_OUTSIDE), ROUND_CEILING), least.excluded)
        most = Bound(_rounded(min(most.value, _OUTSIDE), ROUND_FLOOR), most.excluded)
    if least.value > most.value:
        if may_be_empty:
            return NO_TEXTS
        raise EngineError(f"Nothing fits {what}.", code="bad_request", fix="Change the schema.")
    return automaton(_Digits(least, most, asked.step, whole=asked.whole), what, may_be_empty=may_be_empty)


def _rounded(value: Decimal, towards: str) -> Decimal:
    return Context(prec=MOST_DIGITS, rounding=towards).plus(value)


@dataclass(frozen=True)
class _End:
    """A bound's absolute value, digit by digit."""

    whole: str
    part: str
    excluded: bool

    def compared(self, so_far: int, place: int, digit: int) -> int:
        """How a number compares, of which this digit stands at a place before the point."""
        if len(self.whole) > _LONGEST:
            return -1
        if place >= len(self.whole):
            return 1
        return so_far or _sign(digit - int(self.whole[place]))

    def compared_behind(self, so_far: int, place: int, digit: int) -> int:
        """How a number compares, of which this digit stands at a place behind the point."""
        return so_far or _sign(digit - int(self.part[place] if place < len(self.part) else "0"))

    def at_point(self, so_far: int, digits: int) -> int:
        return -1 if digits < len(self.whole) else so_far

    def at_end(self, so_far: int, places: int) -> int:
        return so_far or (-1 if places < len(self.part) else 0)


@dataclass(frozen=True)
class _State:
    negative: bool = False
    digits: int = 0
    """How many stand before the point."""
    places: int | None = None
    """How many stand behind the point; none before there is one."""
    low: int = 0
    """How what is written compares with the bound that is nearer to zero: less (-1), so far the same (0), more (1)."""
    high: int = 0
    rest: int = 0
    """What is left of its digits when divided by the step."""
    zero: bool = False
    """Whether it is 0 so far, behind which no digit may stand."""


class _Digits:
    """A machine that reads a number from its first digit and compares it with both bounds as it goes."""

    alphabet = tuple(listed(sign) for sign in _SIGNS)
    start = _State()

    def __init__(self, least: Bound, most: Bound, step: Decimal | None, *, whole: bool) -> None:
        nothing = Bound(Decimal(0))
        above = least if least.value >= 0 else nothing, most
        # Zero is written without a sign.
        beneath = most if most.value < 0 else Bound(Decimal(0), excluded=True), least
        self._ends = {
            False: (_end(above[0]), _end(above[1])) if most.value >= 0 else None,
            True: (_end(beneath[0]), _end(beneath[1])) if least.value < 0 else None,
        }
        self._step, self._scale = _step(step)
        self._places = 0 if whole else MOST_DIGITS if step is None else self._scale
        self._digits = _LONGEST if whole else MOST_DIGITS
        self._digits_before = self._digits - self._scale

    def steps(self, state: _State) -> Iterable[tuple[int, _State]]:
        """The signs that may follow, with what is known then."""
        if state == self.start and self._ends[True]:
            yield _SIGNS.index("-"), _State(negative=True)
        ends = self._ends[state.negative]
        if ends is None:
            return
        low, high = ends
        if state.places is None:
            if state.digits and self._places and state.digits < self._digits:
                yield (
                    _SIGNS.index("."),
                    _State(
                        state.negative,
                        # With room for all the places that a step has, their number before doesn't matter any more.
                        1 if self._scale else state.digits,
                        0,
                        low.at_point(state.low, state.digits),
                        high.at_point(state.high, state.digits),
                        state.rest,
                    ),
                )
            if state.zero or state.digits == min(self._digits_before, len(high.whole)):
                return
        elif state.places >= self._places or state.digits + state.places >= self._digits:
            return
        for digit in range(10):
            after = self._after(state, digit, low, high)
            if after.places is None or (after.low >= 0 and after.high <= 0):
                yield digit, after

    def _after(self, state: _State, digit: int, low: _End, high: _End) -> _State:
        rest = (state.rest * 10 + digit) % self._step
        if state.places is None:
            zero = digit == 0 and not state.digits
            return _State(
                state.negative,
                state.digits + 1,
                None,
                low.compared(state.low, state.digits, digit),
                high.compared(state.high, state.digits, digit),
                rest,
                zero,
            )
        return _State(
            state.negative,
            state.digits,
            state.places + 1,
            low.compared_behind(state.low, state.places, digit),
            high.compared_behind(state.high, state.places, digit),
            rest,
        )

    def ends(self, state: _State) -> bool:
        """Whether what is written is a number of the range."""
        ends = self._ends[state.negative]
        if ends is None or not state.digits or state.places == 0:
            return False
        low, high = (
            one.at_end(so if state.places is not None else one.at_point(so, state.digits), state.places or 0)
            for one, so in ((ends[0], state.low), (ends[1], state.high))
        )
        within = (low > 0 or (low == 0 and not ends[0].excluded)) and (high < 0 or (high == 0 and not ends[1].excluded))
        places = min(state.places or 0, self._scale)
        return within and state.rest * 10 ** (self._scale - places) % self._step == 0


def _end(bound: Bound) -> _End:
    whole, _, part = f"{abs(bound.value):f}".partition(".")
    return _End(whole.lstrip("0") or "0", part.rstrip("0"), bound.excluded)


def _step(step: Decimal | None) -> tuple[int, int]:
    """A step as a whole number and the places behind the point that it is divided by."""
    if step is None:
        return 1, 0
    if step <= 0:
        raise EngineError("multipleOf is a number above 0.", code="bad_request", fix="Change the schema.")
    # Validators divide doubles, which have no exact 0.01: by that, many of its multiples are none.
    if step > MOST_STEP or step * 4 % 1:
        raise EngineError(
            f"multipleOf can be kept to if it is a multiple of 0.25 up to {MOST_STEP}.",
            code="bad_request",
            fix="Change the schema.",
        )
    scale = max(0, -int(step.normalize().as_tuple().exponent))
    scaled = int(step.scaleb(scale))
    return scaled, scale


def _sign(value: int) -> int:
    return (value > 0) - (value < 0)
