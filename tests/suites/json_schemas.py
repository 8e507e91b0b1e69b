"""JSON-Schema-Test-Suite and JSONSchemaBench: which schemas an answer is held to, and which instances it can be."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import llguidance

from node.engine.protocol import EngineError
from node.engine.worker.grammar import CPU_SECONDS
from node.engine.worker.lark import lark
from node.engine.worker.schema.reducer import reduced
from node.engine.worker.tokens import MAX_LEXER_STATES, MAX_STEP_ITEMS
from tests.suites.row import Row, SourceError, Sources
from tests.suites.sdist import ROOT

VECTORS = ROOT / "tests" / "vectors" / "json-schema-test-suite" / "draft2020-12"
DRAFT = "https://json-schema.org/draft/2020-12/schema"
MOST_STEPS = 200
"""Keys tried in all orders of one instance's properties."""
END = 256
STRICTLY = {"whitespace_flexible": False, "whitespace_pattern": " ?", "lenient": False, "coerce_one_of": False}


@dataclass(frozen=True)
class Case:
    """A schema with its instances: the value, and whether it is valid."""

    name: str
    schema: Any
    instances: list[tuple[Any, bool]]


@dataclass
class Tally:
    """What was found of some cases."""

    counts: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Count another one in."""
        self.counts += other.counts
        self.refusals += other.refusals
        self.wrong += other.wrong


class _Bytes:
    is_tokenizer_wrapper = True
    bos_token_id = None
    tokens = [*(bytes([byte]) for byte in range(255)), b"\xff\xff", b"\xff<end>"]
    special_token_ids = [END]
    eos_token_id = END

    def __call__(self, _text: Any) -> list[int]:
        return []


_TOKENIZER = llguidance.LLTokenizer(_Bytes(), n_vocab=END + 1, eos_token=[END])  # type: ignore[arg-type]
_LIMITS = llguidance.LLParserLimits(
    max_lexer_states=MAX_LEXER_STATES, step_max_items=MAX_STEP_ITEMS, verbose_errors=False
)


def suite_rows(sources: Sources) -> Iterator[Row]:
    """JSON-Schema-Test-Suite, draft 2020-12."""
    named = sources.shared / "json-schema-test-suite" / "tests" / "draft2020-12"
    folder = named if named.is_dir() else VECTORS
    cases = [
        Case(
            f"{file.stem}: {group['description']}",
            {"$schema": DRAFT} | group["schema"] if isinstance(group["schema"], dict) else group["schema"],
            [(test["data"], test["valid"]) for test in group["tests"]],
        )
        for file in sorted(folder.glob("**/*.json"))
        for group in json.loads(file.read_text())
    ]
    yield from _table("2020-12", cases, taken=0.78, valid=0.84)


def bench_rows(sources: Sources) -> Iterator[Row]:
    """JSONSchemaBench, with the instances of its MaskBench."""
    if sources.schemas is None:
        raise SourceError("name a copy of JSONSchemaBench: SCHEMAS=…/maskbench/data")
    folders = (sources.schemas, sources.schemas / "maskbench" / "data", sources.schemas / "data")
    folder = next((one for one in folders if any(one.glob("*---*.json"))), None)
    if folder is None:
        raise SourceError(f"there are no schemas of MaskBench in {sources.schemas}.")
    cases = []
    for file in sorted(folder.glob("*.json")):
        found = json.loads(file.read_text())
        cases.append(Case(file.stem, found["schema"], [(test["data"], test["valid"]) for test in found["tests"]]))
    yield from _table("JSONSchemaBench", cases, taken=0.9, valid=0.96)


def _table(name: str, cases: list[Case], *, taken: float, valid: float) -> Iterator[Row]:
    for who, grammar in (("", _ours), (", llguidance alone", _theirs)):
        aims = (taken, valid) if grammar is _ours else (0.0, 0.0)
        yield from _lines(f"{name}{who}", _tried(cases, grammar), *aims, is_ours=grammar is _ours)


def _lines(name: str, found: Tally, taken: float, valid: float, *, is_ours: bool) -> Iterator[Row]:
    counts = found.counts
    schemas, good, wrong = counts["schemas"], counts["valid"], counts["invalid"]
    why = "; ".join(f"{count} {reason}" for reason, count in found.refusals.most_common(4))
    yield Row(
        what=f"{name}: schemas taken",
        tried=schemas,
        passed=counts["taken"],
        least=int(taken * schemas),
        note=f"{_share(counts['taken'], schemas)} (refused: {why})",
    )
    note = f"accepted: {'; '.join(found.wrong[:3])}" if found.wrong else ""
    yield Row(
        what=f"{name}: invalid refused",
        tried=wrong,
        passed=wrong - len(found.wrong),
        least=None if is_ours else 0,
        note=note,
    )
    yield Row(
        what=f"{name}: valid writable as they are",
        tried=good,
        passed=counts["written"],
        least=int(valid * good),
        note=f"{_share(good - counts['written'], good)} refused",
    )
    yield Row(
        what=f"{name}: valid writable in some order",
        tried=good,
        passed=counts["reordered"],
        least=0,
        note=f"{_share(good - counts['reordered'], good)} refused",
    )


def _share(part: int, whole: int) -> str:
    return f"{100 * part / max(1, whole):.2f} %"


def _tried(cases: list[Case], grammar: Callable[[Any], str]) -> Tally:
    tally = Tally()
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for found in pool.map(_case, cases, [grammar] * len(cases), chunksize=20):
            tally.add(found)
    return tally


def _case(case: Case, grammar: Callable[[Any], str]) -> Tally:
    """One schema with its instances, in as much processor time as a schema's process has."""
    tally = Tally(Counter(schemas=1))
    signal.signal(signal.SIGPROF, _late)
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    try:
        matcher = llguidance.LLMatcher(
            _TOKENIZER, f'%llguidance {{"no_forcing": true}}\n{grammar(case.schema)}', log_level=0, limits=_LIMITS
        )
        if matcher.is_error():
            raise EngineError(f"llguidance: {matcher.get_error().splitlines()[0]}", code="bad_request")
    except (EngineError, RecursionError, TimeoutError) as error:
        tally.refusals[str(error).split(" (at")[0][:70]] += 1
        return tally
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    tally.counts["taken"] += 1
    for value, is_valid in case.instances:
        _instance(case, matcher, value, tally, is_valid=is_valid)
    return tally


