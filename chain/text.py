"""A server's text, made harmless before it stands in an error."""

from __future__ import annotations

from typing import Any

MAX_TEXT_CHARS = 1_000


def plain_text(value: Any, limit: int = MAX_TEXT_CHARS) -> str:
    """A server's text made harmless: printable, one line, bounded; empty where it is no text.

    Args:
        value: What the server sent.
        limit: The most characters that are kept.
    """
    if not isinstance(value, str):
        return ""
    return "".join(character if character.isprintable() else " " for character in value[:limit])
