"""The one rule by which text from others becomes safe to show: on a screen, in a log, in an error."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

_ESCAPE_SEQUENCE: Final = re.compile(
    r"""
    (?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?          # CSI: colours, cursor movement
    | (?:\x1b[\]PX^_]|[\x90\x98\x9d\x9e\x9f])  # OSC, DCS, SOS, PM, APC: titles, links, clipboard …
      [^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?    # … up to their terminator
    | \x1b[ -/]*[0-~]?                         # two-byte escapes
    """,
    re.VERBOSE,
)
_SURPLUS_MARKS: Final = 3
"""How many combining marks may sit on one character; piles of them paint over neighbouring lines."""
_INVISIBLE: Final = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""Letters and marks that show nothing, though Unicode does not class them as formatting."""
_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"
_SCAN_FACTOR: Final = 8
_UNSAFE: Final = re.compile(r"[^ -~]")
_UNSAFE_IN_LINES: Final = re.compile(r"[^\n -~]")


def plain(text: str, limit: int, *, lines: bool = False) -> str:
    """Return what of ``text`` is safe to show: no control, no escape, no invisible or reordering character.

    Terminal escape sequences, control characters, bidirectional overrides, zero-width and other invisible characters
    are removed; lone surrogates, private-use and unassigned code points become U+FFFD; line and paragraph breaks become
    spaces. Work is bounded by ``limit``, whatever the length of ``text``. Applying it twice changes nothing.

    Args:
        text: Any string, from a peer, a file or a model.
        limit: The most characters of the result; a longer text ends in an ellipsis.
        lines: Whether line feeds and tabs stay (tabs as four spaces), as in a chat answer.

    Returns:
        A string of at most ``limit`` characters that encodes to UTF-8.
    """
    if limit <= 0:
        return ""
    if len(text) <= limit and text.isascii() and not (_UNSAFE_IN_LINES if lines else _UNSAFE).search(text):
        return text
    window = text[: limit * _SCAN_FACTOR + 64]
    cut_before_scan = len(window) < len(text)
    kept: list[str] = []
    marks = 0
    for char in _ESCAPE_SEQUENCE.sub("", window.replace("\r\n", "\n")):
        shown = _shown(char, lines=lines)
        if shown and unicodedata.category(char) in {"Mn", "Me"}:
            marks += 1
            if marks > _SURPLUS_MARKS:
                continue
        elif shown:
            marks = 0
        kept.append(shown)
    clean = "".join(kept)
    if len(clean) > limit or cut_before_scan:
        return clean[: limit - 1] + "…"
    return clean


def _shown(char: str, *, lines: bool) -> str:
    if char in "\n\t" and lines:
        return "\n" if char == "\n" else "    "
    if char.isspace():
        return " "
    category = unicodedata.category(char)
    if category in {"Cc", "Cf"} or char in _INVISIBLE or _is_variation(char):
        return ""
    if category in {"Cs", "Co", "Cn"}:
        return _REPLACEMENT
    return char


def _is_variation(char: str) -> bool:
    """Whether a character only selects how the one before it looks."""
    return "\ufe00" <= char <= "\ufe0f" or "\U000e0100" <= char <= "\U000e01ef"
