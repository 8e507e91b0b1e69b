"""What the relay's and its client's task groups share."""

from __future__ import annotations


def causes(group: BaseExceptionGroup[Exception]) -> list[Exception]:
    """Return the errors of a group, however deep they sit."""
    found: list[Exception] = []
    for inner in group.exceptions:
        found += causes(inner) if isinstance(inner, BaseExceptionGroup) else [inner]
    return found
