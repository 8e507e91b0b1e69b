"""What every reader of an L1's answers needs: numbers that are numbers, and a way to refuse what can't be true."""

from __future__ import annotations

from typing import Any, NoReturn

from chain.errors import ChainUnavailableError


def integer(value: Any) -> int:
    """A number that an L1 answered with.

    Raises:
        ChainUnavailableError: If it is none.
    """
    if not isinstance(value, int) or value < 0:
        contradiction("a number is missing")
    return value


def contradiction(what: str) -> NoReturn:
    """Refuse to believe an L1.

    Raises:
        ChainUnavailableError: Always.
    """
    raise ChainUnavailableError(
        f"The L1 contradicts itself: {what}.", code="chain_bad_answer", fix="Use an L1 node that you trust."
    )
