"""What is wrong with a model, in one printable line."""

from __future__ import annotations

from typing import ClassVar, Final

from chain.errors import ErrorCode, IdlewattError

MAX_DISPLAY_CHARS: Final = 80
TO_WHOLE_FILE: Final = "Download it again, or choose another model."
"""The way out of a file that is cut off or contradicts itself."""


class ModelError(IdlewattError):
    """A model file that can't be used, and why."""

    default_code: ClassVar[ErrorCode] = "model_unusable"


def printable(text: str, limit: int = MAX_DISPLAY_CHARS) -> str:
    """A hostile string as it may stand in a message: one line of printable characters, at most `limit` of them."""
    cleaned = "".join(char if char.isprintable() else "?" for char in text[: limit + 1])
    return cleaned if len(cleaned) <= limit else cleaned[: limit - 1] + "…"
