"""Arrays and objects of a schema as shapes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from node.engine.worker.schema.keywords import bad, bounds
from node.engine.worker.schema.shapes import Distinct, Items, Plain, Property, Record, Shape, Table, Tuple, Values

MAX_PROPERTIES = 200
MAX_DISTINCT = 8
"""Values that may all be different: the grammar has a rule for each set of them."""
MAX_COUNTED = 2_000
"""Properties of an object times how many of them are counted."""


class Containers:
    """Makes shapes of what holds other values.

    Args:
        node: Makes the shape of a schema at a depth.
    """

    def __init__(self, node: Callable[[Any, int], Shape]) -> None:
        self._node = node

    def array(self, asked: dict[str, Any], depth: int) -> Shape:
        """The arrays that a part of a schema allows.

        Raises:
            EngineError: With code ``bad_request`` if a grammar can't hold a model to them.
        """
        low, high = bounds(asked, "minItems", "maxItems")
        distinct = asked.get("uniqueItems", False)
        if not isinstance(distinct, bool):
            raise bad("uniqueItems is true or false.")
        if "prefixItems" in asked:
            return self._tuple(asked, depth, low, high, distinct=distinct)
        if high == 0:
            return Values(([],))
        if distinct and high != 1:
            return self._distinct(self._node(asked.get("items", True), depth + 1), low, high)
        if "items" not in asked and not low and high is None:
            return Plain("array")
        if asked.get("items") is False:
            raise bad("Arrays without items have no items of their own: leave minItems and items out.")
        return Items(self._node(asked.get("items", True), depth + 1), low, high)

    def _tuple(self, asked: dict[str, Any], depth: int, low: int, high: int | None, *, distinct: bool) -> Shape:
        items = asked["prefixItems"]
        if not isinstance(items, list) or not items or asked.get("items", False) is not False:
            raise bad("prefixItems needs a list of schemas, and no items beside it.")
        if not low <= len(items) <= (len(items) if high is None else high):
            raise bad("prefixItems can't be kept to with these minItems and maxItems.")
        if distinct and len(items) > 1:
            raise bad("uniqueItems can't be kept to with prefixItems.")
        return Tuple(tuple(self._node(item, depth + 1) for item in items))

    @staticmethod
    def _distinct(item: Shape, low: int, high: int | None) -> Shape:
        if not isinstance(item, Values):
            raise bad("uniqueItems can be kept to where items have an enum only.")
        line = f"uniqueItems can be kept to among {MAX_DISTINCT} different texts or numbers."
        if any(isinstance(one, list | dict) for one in item.values):
            raise bad(line)
        # Python takes True for 1, and JSON Schema doesn't; both take 1.0 for it.
        values = tuple({(isinstance(one, bool), one): one for one in item.values}.values())
        if not low <= len(values) <= MAX_DISTINCT:
            raise bad(line)
        return Distinct(values, low, high)

    def object(self, asked: dict[str, Any], depth: int) -> Shape:
        """The objects that a part of a schema allows.

        Raises:
            EngineError: With code ``bad_request`` if a grammar can't hold a model to them.
        """
        properties, required = asked.get("properties", {}), asked.get("required", [])
        if not isinstance(properties, dict) or not isinstance(required, list):
            raise bad("An object's properties are an object, and what is required is a list.")
        if not all(isinstance(name, str) for name in required):
            raise bad("An object's properties are an object, and what is required is a list.")
        low, high = bounds(asked, "minProperties", "maxProperties")
        more = asked.get("additionalProperties", True)
        # All that an answer has was declared, so nothing is left that was not evaluated.
        if asked.get("unevaluatedProperties", True) is False and "additionalProperties" not in asked:
            more = False
        elif asked.get("unevaluatedProperties", True) not in (True, False):
            raise bad("unevaluatedProperties is kept to if it is true or false.")
        forms = asked.get("patternProperties", {})
        if not properties and not required:
            return self._table(asked, more, depth, low, high)
        if forms or "propertyNames" in asked:
            raise bad("patternProperties and propertyNames can't be kept to beside properties.")
        return self._record(properties, required, more, depth, low, high)

    def _record(
        self, properties: dict[str, Any], required: list[str], more: Any, depth: int, low: int, high: int | None
    ) -> Shape:
        declared = properties | {name: more for name in required if name not in properties}
        if len(declared) > MAX_PROPERTIES or any(declared[name] is False for name in required):
            raise bad(f"An object has {MAX_PROPERTIES} properties, among them all that are required.")
        made = tuple(
            Property(name, self._node(part, depth + 1), name in required)
            for name, part in declared.items()
            if part is not False
        )
        needed = sum(one.required for one in made)
        least, most = low if low > needed else 0, high if high is not None and high < len(made) else None
        if least > len(made) or (most is not None and most < needed):
            raise bad("An object can't have so many properties, or so few (minProperties, maxProperties).")
        if (max(least, 1) if most is None else most) * len(made) > MAX_COUNTED:
            raise bad("An object has too many properties for these minProperties and maxProperties.")
        return Record(made, least, most)

    def _table(self, asked: dict[str, Any], more: Any, depth: int, low: int, high: int | None) -> Shape:
        if low > 1:
            raise bad("minProperties above 1 can't be kept to: an answer might name one property twice.")
        forms = asked.get("patternProperties", {})
        if not isinstance(forms, dict) or len(forms) > 1 or (forms and "propertyNames" in asked):
            raise bad("An object can be held to one pattern of its names (patternProperties).")
        if forms:
            (form, value), *_ = forms.items()
            name = self._node({"type": "string", "pattern": form}, depth + 1)
            return Table(name, self._node(value, depth + 1), low, high)
        if more is False or high == 0:
            if low:
                raise bad("An object can't have so many properties, or so few (minProperties, maxProperties).")
            return Record(())
        name = Plain("string")
        if "propertyNames" in asked:
            name = self._node({"allOf": [{"type": "string"}, asked["propertyNames"]]}, depth + 1)
        elif more is True and not low and high is None:
            return Plain("object")
        return Table(name, None if more is True else self._node(more, depth + 1), low, high)
