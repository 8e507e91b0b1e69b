"""A schema as alternatives: parts of which each says of every type what its values must be."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from node.engine.protocol import EngineError
from node.engine.worker.schema.denial import Denial
from node.engine.worker.schema.document import Document
from node.engine.worker.schema.fitting import Fitting
from node.engine.worker.schema.keywords import UNHELD, Limits, bad, placed
from node.engine.worker.schema.own import Own, required_of
from node.engine.worker.schema.parts import ANY, Arrays, Goal, Members, Mode, Objects, Part, Row, Term

_OBJECT = frozenset({"object"})
_PRUNED_FROM = 2


class Reader:
    """Reads the parts of a document.

    Args:
        document: The document.
        limits: How large it may be.
    """

    def __init__(self, document: Document, limits: Limits) -> None:
        self.document = document
        self.limits = limits
        self.fitting = Fitting(self.parts)
        self._denial = Denial(document, limits, self.alternatives, self.product)
        self._nothing: Goal = ((document.number(False, ""), Mode.HELD),)
        self._known: dict[Term, list[Part]] = {}
        self._goals: dict[Goal, list[Part]] = {}
        self._open: set[Term] = set()

    def parts(self, goal: Goal) -> list[Part]:
        """The alternatives of a goal; none if no value meets it.

        Raises:
            EngineError: With code ``bad_request`` if an answer can't be held to it.
        """
        if goal not in self._goals:
            ways = [ANY]
            for term in goal:
                ways = self.product(ways, self.alternatives(term))
            self._goals[goal] = self._living(ways)
            if len(self._goals) > self.limits.parts:
                raise bad(f"A JSON schema may have {self.limits.parts} parts.")
        return self._goals[goal]

    def alternatives(self, term: Term) -> list[Part]:
        """The alternatives of one part of the document."""
        if term not in self._known:
            if term in self._open or len(self._open) > self.limits.depth:
                if term[1] is Mode.MAYBE:
                    return [ANY]
                if term[1] is Mode.DENIED:
                    return []
                raise bad(f"A JSON schema may be {self.limits.depth} deep, and may not refer to itself for one value.")
            self._open.add(term)
            try:
                self._known[term] = self._read(*term)
            except EngineError as error:
                raise placed(error, self.document.place(term[0])) from error
            finally:
                self._open.discard(term)
        return self._known[term]

    def product(self, ways: Iterable[Part], others: Iterable[Part]) -> list[Part]:
        """What a value may be that meets one of some alternatives and one of others.

        Raises:
            EngineError: With code ``bad_request`` if there are too many.
        """
        others = list(others)
        if others == [ANY]:
            return list(ways)
        met = (one.met(other) for one in ways for other in others)
        return self._few(dict.fromkeys(part for part in met if part is not None))

    def term(self, schema: Any, base: str, mode: Mode) -> Term:
        """A schema that stands in a part, as a term."""
        return self.document.inner(schema, base), mode

    def forbidding(self, name: str) -> Part:
        """Values that have no property of a name."""
        return Part(objects=Objects((Members(((name, self._nothing),), evaluates=False),)))

    def _few(self, ways: Iterable[Part]) -> list[Part]:
        found = list(ways)
        if len(found) > self.limits.ways:
            raise bad(f"A part of the JSON schema has more than {self.limits.ways} alternatives (anyOf, oneOf, not).")
        return found

    def _living(self, ways: list[Part]) -> list[Part]:
        if len(ways) < _PRUNED_FROM:
            return ways
        pruned = (self.fitting.pruned(part) for part in ways)
        return list(dict.fromkeys(part for part in pruned if part is not None))

    def _read(self, number: int, mode: Mode) -> list[Part]:
        schema, base = self.document.part(number)
        if schema is True or schema is False:
            return [ANY] if schema is not (mode is Mode.DENIED) else []
        if not isinstance(schema, dict):
            raise bad("A part of the JSON schema is no object.")
        if "$ref" in schema and (mode is not Mode.HELD):
            # Older drafts look at nothing beside a reference.
            return self._referred(schema["$ref"], base, mode)
        if mode is Mode.DENIED:
            return self._few(dict.fromkeys(one.breaking() for one in self._denial.parts(schema, base)))
        own = Own(self.document, schema, base, mode, self.limits)
        found = own.part()
        ways = [] if found is None else [found]
        if "$ref" in schema:
            ways = self.product(ways, self._referred(schema["$ref"], base, mode))
        for part in listed(schema, "allOf"):
            ways = self.product(ways, self.alternatives(self.term(part, base, mode)))
        if "anyOf" in schema:
            ways = self.product(ways, self._any_of(listed(schema, "anyOf"), base, mode))
        if "oneOf" in schema:
            parts = listed(schema, "oneOf")
            several = mode is Mode.HELD and len(parts) > 1
            ways = self._one_of(ways, parts, base) if several else self.product(ways, self._any_of(parts, base, mode))
        if mode is Mode.HELD:
            ways = self._held(ways, schema, base, own)
        return ways

    def _held(self, ways: list[Part], schema: dict[str, Any], base: str, own: Own) -> list[Part]:
        """What only values are held to that are to be written."""
        for key in UNHELD & schema.keys():
            raise bad(f"The format of an answer can't be held to a JSON schema's '{key}'.")
        if "not" in schema:
            others = self.alternatives(self.term(schema["not"], base, Mode.DENIED))
            if not others and schema["not"] not in (True, {}):
                raise bad("The format of an answer can't be held to a JSON schema's 'not' with what it names here.")
            ways = self._living(self.product(ways, others))
        if "if" in schema:
            ways = self._living(self._if(ways, schema, base))
        for name, needed in _dependencies(schema):
            ways = self._living(self.product(ways, self._dependent(name, needed, base)))
        if "unevaluatedProperties" in schema:
            ways = [_closed(part, own.goal(schema["unevaluatedProperties"])) for part in ways]
        if "unevaluatedItems" in schema:
            ways = [_complete(part, own.goal(schema["unevaluatedItems"])) for part in ways]
        return ways

    def _referred(self, ref: Any, base: str, mode: Mode) -> list[Part]:
        return self.alternatives((self.document.number(*self.document.target(ref, base)), mode))

    def _any_of(self, parts: list[Any], base: str, mode: Mode) -> list[Part]:
        found = (self.alternatives(self.term(part, base, mode)) for part in parts)
        return self._few(dict.fromkeys(one for some in found for one in some))

    def _one_of(self, ways: list[Part], parts: list[Any], base: str) -> list[Part]:
        """Values that meet one schema and surely none of the others."""
        held = [self.product(ways, self.alternatives(self.term(part, base, Mode.HELD))) for part in parts]
        made: list[Part] = []
        for place, some in enumerate(held):
            alone = some
            for schema in (one for other, one in enumerate(parts) if other != place):
                alone = self._without(alone, schema, base)
            made += alone
        if not made and any(held):
            raise bad(
                "oneOf's alternatives may fit the same value: "
                "require a property with a const of its own in each, or write anyOf."
            )
        return self._few(dict.fromkeys(made))

    def _without(self, ways: list[Part], schema: Any, base: str) -> list[Part]:
        """What some alternatives leave that surely doesn't meet a schema."""
        maybe = self.alternatives(self.term(schema, base, Mode.MAYBE))
        apart = [part for part in ways if all(self.fitting.apart(part, one) for one in maybe)]
        rest = [part for part in ways if part not in apart]
        if rest:
            without = self.product(rest, self.alternatives(self.term(schema, base, Mode.DENIED)))
            found = (self.fitting.pruned(part) for part in without)
            apart += [part for part in found if part is not None]
        return self._few(dict.fromkeys(apart))

    def _if(self, ways: list[Part], schema: dict[str, Any], base: str) -> list[Part]:
        def read(key: str, mode: Mode) -> list[Part]:
            return self.alternatives(self.term(schema[key], base, mode)) if key in schema else [ANY]

        if "then" not in schema and "else" not in schema:
            return ways
        yes = self.product(self.product(ways, read("if", Mode.HELD)), read("then", Mode.HELD))
        no = self.product(self.product(ways, read("if", Mode.DENIED)), read("else", Mode.HELD))
        return self._few(dict.fromkeys(yes + no))

    def _dependent(self, name: str, needed: Any, base: str) -> list[Part]:
        """Values without a property, and those that have it with what it brings along."""
        having = Part(types=_OBJECT, objects=Objects(required=(name,)))
        if isinstance(needed, list):
            with_it = [having.met(Part(objects=Objects(required=required_of({"required": needed}))))]
        else:
            with_it = [having.met(one) for one in self.alternatives(self.term(needed, base, Mode.HELD))]
        return [self.forbidding(name), *(part for part in with_it if part is not None)]


