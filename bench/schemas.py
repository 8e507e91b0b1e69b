"""``python -m bench.schemas``: how well and how fast answers are held to JSON schemas, our way beside two others.

What a schema allows is asked of `jsonschema`, with its checks of formats. ``--suite`` names a copy of the published
JSON-Schema-Test-Suite (its folder ``draft2020-12``); without it the suite's figures are left out.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from bench.make_model import SHAPES, make_model
from bench.report import Result, median_of, report
from bench.schema_cases import hostile_schemas, random_schema
from bench.schema_hostile import Cost, cost_of
from bench.schema_sides import Side, load_vocabulary, sides
from node.engine.protocol import EngineError
from node.engine.worker.vocabulary import Vocabulary

SCHEMAS = 500
SAMPLED_TOKENS = 400
SPEED_TOKENS = 120
MOST_ORDERS = 24
SPEED_SCHEMAS = {
    "person": {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "age": {"type": "integer"},
            "tags": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["name", "age", "tags"],
    },
    "pattern": {
        "type": "object",
        "properties": {
            "id": {"type": "string", "pattern": "^[a-z]{2,8}( [a-z]{2,8}){3,9}$"},
            "at": {"type": "string", "format": "date-time"},
        },
        "required": ["id", "at"],
    },
    "numbers": {
        "type": "array",
        "items": {"type": "number", "minimum": 0, "maximum": 1000},
        "minItems": 5,
        "maxItems": 30,
    },
    "200 values": {"type": "array", "items": {"enum": [f"item number {n}" for n in range(200)]}, "minItems": 9},
}


class Alphabet:
    """A vocabulary's tokens for single bytes, and those that end an answer."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        pieces = [vocabulary.piece(token) for token in range(vocabulary.size)]
        self.pieces = [piece or b"" for piece in pieces]
        self.ends = frozenset(token for token, piece in enumerate(pieces) if piece is None)
        self.of_byte = {piece[0]: token for token, piece in enumerate(pieces) if piece is not None and len(piece) == 1}
        self.closing = frozenset(self.of_byte[ord(char)] for char in '"}]')


def written(side: Side, grammar: str, alphabet: Alphabet, dice: random.Random) -> str | None:
    """A text of tokens drawn among those that may come, mostly single bytes; None if it doesn't end in time."""
    raw = b""
    with side.begin(grammar) as held:
        for count in range(SAMPLED_TOKENS):
            allowed = held.allowed().tolist()
            others = [token for token in allowed if token not in alphabet.ends]
            if len(others) < len(allowed) and (not others or dice.random() < 0.5):
                return raw.decode()
            closing = [token for token in others if token in alphabet.closing]
            if closing and dice.random() < (0.15 if count < 60 else 0.6):
                token = dice.choice(closing)
            else:
                # llama.cpp takes bytes for characters that are none, and a token that does goes on with no text.
                token = next(
                    (one for one in dice.choices(others, k=50) if _is_text(raw + alphabet.pieces[one])), others[0]
                )
            raw += alphabet.pieces[token]
            held.take(token)
    return None


