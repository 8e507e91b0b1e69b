"""What a schema leaves of JSON, as values: the few shapes that a grammar is written from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from node.engine.worker.regular.automaton import Automaton
from node.engine.worker.regular.expression import Search

Builtin = Literal["string", "number", "integer", "boolean", "null", "array", "object", "value"]


@dataclass(frozen=True)
class Plain:
    """Any value of a type, or any at all."""

    type: Builtin


@dataclass(frozen=True)
class Text:
    """A string by its length in characters; no most is without end."""

    least: int = 0
    most: int | None = None


@dataclass(frozen=True)
class Spelled:
    """A value by its characters: a number as it is written, or what stands between a string's quotes."""

    found: Automaton | None = None
    """How a number is written; nothing for a string."""
    search: Search | None = None
    """What stands between a string's quotes; nothing for a number."""

    @property
    def quoted(self) -> bool:
        """Whether it is a string."""
        return self.search is not None


@dataclass(frozen=True)
class Values:
    """One of these values."""

    values: tuple[Any, ...]


@dataclass(frozen=True)
class Sequence:
    """An array of some first items, as far as it goes, and of others of one kind behind them."""

    first: tuple[Shape, ...] = ()
    rest: Shape | None = None
    """Nothing if there are no others."""
    least: int = 0
    most: int | None = None
    held: Shape | None = None
    """What one item must be besides; there are no first items then, and no bounds."""


@dataclass(frozen=True)
class Distinct:
    """An array of some of these values, each once at most."""

    values: tuple[Any, ...]
    least: int = 0
    most: int | None = None


@dataclass(frozen=True)
class Property:
    """A property of a `Record`."""

    name: str
    value: Shape
    required: bool


@dataclass(frozen=True)
class Record:
    """An object of these properties in their order, and of others behind them; so many of them."""

    properties: tuple[Property, ...] = ()
    others: tuple[tuple[Shape, Shape], ...] = ()
    """The kinds of names that other properties have, and their values. One name may be written several times."""
    least: int = 0
    most: int | None = None


@dataclass(frozen=True)
class Union:
    """A value of any of these shapes."""

    parts: tuple[Shape, ...]


@dataclass(frozen=True)
class Shared:
    """A shape that has a name, as one that holds itself needs."""

    name: str


Shape = Plain | Text | Spelled | Values | Sequence | Distinct | Record | Union | Shared
