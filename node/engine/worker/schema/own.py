"""What the keywords of one schema say themselves, without those that bring in other schemas for the same value."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from node.engine.worker.regular.formats import PATTERNS
from node.engine.worker.schema.document import Document
from node.engine.worker.schema.keywords import KNOWN, Limits, bad, bounds, decimal, shown
from node.engine.worker.schema.parts import (
    ALL,
    Arrays,
    End,
    Goal,
    Members,
    Mode,
    Numbers,
    Objects,
    Part,
    Row,
    Texts,
    Values,
    both,
)

_BITS = {f"{sign}{bits}": (sign, bits) for sign in ("int", "uint") for bits in (8, 16, 32, 64)}


class Own:
    """Reads one schema's own keywords.

    Args:
        document: What it is a part of.
        asked: The schema.
        base: The address that its references are relative to.
        mode: `Mode.HELD`, or `Mode.MAYBE` to leave out what a validator might pass over.
        limits: How large it may be.
    """

    def __init__(self, document: Document, asked: dict[str, Any], base: str, mode: Mode, limits: Limits) -> None:
        self._document = document
        self._asked = asked
        self._base = base
        self._mode = mode
        self._limits = limits
        self._maybe = mode is Mode.MAYBE

    def part(self) -> Part | None:
        """All of them; None if they leave nothing.

        Raises:
            EngineError: With code ``bad_request`` if one is malformed.
        """
        types, whole = types_of(self._asked)
        values: list[Any] | None = None
        if self._says("enum"):
            values = self._asked["enum"]
            if not isinstance(values, list) or not values:
                raise bad("enum needs a list of values.")
        found = Part(
            types,
            None if values is None else Values.of(values),
            numbers=self._numbers(whole=whole),
            texts=self._texts(),
            objects=self._objects(),
            arrays=self._arrays(),
        )
        if self._says("const"):
            return found.met(Part(values=Values.of([self._asked["const"]])))
        return found.met(Part())

    def goal(self, schema: Any) -> Goal:
        """What a value inside must be."""
        if schema is True or schema == {}:
            return ()
        return ((self._document.inner(schema, self._base), self._mode),)

    def _says(self, key: str) -> bool:
        return key in self._asked and (not self._maybe or self._document.says(key))

    def _numbers(self, *, whole: bool) -> Numbers:
        lows: list[End] = []
        highs: list[End] = []
        for key, ends in (("minimum", lows), ("maximum", highs)):
            over = f"exclusiveM{key[1:]}"
            # Draft 4 says by true or false whether the bound itself is left out.
            excluded = self._asked.get(over) is True
            if self._says(key):
                ends.append(End(decimal(self._asked[key], key), excluded and not self._maybe))
            if over in self._asked and not isinstance(self._asked[over], bool) and self._says(over):
                ends.append(End(decimal(self._asked[over], over), excluded=True))
        named = self._asked.get("format")
        if whole and not self._maybe and isinstance(named, str) and named in _BITS:
            sign, bits = _BITS[named]
            half = 2 ** (bits - 1)
            lows.append(End(Decimal(-half if sign == "int" else 0)))
            highs.append(End(Decimal(half - 1 if sign == "int" else 2 * half - 1)))
        steps: tuple[Decimal, ...] = ()
        if "multipleOf" in self._asked:
            steps = (decimal(self._asked["multipleOf"], "multipleOf"),)
            if steps[0] <= 0:
                raise bad("multipleOf is a number above 0.")
            if self._maybe and steps[0] % 1:
                # Validators divide doubles, each in its own way.
                steps = ()
        return Numbers(tuple(lows), tuple(highs), steps, whole)

    def _texts(self) -> Texts:
        least, most = bounds(self._asked, "minLength", "maxLength", self._limits)
        pattern, named = self._asked.get("pattern"), self._asked.get("format")
        if pattern is not None and not isinstance(pattern, str):
            raise bad("A pattern is a regular expression as text.")
        if self._maybe:
            return Texts(least, most)
        # A format that is not JSON Schema's is a note to people.
        formats = (named,) if isinstance(named, str) and named in PATTERNS else ()
        return Texts(least, most, () if pattern is None else (pattern,), (), formats)

    def _objects(self) -> Objects:
        asked = self._asked
        named, forms = asked.get("properties", {}), asked.get("patternProperties", {})
        if not isinstance(named, dict) or not isinstance(forms, dict):
            raise bad("properties and patternProperties are objects.")
        if len(named) > self._limits.properties:
            raise bad(f"An object may declare {self._limits.properties} properties.")
        members: tuple[Members, ...] = ()
        if named or forms or "additionalProperties" in asked:
            rest = asked.get("additionalProperties")
            members = (
                Members(
                    tuple((name, self.goal(one)) for name, one in named.items()),
                    tuple((form, self.goal(one)) for form, one in forms.items()),
                    None if "additionalProperties" not in asked else self.goal(rest),
                    maybe=self._maybe,
                ),
            )
        names = self.goal(asked["propertyNames"]) if self._says("propertyNames") else ()
        least, most = bounds(asked, "minProperties", "maxProperties", self._limits)
        return Objects(members, required_of(asked), names, least, most)

    def _arrays(self) -> Arrays:
        asked = self._asked
        first: Any = ()
        key = "items"
        if isinstance(asked.get(key), list):
            first, key = asked[key], "additionalItems"
            if self._maybe and not self._document.says("listed items"):
                first, key = (), ""
        if self._says("prefixItems"):
            if not isinstance(asked["prefixItems"], list) or isinstance(asked.get("items"), list):
                raise bad("prefixItems needs a list of schemas, and items are one schema then.")
            first = asked["prefixItems"]
        rows: tuple[Row, ...] = ()
        if first or key in asked:
            rest = self.goal(asked[key]) if key in asked else None
            goals = tuple(map(self.goal, first))
            if "prefixItems" in asked and not self._document.says("prefixItems"):
                # Before it was a keyword, all items were those of `items`.
                goals = tuple(both(one, rest or ()) for one in goals)
            rows = (Row(goals, rest),)
        holds = (self.goal(asked["contains"]),) if self._says("contains") and "minContains" not in asked else ()
        distinct = asked.get("uniqueItems", False)
        if not isinstance(distinct, bool):
            raise bad("uniqueItems is true or false.")
        least, most = bounds(asked, "minItems", "maxItems", self._limits)
        return Arrays(rows, holds, distinct, least, most)


def types_of(asked: dict[str, Any]) -> tuple[frozenset[str], bool]:
    """The types that a schema names, all if it names none, and whether its numbers are whole.

    Raises:
        EngineError: With code ``bad_request`` if JSON has no such type.
    """
    if "type" not in asked:
        return ALL, False
    given = asked["type"] if isinstance(asked["type"], list) else [asked["type"]]
    for one in given:
        if not isinstance(one, str) or one not in KNOWN:
            raise bad(f"A part of the JSON schema has no type that JSON has: {shown(str(one))}")
    if not given:
        raise bad("A part of the JSON schema has no type that JSON has.")
    whole = "integer" in given and "number" not in given
    return frozenset("number" if one == "integer" else one for one in given), whole


def required_of(asked: dict[str, Any]) -> tuple[str, ...]:
    """The names of the properties that a schema requires.

    Raises:
        EngineError: With code ``bad_request`` if they are no list of names.
    """
    required = asked.get("required", [])
    if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
        raise bad("What is required is a list of names (required).")
    return tuple(required)
