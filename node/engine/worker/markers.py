"""Which texts of a vocabulary are markers, for the model alone to see as one token, and where a message holds some.

llama.cpp splits user-defined tokens out of every text, also where it is told to parse no special ones. Some of them are
ordinary text (runs of spaces, letters, HTML), others begin turns, channels and tool calls.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby

_WRAPPED = re.compile(r"[<\[{(|\uff5c\u00ab\u3010].+[>\]})|\uff5c\u00bb\u3011]", re.DOTALL)
"""Text between brackets or bars, as markers are written: ``<|turn>``, ``[INST]``, ``<tool_call>``."""
_HTML = re.compile(
    r"</?(?:a|abbr|article|aside|b|blockquote|body|br|button|caption|center|cite|code|col|colgroup|dd|del|details|dfn|div"
    r"|dl|dt|em|figcaption|figure|font|footer|form|h[1-6]|head|header|hr|html|i|img|input|ins|kbd|label|li|link|main|mark"
    r"|meta|nav|ol|option|p|pre|q|s|samp|script|section|select|small|span|strike|strong|style|sub|summary|sup|table|tbody"
    r"|td|textarea|tfoot|th|thead|title|tr|tt|u|ul|var)\s*/?>",
    re.IGNORECASE,
)


def is_marker(text: str, template: str) -> bool:
    """Whether a user-defined token is more than a handy piece of text.

    It is a marker if the chat template writes it, or if it is written between brackets or bars and is no HTML element.
    White space and single characters never are.

    Args:
        text: The token's text.
        template: The chat template's source.
    """
    if len(text) == 1 or text.isspace():
        return False
    return text in template or (_WRAPPED.fullmatch(text) is not None and _HTML.fullmatch(text) is None)


class MarkerGuard:
    """Finds what could be read as a marker in a message, wherever a template puts the message.

    Args:
        markers: The text of each marker by its token.
    """

    def __init__(self, markers: Mapping[int, str]) -> None:
        self.tokens = frozenset(markers)
        """Tokens that no message may become."""
        texts = {text for text in markers.values() if text.strip()}
        # Tokenizers that write a space as U+2581 may make such a marker of its text with spaces.
        texts |= {text.replace("\u2581", " ") for text in texts}
        self._inside = _any_of(texts) if texts else None
        self._beginnings = frozenset(text[:end] for text in texts for end in range(1, len(text)))
        self._endings = frozenset(text[start:] for text in texts for start in range(1, len(text)))
        self._longest = max(map(len, texts), default=1) - 1

    def spans(self, content: str) -> list[tuple[int, int]]:
        """Where markers stand in a text, and parts of markers at its borders, in order and apart."""
        if self._inside is None:
            return []
        first, last = 0, len(content)
        # A template may trim a message: what then is its border counts.
        stripped = content.strip()
        if not stripped:
            return []
        begin = content.index(stripped)
        end = begin + len(stripped)
        spans: list[tuple[int, int]] = []
        for at in sorted({first, begin}):
            length = self._border(content[at : at + self._longest], self._endings, from_end=False)
            spans += [(at, at + length)] if length else []
        for at in sorted({end, last}):
            length = self._border(content[max(0, at - self._longest) : at], self._beginnings, from_end=True)
            spans += [(at - length, at)] if length else []
        spans += [found.span() for found in self._inside.finditer(content)]
        return list(_joined(sorted(spans)))

    @staticmethod
    def _border(text: str, parts: frozenset[str], *, from_end: bool) -> int:
        """The length of the longest part of a marker at one end of a text."""
        for length in range(len(text), 0, -1):
            if (text[-length:] if from_end else text[:length]) in parts:
                return length
        return 0


def _joined(spans: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Spans that overlap as one."""
    begin = end = -1
    for first, last in spans:
        if first < end:
            end = max(end, last)
            continue
        if end >= 0:
            yield begin, end
        begin, end = first, last
    if end >= 0:
        yield begin, end


def _any_of(texts: Iterable[str]) -> re.Pattern[str]:
    """A pattern for the longest of some texts; it shares their beginnings, since there may be thousands."""
    ordered = sorted(texts)
    try:
        return re.compile(_branches(ordered, 0))
    except RecursionError:
        return re.compile("|".join(re.escape(text) for text in sorted(ordered, key=len, reverse=True)))


def _branches(texts: list[str], at: int) -> str:
    """The pattern of sorted texts that are the same before a position."""
    shared = at
    while all(len(text) > shared for text in texts) and len({text[shared] for text in texts}) == 1:
        shared += 1
    head, rest = re.escape(texts[0][at:shared]), [text for text in texts if len(text) > shared]
    if not rest:
        return head
    groups = groupby(rest, key=lambda text: text[shared])
    tails = "|".join(_branches(list(group), shared) for _, group in groups)
    return f"{head}(?:{tails}){'?' if len(rest) < len(texts) else ''}"
