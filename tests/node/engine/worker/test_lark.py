"""What is spelled by its characters is the same for an automaton and for llguidance's expressions."""

from __future__ import annotations

import json
import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.engine.protocol import EngineError
from node.engine.worker.lark import lark
from node.engine.worker.regular.automaton import Automaton
from node.engine.worker.regular.charsets import TEXT, contains
from node.engine.worker.regular.expression import Search, texts
from node.engine.worker.regular.formats import PATTERNS
from node.engine.worker.regular.patterns import parsed
from node.engine.worker.regular.ranges import Range, numbers
from node.engine.worker.schema.shapes import Shape, Spelled
from node.engine.worker.tokens import TokenTable
from tests.node.engine.worker.regular.drawing import drawn, unless_empty
from tests.node.engine.worker.regular.test_patterns import patterns
from tests.node.engine.worker.regular.test_ranges import BOUNDS

END = 256
BYTES = TokenTable([*(bytes([byte]) for byte in range(256)), None], ())


def takes(shape: Shape, text: str) -> bool:
    """Whether a text is a whole value of a shape."""
    matcher = BYTES.matcher(lark(shape, {}))
    for byte in text.encode():
        if byte not in matcher.allowed():
            return False
        matcher.take(byte)
    return END in matcher.allowed()


def quoted(text: str) -> str:
    """A text as JSON, with no more backslashes than it needs."""
    return json.dumps(text, ensure_ascii=False)


def spelled(search: Search) -> tuple[Spelled, Automaton] | None:
    found = unless_empty(lambda: texts(search.expressions, search.least, search.most, "the pattern"))
    return None if found is None else (Spelled(search=search), found)


@settings(max_examples=150, deadline=None)
@given(patterns(), st.lists(st.text('ab-.\\"é1 ,c', max_size=6), max_size=8), st.integers(0, 2**32))
def test_a_pattern_takes_the_texts_of_its_automaton_and_no_others(pattern, candidates, seed):
    made = spelled(Search((parsed(pattern),)))
    if made is None:
        return
    shape, found = made
    dice = random.Random(seed)
    own = [text for text in (drawn(found, dice) for _ in range(4)) if text is not None]
    try:
        assert [text for text in own if not takes(shape, quoted(text))] == []
    except EngineError:
        # Edges that leave nothing before or behind one another leave llguidance no expression.
        assert re.search(r"[$^].*[$^]", pattern)
        return
    assert {text: takes(shape, quoted(text)) for text in candidates} == {text: found.takes(text) for text in candidates}


@settings(max_examples=40, deadline=None)
@given(patterns(), patterns(), st.tuples(st.integers(0, 4), st.integers(0, 6)).map(sorted), st.integers(0, 2**32))
def test_several_patterns_and_a_length_hold_at_once(one, other, lengths, seed):
    made = spelled(Search((parsed(one), parsed(other)), *lengths))
    if made is None or re.search(r"[$^].*[$^]", one + other):
        return
    shape, found = made
    dice = random.Random(seed)
    for _ in range(4):
        text = drawn(found, dice)
        assert text is not None
        assert takes(shape, quoted(text))
        assert not takes(shape, quoted(text + "a" * 7))


@pytest.mark.parametrize(
    ("pattern", "taken", "refused"),
    [
        ("^a|b$", ["a", "ax", "xb", "ab"], ["ba", "xax"]),
        ("(^|,)a(,|$)", ["a", "a,", ",a", "x,a,x"], ["xa", "ax", "xax"]),
        ("(^a|b){2}$", ["ab", "xbb", "bb"], ["xab", "b", "a"]),
        ("(^|a){2}b", ["b", "ab", "xaab"], ["xb", "xab"]),
        ("(^a)?b", ["ab", "b", "xab"], ["a", ""]),
        ("x(b|$)*", ["x", "xb", "xbb", "axc"], ["b", ""]),
        ("^(a|^)$", ["", "a"], ["b", "aa"]),
        ("^(?:a$)?$", ["", "a"], ["b"]),
    ],
)
def test_edges_mean_the_same_wherever_they_stand(pattern, taken, refused):
    shape = Spelled(search=Search((parsed(pattern),)))
    assert [text for text in taken if not takes(shape, quoted(text))] == []
    assert [text for text in refused if takes(shape, quoted(text))] == []


def test_alternatives_at_edges_are_counted():
    many = parsed("(^|a|b)" * 9 + "(c|$)" * 9)
    with pytest.raises(EngineError, match="too many ways"):
        lark(Spelled(search=Search((many,))), {})


@pytest.mark.parametrize("name", PATTERNS)
def test_what_is_of_a_format_is_taken(name):
    made = spelled(Search((parsed(PATTERNS[name]),)))
    assert made is not None
    shape, found = made
    dice = random.Random(name)
    for _ in range(30):
        text = drawn(found, dice)
        assert text is not None
        assert takes(shape, quoted(text))
        for other in (f"{text} ", f" {text}", f"{text}\\"):
            assert takes(shape, quoted(other)) is found.takes(other)


@settings(max_examples=40, deadline=None)
@given(BOUNDS, BOUNDS, st.booleans(), st.sampled_from(["0123456789", "0123456789.", "-.019"]), st.integers(0, 2**32))
def test_a_range_takes_the_numbers_of_its_automaton_and_no_others(low, high, whole, signs, seed):
    found = unless_empty(lambda: numbers(Range(low, high, whole=whole), "the bounds"))
    if found is None:
        return
    dice = random.Random(seed)
    own = [drawn(found, dice) for _ in range(5)]
    others = ["".join(dice.choices(signs, k=dice.randint(1, 6))) for _ in range(5)]
    assert [text for text in own if text is None or not takes(Spelled(found), text)] == []
    assert {text: takes(Spelled(found), text) for text in others} == {text: found.takes(text) for text in others}


@pytest.mark.parametrize("char", ["\n", "\t", '"', "\\", "/", "é", "😀", "\x7f", "\x00", "\u2028", "'"])
def test_characters_are_written_in_one_way(char):
    shape = Spelled(search=Search((parsed(""),)))
    assert takes(shape, quoted(char)) is contains(TEXT, ord(char))
    assert not takes(shape, f'"\\u{ord(char[0]):04x}"') or ord(char) > 0xFFFF
