"""A schema's document: its draft, what its references mean, and each of its parts under a number."""

from __future__ import annotations

import json
import math
from collections import deque
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin

from node.engine.worker.schema.keywords import FIRST_DRAFT, LAST_DRAFT, bad, shown

_DRAFTS = (("draft-03", 3), ("draft-04", 4), ("draft-06", 6), ("draft-07", 7), ("2019-09", 2019), ("2020-12", 2020))
_ONE = ("additionalItems", "additionalProperties", "contains", "contentSchema", "else", "if", "items", "not")
_ONE_MORE = ("propertyNames", "then", "unevaluatedItems", "unevaluatedProperties")
_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems", "items")
_NAMED = ("$defs", "definitions", "dependencies", "dependentSchemas", "patternProperties", "properties")
_PLACE_CHARS = 120
_SOME_BASE = "json-schema:///"


class Document:
    """A schema as it was given.

    Args:
        text: The schema as JSON.

    Raises:
        EngineError: With code ``bad_request`` if it is no JSON.
    """

    def __init__(self, text: str) -> None:
        try:
            self.whole = json.loads(text, parse_float=_finite, parse_constant=_finite)
            self._index(self.whole)
        except (ValueError, RecursionError) as error:
            raise bad("The JSON schema is no JSON.") from error
        self._parts: list[Any] = []
        self._bases: list[str] = []
        self._numbers: dict[tuple[str, str], int] = {}
        self._known: dict[tuple[int, str], int] = {}
        """Numbers by where a part lies in memory and its base: the document keeps all of them alive."""
        self._kept: list[Any] = []

    def _index(self, whole: Any) -> None:
        asked = whole if isinstance(whole, dict) else {}
        named = asked.get("$schema")
        self.draft = next((draft for name, draft in _DRAFTS if isinstance(named, str) and name in named), None)
        """The draft that it says it is of; None if it says nothing that is known."""
        self._by_uri: dict[str, Any] = {}
        self.root_base = self._base_of(asked, _SOME_BASE)
        waiting = [(whole, _SOME_BASE)]
        while waiting:
            part, base = waiting.pop()
            if not isinstance(part, dict):
                continue
            own = self._base_of(part, base)
            if own != base or part is whole:
                self._by_uri.setdefault(own, part)
            for key in ("$anchor", "$dynamicAnchor"):
                if isinstance(part.get(key), str):
                    self._by_uri.setdefault(f"{own}#{part[key]}", part)
            for one in _children(part):
                waiting.append((one, own))

    def _base_of(self, part: dict[str, Any], base: str) -> str:
        """The address that references in a part are relative to."""
        found = part.get("id" if self.draft in (3, 4) else "$id")
        if not isinstance(found, str) or ("$ref" in part and (self.draft or 2020) <= 7):
            return base
        try:
            address, fragment = urldefrag(urljoin(base, found))
        except ValueError:
            raise bad(f"The JSON schema has an $id that is no address: {shown(found)}") from None
        if fragment:
            self._by_uri.setdefault(f"{address or base}#{fragment}", part)
        return address or base

    def says(self, key: str) -> bool:
        """Whether a keyword surely means something in this schema's draft, as far as it says which."""
        first, last = FIRST_DRAFT.get(key, 0), LAST_DRAFT.get(key, 2020)
        # Without a draft, validators take the newest one or draft 7.
        return first <= (self.draft or 7) and (self.draft or 2020) <= last

    def inner(self, part: Any, base: str) -> int:
        """The number of a part that stands in another one, whose references are relative to an address."""
        return self.number(part, self._base_of(part, base) if isinstance(part, dict) else base)

    def number(self, part: Any, base: str) -> int:
        """The number of a part whose references are relative to an address; parts that say the same have the same."""
        place = (id(part), base)
        if place not in self._known:
            key = (json.dumps(part, sort_keys=True), base)
            if key not in self._numbers:
                self._numbers[key] = len(self._parts)
                self._parts.append(part)
                self._bases.append(base)
            self._kept.append(part)
            self._known[place] = self._numbers[key]
        return self._known[place]

    def part(self, number: int) -> tuple[Any, str]:
        """A part and the address that its references are relative to."""
        return self._parts[number], self._bases[number]

    def place(self, number: int) -> str:
        """Where a part stands, as a JSON pointer behind ``#``."""
        part = self._parts[number]
        waiting: deque[tuple[Any, str]] = deque([(self.whole, "#")])
        while waiting:
            found, place = waiting.popleft()
            if found is part:
                return shown(place, _PLACE_CHARS)
            if isinstance(found, dict):
                for name, one in found.items():
                    waiting.append((one, f"{place}/{name.replace('~', '~0').replace('/', '~1')}"))
            elif isinstance(found, list):
                waiting += [(one, f"{place}/{at}") for at, one in enumerate(found)]
        return "#"

    def target(self, ref: Any, base: str) -> tuple[Any, str]:
        """The part that a reference is to, and the address that its own are relative to.

        Raises:
            EngineError: With code ``bad_request`` if the document has none.
        """
        if not isinstance(ref, str):
            raise bad("A reference of a JSON schema is text ($ref).")
        try:
            address, fragment = urldefrag(urljoin(base, ref))
        except ValueError:
            raise bad(f"The JSON schema refers to what is no address ($ref): {shown(ref)}") from None
        address = address or base
        fragment = unquote(fragment)
        if fragment and not fragment.startswith("/"):
            found = self._by_uri.get(f"{address}#{fragment}")
            if found is None:
                raise bad(f"The JSON schema refers to a part that it doesn't have ($ref): {shown(ref)}")
            return found, address
        found = self._by_uri.get(address)
        if found is None and address == self.root_base:
            found = self.whole
        if found is None:
            raise bad(f"A JSON schema may refer to its own parts only ($ref): {shown(ref)}")
        for step in fragment.split("/")[1:]:
            found = _child(found, step.replace("~1", "/").replace("~0", "~"), ref)
            if isinstance(found, dict):
                address = self._base_of(found, address) if _is_schema_place(found) else address
        return found, address


def _is_schema_place(found: dict[str, Any]) -> bool:
    return isinstance(found.get("$id"), str) or isinstance(found.get("id"), str)


def _children(part: dict[str, Any]) -> list[Any]:
    found: list[Any] = [part[key] for key in (*_ONE, *_ONE_MORE) if key in part]
    for key in _LISTS:
        if isinstance(part.get(key), list):
            found += part[key]
    for key in _NAMED:
        if isinstance(part.get(key), dict):
            found += part[key].values()
    return found


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _child(target: Any, step: str, ref: str) -> Any:
    if isinstance(target, dict) and step in target:
        return target[step]
    if isinstance(target, list) and step.isdigit() and int(step) < len(target):
        return target[int(step)]
    raise bad(f"The JSON schema refers to a part that it doesn't have ($ref): {shown(ref)}")
