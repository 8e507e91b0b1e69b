"""What the measurement of schemas counts: on the published suite, on random schemas, and on hostile ones.

``tests/vectors/json-schema-test-suite`` is draft 2020-12 of github.com/json-schema-org/JSON-Schema-Test-Suite at
44401e0, as published, with its licence beside it.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.schema_cases import hostile_schemas, random_schema
from bench.schema_hostile import cost_of
from bench.schema_sides import Side, load_vocabulary, sides
from bench.schemas import Alphabet, mask_times, of_random_schemas, of_the_suite
from node.engine.worker.vocabulary import Vocabulary
from tests.node.engine.tiny import write_tiny

SUITE = Path(__file__).parents[1] / "vectors" / "json-schema-test-suite" / "draft2020-12"
TAKEN = 214
"""Of the suite's 461 schemas: the others have keywords, references or formats that an answer can't be held to."""


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Vocabulary:
    return load_vocabulary(write_tiny(tmp_path_factory.mktemp("models") / "tiny.gguf"))


@pytest.fixture(scope="module")
def alphabet(vocabulary: Vocabulary) -> Alphabet:
    return Alphabet(vocabulary)


@pytest.fixture
def worker(vocabulary: Vocabulary) -> Side:
    """As this node's own worker does it."""
    return sides(vocabulary)[0]


def test_what_the_suite_calls_invalid_can_not_be_written(worker, alphabet):
    (tally,) = of_the_suite([worker], alphabet, SUITE)
    assert tally.wrong == []
    assert tally.counts["invalid"] > 500
    assert tally.counts["taken"] >= TAKEN
    assert tally.counts["schemas"] == sum(len(json.loads(path.read_text())) for path in SUITE.glob("**/*.json"))


def test_answers_to_random_schemas_validate_and_both_notations_take_them(vocabulary, alphabet):
    ours, llama = of_random_schemas(sides(vocabulary)[:2], alphabet, range(60))
    assert (ours.wrong, llama.wrong) == ([], [])
    assert ours.counts["taken"] == llama.counts["taken"] > 30
    assert ours.counts["written"] > 20
    assert ours.counts["asked"] > 10
    assert (ours.counts["not writable"], llama.counts["not writable"]) == (0, 0)


def test_an_answer_that_does_not_validate_is_counted(vocabulary, alphabet):
    """llguidance by itself takes a bound for one of its range's numbers, and any number of days for February."""
    alone = sides(vocabulary)[2]
    grammar = alone.grammar('{"type": "number", "exclusiveMinimum": 35, "maximum": 35.5}')
    with alone.begin(grammar) as held:
        for byte in b"35":
            held.take(alphabet.of_byte[byte])
        assert not alphabet.ends.isdisjoint(held.allowed().tolist())
    (tally,) = of_the_suite([alone], alphabet, SUITE / "optional" / "format")
    assert any("2021-02-29" in line for line in tally.wrong)


def test_a_schema_of_a_number_is_always_the_same_and_others_differ():
    assert [random_schema(number) for number in range(50)] == [random_schema(number) for number in range(50)]
    assert len({json.dumps(random_schema(number)) for number in range(50)}) > 40


@pytest.mark.parametrize("name", hostile_schemas())
def test_no_hostile_schema_ends_the_process_that_reads_it_or_holds_its_answers(worker, alphabet, name):
    cost = cost_of(worker, hostile_schemas()[name], alphabet.pieces, alphabet.ends)
    assert not cost.ended
    assert cost.memory_mib < 300


def test_each_token_of_the_measured_schemas_is_timed(worker, alphabet):
    assert all(microseconds >= 0 for microseconds in mask_times(worker, alphabet))
