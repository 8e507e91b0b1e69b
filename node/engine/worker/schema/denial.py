"""What a schema does not allow, as alternatives: a value that meets one of them surely breaks one of its keywords.

A keyword gives none where validators differ, or where no answer could be held to the opposite: fewer values are
written then, never a wrong one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from node.engine.protocol import EngineError
from node.engine.worker.regular.patterns import parsed
from node.engine.worker.schema.document import Document
from node.engine.worker.schema.keywords import Limits, bad, bounds, decimal
from node.engine.worker.schema.own import required_of, types_of
from node.engine.worker.schema.parts import (
    ALL,
    ANY,
    Arrays,
    End,
    Goal,
    Members,
    Mode,
    Numbers,
    Objects,
    Part,
    Row,
    Term,
    Texts,
    Values,
)

_NUMBER = frozenset({"number"})
_STRING = frozenset({"string"})
_OBJECT = frozenset({"object"})
_ARRAY = frozenset({"array"})


@dataclass(frozen=True)
class Denial:
    """Reads what schemas don't allow.

    Args:
        document: What the schemas are parts of.
        limits: How large a schema may be.
        alternatives: Reads a part of the document in some way.
        product: What meets one of some alternatives and one of others.
    """

    document: Document
    limits: Limits
    alternatives: Callable[[Term], list[Part]]
    product: Callable[[Iterable[Part], Iterable[Part]], list[Part]]

    def parts(self, asked: dict[str, Any], base: str) -> Iterator[Part]:
        """The alternatives by which a value breaks a schema that is no reference.

        Raises:
            EngineError: With code ``bad_request`` if a keyword is malformed.
        """
        if "type" in asked:
            # A number with a part behind its point is no whole one; it is left out here.
            types, _ = types_of(asked)
            if types != ALL:
                yield Part(types=ALL - types)
        for key in ("enum", "const"):
            if key in asked and self.document.says(key):
                found = asked[key] if key == "enum" else [asked[key]]
                if not isinstance(found, list):
                    raise bad("enum needs a list of values.")
                yield Part(excluded=Values.of(found))
        yield from self._numbers(asked)
        yield from self._texts(asked)
        yield from self._objects(asked, base)
        yield from self._arrays(asked, base)
        yield from self._joined(asked, base)

    def _term(self, schema: Any, base: str, mode: Mode) -> Term:
        return self.document.inner(schema, base), mode

    def _goal(self, schema: Any, base: str) -> Goal:
        """What a value inside must be to break a schema; nothing where it can't."""
        return () if schema in (True, {}) else (self._term(schema, base, Mode.DENIED),)

    def _numbers(self, asked: dict[str, Any]) -> Iterator[Part]:
        for key, over, low in (("minimum", "exclusiveMinimum", True), ("maximum", "exclusiveMaximum", False)):
            ends = []
            if key in asked:
                # Draft 4 says by true whether the bound itself is left out; others don't.
                ends.append(End(decimal(asked[key], key), excluded=True))
            if over in asked and not isinstance(asked[over], bool) and self.document.says(over):
                ends.append(End(decimal(asked[over], over)))
            for end in ends:
                yield Part(types=_NUMBER, numbers=Numbers(highs=(end,)) if low else Numbers(lows=(end,)))

    def _texts(self, asked: dict[str, Any]) -> Iterator[Part]:
        least, most = bounds(asked, "minLength", "maxLength", self.limits)
        if least:
            yield Part(types=_STRING, texts=Texts(most=least - 1))
        if most is not None:
            yield Part(types=_STRING, texts=Texts(least=most + 1))
        if isinstance(asked.get("pattern"), str):
            try:
                parsed(asked["pattern"], widely=True)
            except EngineError:
                return
            yield Part(types=_STRING, texts=Texts(without=(asked["pattern"],)))

    def _objects(self, asked: dict[str, Any], base: str) -> Iterator[Part]:
        nothing: Goal = ((self.document.number(False, ""), Mode.HELD),)
        for name in required_of(asked):
            forbidden = Members(((name, nothing),), evaluates=False)
            yield Part(types=_OBJECT, objects=Objects((forbidden,)))
        for name, schema in _named(asked, "properties"):
            goal = self._goal(schema, base)
            if goal:
                broken = Members(((name, goal),), evaluates=False)
                yield Part(types=_OBJECT, objects=Objects((broken,), required=(name,)))
        least, most = bounds(asked, "minProperties", "maxProperties", self.limits)
        if least:
            yield Part(types=_OBJECT, objects=Objects(most=least - 1))
        if most is not None:
            yield Part(types=_OBJECT, objects=Objects(least=most + 1))
        for key in ("dependencies", "dependentRequired", "dependentSchemas"):
            if not self.document.says(key):
                continue
            for name, needed in _named(asked, key):
                having = Part(types=_OBJECT, objects=Objects(required=(name,)))
                schema = {"required": needed} if isinstance(needed, list) else needed
                yield from self.product([having], self.alternatives(self._term(schema, base, Mode.DENIED)))

    def _arrays(self, asked: dict[str, Any], base: str) -> Iterator[Part]:
        least, most = bounds(asked, "minItems", "maxItems", self.limits)
        if least:
            yield Part(types=_ARRAY, arrays=Arrays(most=least - 1))
        if most is not None:
            yield Part(types=_ARRAY, arrays=Arrays(least=most + 1))
        items = asked.get("items", True)
        if not isinstance(items, list) and "prefixItems" not in asked:
            goal = self._goal(items, base)
            if goal:
                yield Part(types=_ARRAY, arrays=Arrays(holds=(goal,)))
        if "contains" in asked and self.document.says("contains") and "minContains" not in asked:
            yield Part(types=_ARRAY, arrays=Arrays((Row((), self._inner(asked["contains"], base)),)))

    def _inner(self, schema: Any, base: str) -> Goal:
        return (self._term(schema, base, Mode.DENIED),)

    def _joined(self, asked: dict[str, Any], base: str) -> Iterator[Part]:
        def denied(schema: Any) -> list[Part]:
            return self.alternatives(self._term(schema, base, Mode.DENIED))

        def held(schema: Any) -> list[Part]:
            try:
                return self.alternatives(self._term(schema, base, Mode.HELD))
            except EngineError:
                # What no answer can be held to leaves one way less to break the schema around it.
                return []

        for part in _listed(asked, "allOf"):
            yield from denied(part)
        for key in ("anyOf", "oneOf"):
            if key in asked:
                # A value that meets none of them meets not one of them either.
                ways = [ANY]
                for part in _listed(asked, key):
                    ways = self.product(ways, denied(part))
                yield from ways
        if "not" in asked:
            yield from held(asked["not"])
        if "if" in asked and self.document.says("if"):
            if "then" in asked:
                yield from self.product(held(asked["if"]), denied(asked["then"]))
            if "else" in asked:
                yield from self.product(denied(asked["if"]), denied(asked["else"]))


def _named(asked: dict[str, Any], key: str) -> Iterable[tuple[str, Any]]:
    found = asked.get(key, {})
    if not isinstance(found, dict):
        raise bad(f"{key} is an object.")
    return found.items()


def _listed(asked: dict[str, Any], key: str) -> list[Any]:
    found = asked.get(key, [])
    if not isinstance(found, list):
        raise bad(f"{key} needs a list of schemas.")
    return found
