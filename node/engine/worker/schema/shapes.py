"""What a schema leaves of JSON, as values: the few shapes that a grammar is written from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from node.engine.worker.regular.automaton import Automaton
from node.engine.worker.regular.expression import Search

Builtin = Literal["string", "number", "integer", "boolean", "null", "array", "object"]


@dataclass(frozen=True)
class Plain:
    """Any value of a type."""

    type: Builtin


@dataclass(frozen=True)
class Text:
    """A string by its length in characters; no most is without end."""

    least: int = 0
    most: int | None = None


@dataclass(frozen=True)
class Spelled:
    """A value by its characters: a number as it is written, or what stands between a string's quotes."""

    found: Automaton
    search: Search | None = None
    """What the automaton was made from, for what stands between a string's quotes; nothing for a number."""

    @property
    def quoted(self) -> bool:
        """Whether it is a string."""
        return self.search is not None


@dataclass(frozen=True)
class Values:
    """One of these values."""

    values: tuple[Any, ...]


@dataclass(frozen=True)
class Items:
    """An array of one kind of item."""

    item: Shape
    least: int = 0
    most: int | None = None


@dataclass(frozen=True)
class Distinct:
    """An array of some of these values, each once at most."""

    values: tuple[Any, ...]
    least: int = 0
    most: int | None = None


@dataclass(frozen=True)
class Tuple:
    """An array of exactly these items."""

    items: tuple[Shape, ...]


@dataclass(frozen=True)
class Property:
    """A property of a `Record`."""

    name: str
    value: Shape
    required: bool


@dataclass(frozen=True)
class Record:
    """An object of these properties, in their order, and no others; so many of them."""

    properties: tuple[Property, ...]
    least: int = 0
    most: int | None = None


@dataclass(frozen=True)
class Table:
    """An object of any names of a form."""

    name: Shape
    value: Shape | None
    """Nothing for any value."""
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


Shape = Plain | Text | Spelled | Values | Items | Distinct | Tuple | Record | Table | Union | Shared
