"""A pattern is found in what its automaton takes, by Python's own regular expressions too; no other text is."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.engine.protocol import EngineError
from node.engine.worker.regular.automaton import Automaton
from node.engine.worker.regular.expression import texts
from node.engine.worker.regular.patterns import parsed
from tests.node.engine.worker.regular.drawing import drawn, unless_empty


def found(*patterns: str, least: int = 0, most: int | None = None) -> Automaton:
    return texts([parsed(one) for one in patterns], least, most, "the pattern")


def patterns() -> st.SearchStrategy[str]:
    single = ["a", "b", "-", r"\.", r"\\", '"', "é", "[ab]", "[^a]", "[^ab-]", "[a-c.]", r"\d", r"[\d-]", r"\x61"]
    leaves = st.sampled_from([*single, "^", "$", r"\w", r"\s", r"\S", r"[^\s,]", r"\u0062", "."])
    signs = st.sampled_from(["*", "+", "?", "*?", "{2}", "{1,3}", "{0,2}", "{2,}"])

    def grown(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        groups = st.tuples(st.sampled_from(["(", "(?:"]), parts).map(lambda pair: f"{pair[0]}{pair[1]})")
        repeats = st.tuples(groups | st.sampled_from(single), signs).map("".join)
        return st.one_of(
            groups,
            repeats,
            st.lists(parts, min_size=1, max_size=3).map("".join),
            st.lists(parts, min_size=2, max_size=3).map("|".join),
        )

    return st.recursive(leaves, grown, max_leaves=6)


@settings(max_examples=200, deadline=None)
@given(patterns(), st.lists(st.text('ab-.\\"é1 ,c', max_size=6), max_size=12), st.integers(0, 2**32))
def test_a_text_is_taken_if_and_only_if_the_pattern_is_found_in_it(pattern, candidates, seed):
    automaton = unless_empty(lambda: found(pattern))
    if automaton is None:
        assert not any(re.search(pattern, one) for one in candidates)
        return
    for text in candidates:
        # \w takes letters of all scripts in Python only, and an answer is in what all validators take.
        assert automaton.takes(text) <= bool(re.search(pattern, text))
        if r"\w" not in pattern or text.isascii():
            assert automaton.takes(text) == bool(re.search(pattern, text))
    dice = random.Random(seed)
    for _ in range(5):
        text = drawn(automaton, dice)
        assert text is None or re.search(pattern, text)
        assert text is None or re.search(pattern, text, re.ASCII)


@settings(max_examples=60, deadline=None)
@given(patterns(), patterns(), st.tuples(st.integers(0, 4), st.integers(0, 6)).map(sorted), st.integers(0, 2**32))
def test_several_patterns_and_a_length_hold_at_once(one, other, lengths, seed):
    least, most = lengths
    automaton = unless_empty(lambda: found(one, other, least=least, most=most))
    if automaton is None:
        return
    dice = random.Random(seed)
    for _ in range(5):
        text = drawn(automaton, dice)
        assert text is not None
        assert least <= len(text) <= most
        assert re.search(one, text)
        assert re.search(other, text)


@pytest.mark.parametrize(
    ("pattern", "taken", "refused"),
    [
        (r"^[A-Z]{3}-\d{4}$", ["ABC-1234"], ["ABC-123", "ABC-12345", "xABC-1234", ""]),
        ("^https://", ["https://", "https://a.b"], ["http://a", " https://"]),
        (r"\.pdf$", [".pdf", "a.pdf"], ["a.pdf ", "apdf"]),
        (r"^(?<year>\d{4})-(\d{2})$", ["2024-05"], ["2024-5"]),
        ("^a|b$", ["a", "ax", "b", "xb", "ab"], ["", "ba", "xax"]),
        (r"^[^\d\s]{2}$", ["ab", "é!"], ["a1", "a ", "٣a"]),
        (r"^\W$", ["-", " "], ["a", "_", "é"]),
        (r"^\D$", ["-", "é", "字"], ["1", "٣"]),
        (r"^(?:\ud83d\ude00|\u{1F601})$", ["😀", "😁"], ["😂"]),
        (r"^a\nb\tc$", ["a\nb\tc"], ["anbtc"]),
        (r"^[\]\\^-]$", ["]", "\\", "^", "-"], ["a"]),
        (r"^\"\-\/\@$", ['"-/@'], [""]),
        ("^.$", ["é", "😀"], ["", "\n", "\u2028"]),
        ("^(a*)*(b?){99}$", ["aab", ""], ["ba"]),
        ("", ["", "x"], []),
        ("^$", [""], ["a"]),
    ],
)
def test_patterns_mean_what_ecmascript_says(pattern, taken, refused):
    automaton = found(pattern)
    assert {text: automaton.takes(text) for text in (*taken, *refused)} == dict.fromkeys(taken, True) | dict.fromkeys(
        refused, False
    )


@pytest.mark.parametrize(
    ("pattern", "line"),
    [
        ("(?=a)b", "lookaround"),
        ("(?<!a)b", "lookaround"),
        ("(?i)a", "lookaround or flags"),
        (r"(a)\1", r"\\1"),
        (r"\bword\b", r"\\b"),
        (r"\p{L}+", r"\\p"),
        (r"\k<a>", r"\\k"),
        (r"\cA", r"\\c"),
        (r"\x1", r"\\x"),
        (r"\00", r"\\0"),
        ("a\\", "a backslash"),
        ("a**", "stands for nothing"),
        ("*a", "stands for nothing"),
        ("a{,3}", r"write \\{"),
        ("a{3,2}", "larger number first"),
        ("a{5000}", "more than 1000 repeats"),
        ("^*a", "repeated"),
        ("(a", "nothing closes"),
        ("a)", "nothing opens"),
        ("[a", "nothing closes"),
        ("[]", "empty class"),
        ("[z-a]", "range"),
        (r"[\d-z]", "range"),
        (r"\u{110000}", "there is not"),
        (r"^\x00$", "only characters"),
        (r"\ud83d", "only characters"),
        ("a^", "Nothing fits"),
        ("(" * 60 + ")" * 60, "in one another"),
        ("a" * 2_001, "2000 characters"),
        ("((a{100}){100}){100}", "too large"),
        ("[01]*1[01]{30}$", "too large"),
    ],
    ids=lambda value: value[:20],
)
def test_what_no_automaton_holds_is_refused(pattern, line):
    with pytest.raises(EngineError, match=line) as error:
        found(pattern)
    assert error.value.code == "bad_request"
