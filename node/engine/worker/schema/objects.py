"""Objects of a part as shapes: declared properties in their order, then others by what their names look like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

from node.engine.worker.regular.expression import Search
from node.engine.worker.regular.formats import PATTERNS
from node.engine.worker.regular.patterns import parsed
from node.engine.worker.schema.fitting import member
from node.engine.worker.schema.keywords import Limits, bad, shown
from node.engine.worker.schema.leaves import has_texts
from node.engine.worker.schema.parts import Goal, Objects, Part, both
from node.engine.worker.schema.reading import Reader
from node.engine.worker.schema.shapes import Plain, Property, Record, Shape, Spelled, Text

_MORE_NAMES = 64
"""Names that propertyNames may list one by one."""


class Shapes(Protocol):
    """Makes shapes of what stands inside."""

    reader: Reader
    limits: Limits
    why: str

    def shape(self, goal: Goal) -> Shape | None:
        """The values that meet a goal; None if there are none."""
        ...


def object_of(asked: Objects, excluded: Sequence[Any], shapes: Shapes) -> Shape | None:
    """The objects that a part allows; None if there are none.

    Args:
        asked: What they must be.
        excluded: Objects that are left out.
        shapes: Makes the shapes of properties.

    Raises:
        EngineError: With code ``bad_request`` if a grammar can't hold a model to them.
    """
    if any(excluded):
        raise bad("Only empty arrays and objects can be left out (not).")
    if excluded:
        asked = replace(asked, least=max(asked.least, 1))
    if asked == Objects():
        return Plain("object")
    listed = _listed_names(asked, shapes)
    names = [name for one in asked.members for name, _ in one.named]
    names += [*asked.required, *(listed or ())]
    made: list[Property] = []
    for name in dict.fromkeys(names):
        is_required = name in asked.required
        may_stand = shapes.reader.fitting.meets(name, asked.names)
        if not may_stand:
            shapes.why = "propertyNames has no such name."
        value = shapes.shape(member(asked, name)) if may_stand else None
        if value is None and is_required:
            shapes.why = f"An object can't have {shown(name)!r}, which is required: {shapes.why}"
            return None
        if value is not None:
            made.append(Property(name, value, is_required))
    if len(made) > shapes.limits.properties:
        raise bad(f"An object may declare {shapes.limits.properties} properties.")
    others = () if listed is not None or asked.most == len(asked.required) else _others(asked, names, shapes)
    return _counted(asked, made, others, shapes)


def _counted(
    asked: Objects, made: list[Property], others: tuple[tuple[Shape, Shape], ...], shapes: Shapes
) -> Shape | None:
    needed = sum(one.required for one in made)
    least = asked.least if asked.least > needed else 0
    most = asked.most if asked.most is not None and (others or asked.most < len(made)) else None
    # Other properties may all have one name, so that they count as one.
    if least > len(made) + bool(others):
        if others:
            raise bad(
                f"minProperties can be kept to with {least - 1} declared properties at least: "
                "an answer might name one property twice."
            )
        shapes.why = "An object can't have so many properties (minProperties)."
        return None
    if most is not None and most < needed:
        shapes.why = "An object can't have so few properties (maxProperties)."
        return None
    if (max(least, 1) if most is None else most) * len(made) > shapes.limits.counted:
        raise bad("An object has too many properties for these minProperties and maxProperties.")
    return Record(tuple(made), others, least, most)


def _listed_names(asked: Objects, shapes: Shapes) -> list[str] | None:
    """The only names that properties may have, where they are listed; None where they are described."""
    parts = shapes.reader.parts(asked.names) if asked.names else []
    if not asked.names or any(part.values is None and "string" in part.types for part in parts):
        return None
    names = [one for part in parts if part.values for one in part.values.all() if isinstance(one, str)]
    if len(names) > _MORE_NAMES:
        raise bad(f"propertyNames may list {_MORE_NAMES} names.")
    return names


def _others(asked: Objects, names: list[str], shapes: Shapes) -> tuple[tuple[Shape, Shape], ...]:
    """The kinds of names that patterns tell apart, each with what its values must be."""
    made: list[tuple[Shape, Shape]] = []
    for search, forms in _kinds_of_names(asked, names, shapes):
        goal = both(
            *(
                goal
                for one in asked.members
                for goal in (
                    [value for form, value in one.patterns if form in forms] or ([] if one.rest is None else [one.rest])
                )
            )
        )
        value = shapes.shape(goal)
        if value is not None:
            made.append((_name(search), value))
    return tuple(made)


def _kinds_of_names(asked: Objects, names: list[str], shapes: Shapes) -> list[tuple[Search, frozenset[str]]]:
    """Names as what is looked for in them, with the patterns that are found in each."""
    kinds = [
        (replace(search, excluded=tuple(dict.fromkeys((*search.excluded, *names)))), frozenset[str]())
        for search in _described_names(asked, shapes)
    ]
    for form in dict.fromkeys(form for one in asked.members for form, _ in one.patterns):
        surely, maybe = parsed(form), parsed(form, widely=True)
        split: list[tuple[Search, frozenset[str]]] = []
        for search, forms in kinds:
            having = replace(search, expressions=(*search.expressions, surely))
            lacking = replace(search, without=(*search.without, maybe))
            split += [(having, forms | {form})] if has_texts(having) else []
            split += [(lacking, forms)] if has_texts(lacking) else []
        kinds = split
        if len(kinds) > shapes.limits.forms:
            raise bad("The patterns of an object's names tell too many kinds apart (patternProperties).")
    return kinds


def _described_names(asked: Objects, shapes: Shapes) -> list[Search]:
    if not asked.names:
        return [Search(())]
    found = [_search(part) for part in shapes.reader.parts(asked.names) if "string" in part.types]
    if len(found) > 1:
        raise bad("propertyNames can be kept to without alternatives.")
    return found


def _search(part: Part) -> Search:
    if part.values is not None:
        raise bad("propertyNames can be kept to without alternatives.")
    texts = part.texts
    return Search(
        tuple(parsed(one) for one in (*(PATTERNS[name] for name in texts.formats), *texts.patterns)),
        texts.least,
        texts.most,
        tuple(parsed(one, widely=True) for one in texts.without),
        tuple(one for one in part.excluded.all() if isinstance(one, str)),
    )


def _name(search: Search) -> Shape:
    if search.expressions or search.without or search.excluded:
        return Spelled(search=search)
    return Text(search.least, search.most) if search.least or search.most is not None else Plain("string")
