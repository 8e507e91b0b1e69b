"""The plain exceptions inside an ``ExceptionGroup``, as the relay and its client need them."""

from __future__ import annotations


def leaf_exceptions(group: BaseExceptionGroup[Exception]) -> list[Exception]:
    """Return the exceptions of a group, and of the groups inside it, in order."""
    found: list[Exception] = []
    for inner in group.exceptions:
        found += leaf_exceptions(inner) if isinstance(inner, BaseExceptionGroup) else [inner]
    return found
