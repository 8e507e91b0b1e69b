"""Makes shapes of what a schema says: one for each goal, so that a schema may hold itself."""

from __future__ import annotations

import json
from typing import Any

from node.engine.protocol import EngineError
from node.engine.worker.schema.arrays import array
from node.engine.worker.schema.keywords import TYPES, Limits, bad, placed, type_of
from node.engine.worker.schema.leaves import number, string
from node.engine.worker.schema.objects import object_of
from node.engine.worker.schema.parts import ANY, Goal, Part
from node.engine.worker.schema.reading import Reader
from node.engine.worker.schema.shapes import Plain, Shape, Shared, Spelled, Union, Values

_LEAVES = (Plain, Values, Spelled)


class Shaper:
    """Makes shapes of goals.

    Args:
        reader: Reads the schema.
        limits: How large it may be.
    """

    def __init__(self, reader: Reader, limits: Limits) -> None:
        self.reader = reader
        self.limits = limits
        self.shared: dict[str, Shape] = {}
        self._made: dict[Goal, Shape | None] = {}
        self._names: dict[Goal, str] = {}
        self.why = ""
        """Why the last goal that was asked for is met by nothing, if it is."""
        self._whys: dict[Goal, str] = {}
        self._awaited: set[str] = set()
        """Names that were referred to before their shape was known."""
        self._named = 0
        self._depth = 0
        self._values = 0
        self._number_states = 0

    def shape(self, goal: Goal) -> Shape | None:
        """The values that meet a goal; None if there are none.

        Raises:
            EngineError: With code ``bad_request`` if an answer can't be held to them.
        """
        if goal in self._made:
            self.why = self._whys.get(goal, self.why)
            return self._made[goal]
        if goal in self._names:
            self._awaited.add(self._names[goal])
            return Shared(self._names[goal])
        self._named += 1
        self._names[goal] = f"part {self._named}"
        if self._named > self.limits.parts or self._depth > self.limits.depth:
            raise bad(f"A JSON schema may have {self.limits.parts} parts, {self.limits.depth} deep.")
        self._depth += 1
        try:
            found = self._union(self.reader.parts(goal))
        except EngineError as error:
            raise placed(error, self.place(goal)) from error
        self._depth -= 1
        name = self._names[goal]
        if found is None:
            place = self.place(goal)
            self.why = self.why if "(at #" in self.why or place == "#" else f"{self.why} (at {place})"
            self._whys[goal] = self.why
        if found is None and name in self._awaited:
            raise bad("A part of the JSON schema that holds itself leaves no value.")
        if found is not None and (name in self._awaited or not isinstance(found, _LEAVES)):
            self.shared[name] = found
            found = Shared(name)
        self._made[goal] = found
        return found

    def place(self, goal: Goal) -> str:
        """Where the last part that a goal speaks of stands in the document."""
        return self.reader.document.place(goal[-1][0]) if goal else "#"

    def _union(self, parts: list[Part]) -> Shape | None:
        self.why = "A schema allows nothing, or several that must hold at once leave no type or value."
        if ANY in parts:
            return Plain("value")
        found: list[Shape] = []
        refusal: EngineError | None = None
        for part in parts:
            kept, depth = [len(self._names), len(self._made), len(self.shared)], self._depth
            try:
                found += self._shapes(part)
            except EngineError as error:
                if not part.spare:
                    raise
                refusal, self._depth = error, depth
                # What was made on the way may refer to what was not made.
                _cut(self._names, kept[0])
                _cut(self._made, kept[1])
                _cut(self.shared, kept[2])
        if refusal is not None and not found:
            raise refusal
        # A list of values has no hash.
        found = [one for place, one in enumerate(found) if one not in found[:place]]
        return Union(tuple(found)) if len(found) > 1 else found[0] if found else None

    def _shapes(self, part: Part) -> list[Shape]:
        """The values of one part, type by type."""
        if part.values is not None:
            return self._of_values(part)
        return [shape for kind in TYPES if kind in part.types for shape in self._of_type(kind, part)]

    def _of_values(self, part: Part) -> list[Shape]:
        values = self.reader.fitting.kept(part).all()
        self._values += len(values)
        most, chars = self.limits.values, self.limits.value_chars
        if self._values > most or any(len(json.dumps(value)) > chars for value in values):
            raise bad(f"A JSON schema may name {most} values of {chars} characters.")
        if not values:
            self.why = "No value of an enum has the type and what else stands beside it."
        return [Values(tuple(values))] if values else []

    def _of_type(self, kind: str, part: Part) -> list[Shape]:
        excluded = [one for one in part.excluded.all() if type_of(one) == kind]
        match kind:
            case "null":
                return [] if excluded else [Plain("null")]
            case "boolean":
                kept = [one for one in (True, False) if one not in excluded]
                return [Plain("boolean")] if len(kept) == 2 else [Values(tuple(kept))] if kept else []
            case "number":
                made = number(part.numbers, tuple(excluded))
                self._number_states += sum(
                    len(one.found.steps) for one in made if isinstance(one, Spelled) and one.found
                )
                if self._number_states > self.limits.number_states:
                    raise bad("A grammar gets too large with all bounds of numbers of this schema.")
                self.why = self.why if made else "Nothing fits minimum, maximum and multipleOf together."
                return made
            case "string":
                shape = string(part.texts, tuple(excluded))
                self.why = self.why if shape else "Nothing fits this pattern or format and length."
            case "array":
                shape = array(part.arrays, excluded, self)
            case _:
                shape = object_of(part.objects, excluded, self)
        return [] if shape is None else [shape]


def _cut(known: dict[Any, Any], size: int) -> None:
    """Forget what was added last."""
    for key in list(known)[size:]:
        del known[key]
