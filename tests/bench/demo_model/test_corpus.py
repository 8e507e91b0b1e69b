import random
import re
from itertools import islice

import pytest

from bench.demo_model.corpus import (
    IDLEWATT_FACTS,
    SMALLTALK,
    arithmetic,
    conversations,
    exchange,
    is_reserved,
    out_of_scope,
)
from bench.demo_model.corpus.arithmetic import COMPARISON, DIFFERENCE, KINDS, SUM, Problem
from bench.demo_model.corpus.wording import every, parse, say, typed, words_of

_EQUATION = re.compile(r"(\d+) ([+-]) (\d+) = (?:(-?\d+ [+-] \d+) = )?(-?\d+)(?:, so (\d+))?\.")


@pytest.fixture(scope="module")
def drawn():
    """What a stretch of training would see, as questions and answers."""
    rng = random.Random("any")
    return [exchange(rng) for _ in range(8_000)]


def test_the_same_seed_writes_the_same_conversations():
    first, second = (list(islice(conversations(random.Random("7"), longest=4), 50)) for _ in range(2))
    assert first == second
    assert first != list(islice(conversations(random.Random("8"), longest=4), 50))


def test_the_sum_of_the_first_run_is_reserved_for_the_evaluation():
    assert Problem(SUM, 17, 25).reserved


@pytest.mark.parametrize("kind", [SUM, COMPARISON])
def test_a_reserved_pair_is_reserved_in_both_orders(kind):
    assert all(
        problem.reserved == Problem(kind, problem.right, problem.left).reserved
        for problem in arithmetic.problems_below(40, kind)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_about_a_tenth_of_all_problems_is_reserved(kind):
    problems = list(arithmetic.problems_below(100, kind))
    assert 0.07 < sum(problem.reserved for problem in problems) / len(problems) < 0.12


def test_training_never_draws_a_reserved_problem():
    rng = random.Random(3)
    assert not any(arithmetic.draw(rng).reserved for _ in range(8_000))


def test_no_training_answer_states_a_reserved_sum_or_difference(drawn):
    stated = re.compile(r"(\d+) ([+-]) (\d+) =")
    texts = [part for _, answer in drawn for part in (answer, answer.partition("=")[2])]
    found = {match.groups() for text in texts for match in stated.finditer(text)}
    problems = [Problem(SUM if sign == "+" else DIFFERENCE, int(left), int(right)) for left, sign, right in found]
    assert len(problems) > 1_000
    assert not any(problem.reserved for problem in problems)


def test_no_training_question_has_the_words_of_a_reserved_question(drawn):
    assert not any(is_reserved(question) for question, _ in drawn)


@pytest.mark.parametrize("fact", IDLEWATT_FACTS + SMALLTALK, ids=lambda fact: fact.name)
def test_a_facts_reserved_questions_are_not_among_its_training_wordings(fact):
    known = {tuple(sorted(words_of(wording))) for wording in fact.wordings()}
    assert known.isdisjoint(tuple(sorted(words_of(question))) for question in fact.reserved)
    assert len(fact.reserved) >= 3


def test_reserved_is_blind_to_order_case_and_punctuation():
    assert is_reserved("IDLEWATT! In one sentence: what is?")
    assert not is_reserved("what is idlewatt")


def test_stated_equations_are_right(drawn):
    for _, answer in drawn:
        if match := _EQUATION.fullmatch(answer):
            left, sign, right, steps, result, distance = match.groups()
            assert int(result) == (int(left) + int(right) if sign == "+" else int(left) - int(right))
            assert distance is None or int(distance) == abs(int(result))
            if steps:
                tens, sign, ones = steps.split()
                assert int(tens) % 10 == 0
                assert int(result) == (int(tens) + int(ones) if sign == "+" else int(tens) - int(ones))


def test_comparisons_say_what_is_so():
    rng = random.Random(5)
    for _ in range(1_500):
        problem = Problem(COMPARISON, rng.randrange(60), rng.randrange(60))
        question, answer = arithmetic.ask(problem, rng)
        assert str(problem.left) in question
        if match := re.search(r"(\d+) is (greater|smaller) than (\d+)", answer):
            assert (int(match[1]) > int(match[3])) == (match[2] == "greater")
            assert int(match[1]) != int(match[3])
        else:
            assert problem.left == problem.right
            assert "equal" in answer


@pytest.mark.parametrize(
    ("left", "right", "answer"),
    [(9, 4, "9 is greater than 4."), (4, 9, "4 is smaller than 9."), (7, 7, "7 and 7 are equal.")],
)
def test_however_a_comparison_is_asked_the_answer_states_how_the_numbers_compare(left, right, answer):
    rng = random.Random(2)
    assert {arithmetic.ask(Problem(COMPARISON, left, right), rng)[1] for _ in range(500)} == {answer}


def test_no_wording_of_one_fact_asks_for_another():
    owner = {}
    for fact in IDLEWATT_FACTS + SMALLTALK:
        for wording in fact.wordings():
            assert owner.setdefault(words_of(wording), fact.name) == fact.name, wording


def test_questions_leave_no_pattern_signs_behind(drawn):
    assert not any(re.search(r"[{}\[\]<|]|=[a-z]", question) for question, _ in drawn)


def test_unknown_things_get_an_honest_answer():
    rng = random.Random(4)
    assert {out_of_scope.ask(rng)[1] for _ in range(300)} == {
        out_of_scope.HONEST,
        out_of_scope.TOO_HARD,
        out_of_scope.IN_DIGITS,
    }


def test_numbers_below_a_hundred_can_be_spelled():
    assert [arithmetic.spelled(number) for number in (0, 7, 19, 20, 42, 99)] == [
        "zero",
        "seven",
        "nineteen",
        "twenty",
        "forty-two",
        "ninety-nine",
    ]


def test_a_pattern_lists_all_that_it_can_say():
    wordings = every("{what is|explain}[ {a|the}] channel")
    rest = ("channel", "a channel", "the channel")
    assert sorted(wordings) == sorted(f"{start} {end}" for start in ("what is", "explain") for end in rest)
    rng = random.Random(1)
    assert {say("{what is|explain}[ {a|the}] channel", rng) for _ in range(300)} == set(wordings)


@pytest.mark.parametrize("pattern", ["{a|b", "a}", "[a", "a|b"])
def test_an_unbalanced_pattern_is_refused(pattern):
    with pytest.raises(ValueError, match=r"unbalanced|never closes"):
        parse(pattern)


def test_typing_noise_keeps_numbers_as_they_are():
    rng = random.Random(6)
    assert all("17 + 25" in typed("what is 17 + 25", rng, wordy=False).lower() for _ in range(300))