def _is_text(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        return error.end == len(raw) and error.reason == "unexpected end of data"
    return True


def admits(side: Side, grammar: str, text: str, alphabet: Alphabet) -> bool:
    """Whether a text can be written as a whole, byte by byte."""
    with side.begin(grammar) as held:
        for byte in text.encode():
            token = alphabet.of_byte[byte]
            if token not in held.allowed():
                return False
            held.take(token)
        return not alphabet.ends.isdisjoint(held.allowed().tolist())


@dataclass
class Tally:
    """What one side did with many schemas."""

    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def of_random_schemas(every: Sequence[Side], alphabet: Alphabet, numbers: Iterable[int]) -> list[Tally]:
    """Each side writes an answer to each schema, and is asked to take what the others wrote."""
    tallies = [Tally() for _ in every]
    for number in numbers:
        schema = random_schema(number)
        validator = Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
        grammars = [_grammar(side, json.dumps(schema)) for side in every]
        answers: list[str | None] = [None for _ in every]
        for place, (side, grammar, tally) in enumerate(zip(every, grammars, tallies, strict=True)):
            if grammar is None:
                continue
            tally.counts["taken"] += 1
            text = written(side, grammar, alphabet, random.Random(number))
            if text is None:
                continue
            tally.counts["written"] += 1
            if validator.is_valid(json.loads(text)):
                answers[place] = text
            else:
                tally.counts["invalid"] += 1
                tally.wrong.append(f"{text} for {json.dumps(schema)}")
        for place, (side, grammar, tally) in enumerate(zip(every, grammars, tallies, strict=True)):
            theirs = {text for other, text in enumerate(answers) if text is not None and other != place}
            for text in theirs if grammar is not None else ():
                tally.counts["asked"] += 1
                tally.counts["not writable"] += not admits(side, grammar or "", text, alphabet)
        if number % 500 == 499:
            print(f"schema {number + 1}", file=sys.stderr, flush=True)
    return tallies


def of_the_suite(every: Sequence[Side], alphabet: Alphabet, folder: Path) -> list[Tally]:
    """The published tests: which schemas are taken, and what can be written of their instances."""
    tallies = [Tally() for _ in every]
    for path in sorted(folder.glob("**/*.json")):
        for case in json.loads(path.read_text()):
            for side, tally in zip(every, tallies, strict=True):
                tally.counts["schemas"] += 1
                grammar = _grammar(side, json.dumps(case["schema"]))
                if grammar is None:
                    continue
                tally.counts["taken"] += 1
                for test in case["tests"]:
                    _suite_test(side, grammar, alphabet, test, tally)
    return tallies


def _suite_test(side: Side, grammar: str, alphabet: Alphabet, test: dict[str, Any], tally: Tally) -> None:
    spellings = [text for text in _spellings(test["data"]) if not _has_half_character(text)]
    if not spellings:
        return
    can = any(admits(side, grammar, text, alphabet) for text in spellings)
    tally.counts["valid" if test["valid"] else "invalid"] += 1
    if can != test["valid"]:
        tally.counts["valid, not writable" if test["valid"] else "invalid, writable"] += 1
        if can:
            tally.wrong.append(f"{test['description']}: {spellings[0]}")


def _spellings(value: Any) -> Iterator[str]:
    """How JSON may write a value: properties in any order, and with or without space."""
    orders: Iterator[Any] = iter([value])
    if isinstance(value, dict):
        orders = ({name: value[name] for name in order} for order in itertools.permutations(value))
    for one in itertools.islice(orders, MOST_ORDERS):
        for separators in ((", ", ": "), (",", ":")):
            yield json.dumps(one, ensure_ascii=False, separators=separators)


def _has_half_character(text: str) -> bool:
    return any("\ud800" <= char <= "\udfff" for char in text)


def _grammar(side: Side, schema: str) -> str | None:
    try:
        return side.grammar(schema)
    except (EngineError, RecursionError):
        return None


def mask_times(side: Side, alphabet: Alphabet) -> list[float]:
    """By schema, the median microseconds of what a vocabulary may go on with."""
    medians = []
    for schema in SPEED_SCHEMAS.values():
        dice, times = random.Random(3), []
        with side.begin(side.grammar(json.dumps(schema))) as held:
            for _ in range(SPEED_TOKENS):
                # Of this process alone: a busy machine takes nothing from it.
                began = time.process_time()
                allowed = held.allowed()
                times.append((time.process_time() - began) * 1e6)
                others = [token for token in dice.choices(allowed.tolist(), k=200) if token not in alphabet.ends]
                if not others:
                    break
                held.take(next((token for token in others if alphabet.pieces[token].isascii()), others[0]))
        medians.append(statistics.median(times))
    return medians


def _results(side: Side, tally: Tally, count: int) -> list[Result]:
    def one(metric: str, value: float, unit: str, *, at_most: float | None = None) -> Result:
        return median_of(f"{side.name}: {metric}", [value], unit, against="jsonschema", at_most=at_most)

    counts = tally.counts
    return [
        one(f"taken of {count:,} random schemas", counts["taken"], "schemas"),
        one("answers that don't validate", counts["invalid"], "answers", at_most=0),
        one("answers that ended in time", counts["written"], "answers"),
        one("others' valid answers that can't be written", counts["not writable"], "answers"),
        one("others' valid answers", counts["asked"], "answers"),
    ]


def _suite_results(side: Side, tally: Tally) -> list[Result]:
    def one(metric: str, value: float, unit: str, *, at_most: float | None = None) -> Result:
        against = "JSON-Schema-Test-Suite, draft 2020-12"
        return median_of(f"{side.name}: {metric}", [value], unit, against=against, at_most=at_most)

    counts = tally.counts
    return [
        one(f"taken of the suite's {counts['schemas']} schemas", counts["taken"], "schemas"),
        one(f"of {counts['invalid']} invalid instances writable", counts["invalid, writable"], "", at_most=0),
        one(f"of {counts['valid']} valid instances not writable", counts["valid, not writable"], ""),
    ]


def _hostile_results(side: Side, alphabet: Alphabet) -> list[Result]:
    costs: dict[str, Cost] = {}
    for name, schema in hostile_schemas().items():
        costs[name] = cost_of(side, schema, alphabet.pieces, alphabet.ends)
        print(f"{side.name}, {name}: {costs[name].line()}", file=sys.stderr, flush=True)

    def worst(metric: str, unit: str, values: dict[str, float]) -> Result:
        name = max(values, key=lambda one: values[one])
        return median_of(f"{side.name}: {metric} ({name})", [values[name]], unit, against="hostile schemas")

    return [
        worst("longest reading", "s", {name: one.reading_s for name, one in costs.items()}),
        worst("longest token", "ms", {name: one.token_ms for name, one in costs.items()}),
        worst("most memory", "MiB", {name: one.memory_mib for name, one in costs.items()}),
        median_of(
            f"{side.name}: hostile schemas that end the process",
            [sum(one.ended for one in costs.values())],
            "schemas",
            against=f"{len(costs)} hostile schemas",
            at_most=0,
        ),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the report."""
    parser = argparse.ArgumentParser(prog="python -m bench.schemas", description=__doc__)
    parser.add_argument("--schemas", type=int, default=SCHEMAS, help="random schemas (default: %(default)s)")
    parser.add_argument("--suite", type=Path, help="the suite's folder draft2020-12")
    parser.add_argument("--no-hostile", action="store_true", help="leave out the hostile schemas")
    options = parser.parse_args(arguments)
    vocabulary = load_vocabulary(make_model(SHAPES["41M"]))
    every, alphabet = sides(vocabulary), Alphabet(vocabulary)
    results = []
    for side, tally in zip(every, of_random_schemas(every, alphabet, range(options.schemas)), strict=True):
        results += _results(side, tally, options.schemas)
        print(*tally.wrong[:20], sep="\n", file=sys.stderr)
    if options.suite is not None:
        for side, tally in zip(every, of_the_suite(every, alphabet, options.suite), strict=True):
            results += _suite_results(side, tally)
    vocabulary = load_vocabulary(make_model(SHAPES["0.5B"]))
    alphabet = Alphabet(vocabulary)
    for side in sides(vocabulary):
        metric = f"{side.name}: what may come next, of {vocabulary.size:,} tokens"
        results.append(median_of(metric, mask_times(side, alphabet), "µs", against=", ".join(SPEED_SCHEMAS)))
        if not options.no_hostile:
            results += _hostile_results(side, alphabet)
    print(report("schemas", results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
