"""How text from others is drawn: an answer whole, a label as one clean line.

Text is kept, compared, hashed, sent and copied as it came. What draws it on a screen, a terminal or a line of a log or
an error calls these functions, and nothing else does.
"""

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
_WHOLE_OR_BEGUN: Final = re.compile(
    r"""
    (?P<whole>
        (?:\x1b\[|\x9b)[0-?]{0,64}[ -/]{0,8}[@-~]
        | (?:\x1b[\]PX^_]|[\x90\x98\x9d\x9e\x9f])[^\x00-\x1f\x7f-\x9f]{0,1000}(?:\x07|\x1b\\|\x9c)
        | \x1b[ -/]{0,3}[0-OQ-WYZ\\`-~]
    )
    | (?P<line_break>\r\n)
    | (?P<begun>
        (?:
            (?:\x1b\[|\x9b)[0-?]{0,64}[ -/]{0,8}
            | (?:\x1b[\]PX^_]|[\x90\x98\x9d\x9e\x9f])[^\x00-\x1f\x7f-\x9f]{0,1000}\x1b?
            | \x1b[ -/]{0,3}
            | \r
        )\Z
    )
    """,
    re.VERBOSE,
)
"""An escape sequence that has its end (ECMA-48, section 5), a line break of two characters, or the beginning of either
where the text ends. A sequence that never ends takes no more of the text along than its first character."""
_LABEL_MARKS: Final = 3
"""How many combining marks may sit on one character of a label."""
_MOST_MARKS: Final = 8
"""The same in an answer. Pointed Hebrew with accents and Tibetan stacks need six or seven; more of them only paint over
the lines above and below."""
_INVISIBLE: Final = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""Letters and marks that show nothing, though Unicode does not class them as formatting."""
_JOINERS: Final = "\u200c\u200d"
_LATIN_END: Final = "\u036f"
"""The last character of the blocks of Latin letters and of their marks; none of them is joined."""
_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"
_SCAN_FACTOR: Final = 8
_UNSAFE: Final = re.compile(r"[^ -~]")
_UNSAFE_IN_LINES: Final = re.compile(r"[^\n -~]")
_CONTROLS: Final = {code: 0x2400 + code for code in range(0x20) if code not in b"\n\t"} | {0x7F: 0x2421}
"""Control characters by the pictures that Unicode has for them, so that the reader sees where one stood."""
_NEUTRALIZED: Final = (
    _CONTROLS
    | dict.fromkeys(range(0x80, 0xA0), _REPLACEMENT)
    | dict.fromkeys(range(0xD800, 0xE000), _REPLACEMENT)
    | dict.fromkeys((*range(0x202A, 0x202F), *range(0x2066, 0x206A)), "")
    | dict.fromkeys((0x2028, 0x2029), " ")
)
"""What may attack a terminal or reorder what others wrote, and what is drawn instead: controls of both sets, lone
surrogates, bidirectional embeddings, overrides and isolates (UAX #9, section 2), breaks that only some programs see."""


class TextDrawing:
    """Draws a text that comes piece by piece; how it is divided changes nothing.

    Only what attacks a terminal is neutralized: escape sequences, control characters, bidirectional overrides, lone
    surrogates, and piles of combining marks. Everything else stays: joiners, variation selectors, no-break and
    ideographic spaces, private use, emoji that this Python does not know yet.

    Args:
        tab: What a tab is drawn as.
    """

    __slots__ = ("_begun", "_marks", "_table")

    def __init__(self, tab: str = "    ") -> None:
        self._table = _NEUTRALIZED | {ord("\t"): tab}
        self._marks = 0
        self._begun = ""

    def feed(self, text: str) -> str:
        """What to draw for some more of the text."""
        text, self._begun = self._begun + text, ""
        if text.isascii() and not _UNSAFE_IN_LINES.search(text):
            self._marks = 0 if text else self._marks
            return text
        return self._neutralized(_WHOLE_OR_BEGUN.sub(self._taken, text))

    def finish(self) -> str:
        """What is left to draw when the text is over."""
        begun, self._begun = self._begun, ""
        return self._neutralized(begun)

    def _taken(self, found: re.Match[str]) -> str:
        if found["begun"]:
            self._begun = found["begun"]
        return "\n" if found["line_break"] else ""

    def _neutralized(self, text: str) -> str:
        shown = text.translate(self._table)
        if shown.isascii():
            self._marks = 0 if shown else self._marks
            return shown
        return self._with_low_piles(shown)

    def _with_low_piles(self, text: str) -> str:
        kept: list[str] = []
        for char in text:
            category = "" if char < "\u0300" else unicodedata.category(char)
            if category in {"Mn", "Mc", "Me"}:
                self._marks += 1
                if self._marks > _MOST_MARKS:
                    continue
            elif category != "Cf" and char not in _INVISIBLE:
                self._marks = 0
            kept.append(char)
        return "".join(kept)


def drawn(text: str, tab: str = "    ") -> str:
    """A whole text as it is drawn; see :class:`TextDrawing`. Drawing it again changes nothing.

    Args:
        text: Any text of several lines, as a model or a peer wrote it.
        tab: What a tab is drawn as.
    """
    drawing = TextDrawing(tab)
    return drawing.feed(text) + drawing.finish()


def plain(text: str, limit: int) -> str:
    """A label: one line that is safe to show, without any character that hides or reorders others.

    Terminal escape sequences, control characters, bidirectional overrides, zero-width and other invisible characters
    are removed; line and paragraph breaks become spaces. Lone surrogates, private-use and unassigned code points become
    U+FFFD, because a label's width must be known; that of emoji is, also of those that this Python doesn't know yet. A
    joiner or non-joiner stays between two letters that are not Latin: Persian and Hindi words are spelled with them.
    Work is bounded by ``limit``, whatever the length of ``text``. Applying it twice changes nothing.

    Args:
        text: Any string, from a peer, a file or a model.
        limit: The most characters of the result; a longer text ends in an ellipsis.

    Returns:
        A string of at most ``limit`` characters that encodes to UTF-8.
    """
    if limit <= 0:
        return ""
    if len(text) <= limit and text.isascii() and not _UNSAFE.search(text):
        return text
    window = text[: limit * _SCAN_FACTOR + 64]
    cut_before_scan = len(window) < len(text)
    kept: list[str] = []
    joiner = ""
    marks = 0
    for char in _ESCAPE_SEQUENCE.sub("", window.replace("\r\n", "\n")):
        if char in _JOINERS:
            joiner = char
            continue
        shown = _shown(char)
        if shown and unicodedata.category(char) in {"Mn", "Me"}:
            marks += 1
            if marks > _LABEL_MARKS:
                continue
        elif shown:
            marks = 0
        if joiner and shown:
            if kept and _is_joined(kept[-1]) and _is_joined(shown):
                kept.append(joiner)
            joiner = ""
        if shown:
            kept.append(shown)
    clean = "".join(kept)
    if len(clean) > limit or cut_before_scan:
        return clean[: limit - 1].rstrip(_JOINERS) + "…"
    return clean


def _shown(char: str) -> str:
    if char.isspace():
        return " "
    category = unicodedata.category(char)
    if category in {"Cc", "Cf"} or char in _INVISIBLE or _is_variation(char):
        return ""
    if category in {"Cs", "Co"} or (category == "Cn" and not "\U0001f300" <= char <= "\U0001faff"):
        return _REPLACEMENT
    return char


def _is_joined(char: str) -> bool:
    """Whether a joiner beside this character can belong to a word."""
    return char > _LATIN_END and unicodedata.category(char)[0] in "LM"


def _is_variation(char: str) -> bool:
    """Whether a character only selects how the one before it looks."""
    return "\ufe00" <= char <= "\ufe0f" or "\U000e0100" <= char <= "\U000e01ef"
