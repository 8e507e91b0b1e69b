"""Masks let through tokens that go on with a grammar, of whatever kind a vocabulary has them."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest

from node.engine.protocol import EngineError
from node.engine.worker.lark import lark
from node.engine.worker.schema.reducer import reduced
from node.engine.worker.tokens import TokenTable

PIECES: list[bytes | None] = [b"a", b"b", b"ab", b"", b"\xc3", b"\xa9", "é".encode(), None, None, b"<tool>"]
A, B, AB, CONTROL, FIRST, SECOND, WHOLE, END, TURN_END, NAMED = range(len(PIECES))


def tokens(grammar: str, *before: int, pieces: list[bytes | None] | None = None, silent: tuple[int, ...] = (CONTROL,)):
    matcher = TokenTable(PIECES if pieces is None else pieces, silent).matcher(grammar)
    for token in before:
        matcher.take(token)
    return matcher.allowed().tolist()


def test_every_way_to_cut_a_text_into_tokens_is_open():
    assert tokens('start: "ab" "é"') == [A, AB]
    assert tokens('start: "ab" "é"', AB) == [FIRST, WHOLE]
    assert tokens('start: "ab" "é"', AB, FIRST) == [SECOND]


def test_tokens_of_the_same_bytes_are_all_open():
    twice: list[bytes | None] = [b"a", b"b", b"a", b"ab", b"a", None]
    assert tokens('start: "a" "b" "a"', pieces=twice, silent=()) == [0, 2, 3, 4]
    assert tokens('start: "a" "b" "a"', 4, 1, pieces=twice, silent=()) == [0, 2, 4]


def test_a_token_of_a_thousand_bytes_has_no_place_in_a_format_and_ends_nothing():
    long: list[bytes | None] = [b"a", b"a" * 20_000, b"a" * 1_024, b"a" * 300, None]
    assert tokens("start: /a+/", pieces=long, silent=()) == [0, 3]
    assert tokens("start: /a+/", 3, pieces=long, silent=()) == [0, 3, 4]


def test_each_token_that_ends_an_answer_may_end_it_and_only_a_whole_one():
    assert tokens("start: /a+/") == [A]
    assert tokens("start: /a+/", A) == [A, END, TURN_END]
    assert tokens('start: "a"', A) == [END, TURN_END]


def test_control_tokens_never_come_and_their_bytes_stand_for_nothing():
    assert CONTROL not in tokens("start: /(?s:.*)/")
    assert NAMED not in tokens("start: /(?s:.*)/", silent=(CONTROL, NAMED))
    assert NAMED in tokens("start: /(?s:.*)/")


def test_bytes_that_are_no_text_are_never_begun():
    assert tokens("start: /(?s:.*)/") == [A, B, AB, FIRST, WHOLE, END, TURN_END, NAMED]
    assert SECOND not in tokens("start: /(?s:.*)/")
    assert tokens("start: /(?s:.*)/", FIRST) == [SECOND]


def test_a_vocabulary_without_an_end_has_masks_of_its_own_size():
    assert tokens("start: /a+/", 0, pieces=[b"a", b"b"], silent=()) == [0]
    table = TokenTable([b"a", b"b"] * 16, ())
    assert table.matcher("start: /b+/").best(np.zeros(32, np.float32)) == 1


def test_the_best_is_the_first_of_the_largest_that_may_come():
    matcher = TokenTable(PIECES, (CONTROL,)).matcher("start: /[ab]+/")
    logits = np.array([1, 3, 3, 9, 9, 9, 9, 9, 9, 9], np.float32)
    assert matcher.best(logits) == B
    assert logits[CONTROL] == 9, "the model's own logits stay as they were"
    matcher.take(B)
    assert matcher.best(logits) == END


def test_two_answers_share_a_table_and_nothing_else():
    table = TokenTable(PIECES, (CONTROL,))
    one, other = table.matcher('start: "ab"'), table.matcher('start: "ba"')
    one.take(A)
    assert (one.allowed().tolist(), other.allowed().tolist()) == ([B], [B])
    other.take(B)
    assert (one.allowed().tolist(), other.allowed().tolist()) == ([B], [A])


@pytest.mark.parametrize("ask", ["best", "allowed"])
def test_an_answer_that_can_not_go_on_does_not_end_as_if_it_were_whole(ask):
    matcher = TokenTable(PIECES, (CONTROL,)).matcher(r'start: "a" /[^\s\S]/')
    matcher.take(A)
    with pytest.raises(EngineError, match="no token that continues") as error:
        matcher.best(np.zeros(len(PIECES), np.float32)) if ask == "best" else matcher.allowed()
    assert error.value.code == "engine_failed"


def test_a_token_that_does_not_fit_is_an_error_from_then_on():
    matcher = TokenTable(PIECES, (CONTROL,)).matcher('start: "ab"')
    for _ in range(2):
        with pytest.raises(EngineError, match="no token that continues"):
            matcher.take(B)


def test_a_grammar_that_costs_too_much_says_so():
    rules = "\n".join(f"x{n}: " + " | ".join(f"/[ab]/ x{(n * k + k) % 90}" for k in range(1, 90)) for n in range(90))
    matcher = TokenTable(PIECES, (CONTROL,)).matcher(f"start: x0\n{rules}")

    def go_on() -> None:
        for _ in range(20):
            matcher.allowed()
            matcher.take(A)

    with pytest.raises(EngineError, match="too much time") as error:
        go_on()
    assert error.value.code == "bad_request"
    with pytest.raises(EngineError, match="too much time"):
        matcher.allowed()


def test_a_large_object_of_numbers_that_may_be_left_out_is_no_cost_to_give_up_for():
    # Tokens that end one number, name the next property and begin its number: the parser follows every way of them.
    dice = random.Random(1)
    letters = b'abcdefghijklmnopqrstuvwxyz {}[]",:0123456789'
    words = {bytes(dice.choice(letters) for _ in range(dice.randint(2, 8))) for _ in range(32_000)}
    pieces = [*(bytes([byte]) for byte in range(256)), *sorted(words), None]
    table = TokenTable(pieces, ())
    properties = {f"p{number}": {"type": "integer"} for number in range(150)}
    found = reduced(json.dumps({"type": "object", "properties": properties}))
    grammar = lark(found.root, found.shared)
    for _ in range(15):
        matcher = table.matcher(grammar)
        for _ in range(12):
            token = int(dice.choice(matcher.allowed()))
            if pieces[token] is None:
                break
            matcher.take(token)


@pytest.mark.parametrize("grammar", ["start: a", "start: /(?=a)/", "", 'start: "' + "(" * 2_000])
def test_what_is_no_grammar_is_refused(grammar):
    with pytest.raises(EngineError, match="refuses the format") as error:
        TokenTable(PIECES, (CONTROL,)).matcher(grammar)
    assert error.value.code == "bad_request"