def listed(schema: dict[str, Any], key: str) -> list[Any]:
    """The schemas of ``allOf`` and its like; none where the keyword isn't there.

    Raises:
        EngineError: With code ``bad_request`` if it is no list, or an empty one.
    """
    if key not in schema:
        return []
    found = schema[key]
    if not isinstance(found, list) or not found:
        raise bad(f"{key} needs a list of schemas.")
    return found


def _dependencies(schema: dict[str, Any]) -> list[tuple[str, Any]]:
    found = []
    for key in ("dependencies", "dependentRequired", "dependentSchemas"):
        asked = schema.get(key, {})
        if not isinstance(asked, dict):
            raise bad(f"{key} is an object.")
        # Draft 3 allowed one name alone.
        found += [(name, [needed] if isinstance(needed, str) else needed) for name, needed in asked.items()]
    return found


def _closed(part: Part, rest: Goal) -> Part:
    """A part whose properties are those that its schemas speak of, and others as said."""
    speaking = [one for one in part.objects.members if one.evaluates]
    if any(one.rest is not None for one in speaking):
        return part
    named = tuple((name, ()) for one in speaking for name, _ in one.named)
    forms = tuple((form, ()) for one in speaking for form, _ in one.patterns)
    closing = Objects((Members(tuple(dict(named).items()), tuple(dict(forms).items()), rest),))
    return part.met(Part(objects=closing)) or part


def _complete(part: Part, rest: Goal) -> Part:
    """A part whose items are those that its schemas speak of, and others as said."""
    speaking = [row for row in part.arrays.rows if row.evaluates]
    if any(row.rest is not None for row in speaking):
        return part
    longest = max((len(row.first) for row in speaking), default=0)
    return part.met(Part(arrays=Arrays((Row(((),) * longest, rest),)))) or part