def _late(_number: int, _frame: FrameType | None) -> None:
    raise TimeoutError("takes too much time")


def _instance(case: Case, matcher: Any, value: Any, tally: Tally, *, is_valid: bool) -> None:
    try:
        text = json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        # Half a character is no text that an answer can be.
        return
    tally.counts["valid" if is_valid else "invalid"] += 1
    as_it_is = _after(matcher, text)
    is_writable = as_it_is is not None and as_it_is.is_accepting()
    budget = [MOST_STEPS]
    in_some_order = is_writable or any(one.is_accepting() for one in _written(matcher, value, budget))
    if is_valid:
        tally.counts["written"] += is_writable
        tally.counts["reordered"] += in_some_order
    elif in_some_order:
        tally.wrong.append(f"{case.name}: {text.decode()[:80]}")


def _after(matcher: Any, text: bytes) -> Any:
    """Where an answer stands after a text; None if it can't have it."""
    if matcher.validate_tokens(list(text)) < len(text):
        return None
    copied = matcher.deep_copy()
    copied.consume_tokens(list(text))
    return copied


def _written(matcher: Any, value: Any, budget: list[int]) -> Iterator[Any]:
    """Where an answer may stand after a value, its properties in any order."""
    if isinstance(value, dict) and value:
        opened = _after(matcher, b"{")
        yield from () if opened is None else _members(opened, value, list(value), "", budget)
    elif isinstance(value, list) and value:
        yield from _items(matcher, value, "[", budget)
    else:
        found = _after(matcher, json.dumps(value, ensure_ascii=False).encode())
        yield from () if found is None else (found,)


def _members(matcher: Any, value: dict[str, Any], left: list[str], before: str, budget: list[int]) -> Iterator[Any]:
    if not left:
        found = _after(matcher, b"}")
        yield from () if found is None else (found,)
    for name in left:
        budget[0] -= 1
        if budget[0] < 0:
            return
        found = _after(matcher, f"{before}{json.dumps(name, ensure_ascii=False)}: ".encode())
        rest = [one for one in left if one != name]
        for behind in () if found is None else _written(found, value[name], budget):
            yield from _members(behind, value, rest, ", ", budget)


def _items(matcher: Any, value: list[Any], before: str, budget: list[int]) -> Iterator[Any]:
    if not value:
        found = _after(matcher, b"]")
        yield from () if found is None else (found,)
        return
    found = _after(matcher, before.encode())
    for behind in () if found is None else _written(found, value[0], budget):
        yield from _items(behind, value[1:], ", ", budget)


def _ours(schema: Any) -> str:
    found = reduced(json.dumps(schema, ensure_ascii=False, separators=(",", ":")))
    return lark(found.root, found.shared)


def _theirs(schema: Any) -> str:
    # Its options stand in the schema, so one that is true or false needs something around it.
    whole = schema if isinstance(schema, dict) else {"allOf": [schema]}
    return f"start: %json {json.dumps(whole | {'x-guidance': STRICTLY})}"
