"""A reasoning model's thinking kept apart from its answer: which tags a model uses, and text cut along them.

Nothing is taken out of the text: what a model writes from its opening tag to the white space after its closing one is
thinking, tags included, and all pieces together are still every character in order.
"""

from __future__ import annotations

from dataclasses import dataclass

KNOWN_TAGS: tuple[tuple[str, str], ...] = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
)
_LONGEST_TAG = max(len(tag) for pair in KNOWN_TAGS for tag in pair)

Piece = tuple[str, bool]
"""Some text, and whether it is thinking."""


@dataclass(frozen=True, slots=True)
class ThinkingTags:
    """What a model puts around its thinking."""

    begin: str
    end: str
    opened: bool
    """Whether the chat template writes the opening tag itself, so that every answer begins inside."""


def thinking_tags(template: str | None, prompt: str) -> ThinkingTags | None:
    """The tags that a chat template speaks of, if any.

    Args:
        template: The template's source.
        prompt: Any conversation rendered with it, up to where the answer begins.
    """
    source = template or ""
    for begin, end in KNOWN_TAGS:
        if begin in source or end in source:
            return ThinkingTags(begin, end, prompt.rstrip().endswith(begin))
    return None


class ThinkingSplitter:
    """Cuts a stream of text into thinking and answer; how the text is divided into pieces changes nothing.

    Only text that may still become the opening tag is held back, at the very beginning of an answer.
    """

    __slots__ = ("_held", "_state", "_tags", "_tail")

    def __init__(self, tags: ThinkingTags) -> None:
        self._tags = tags
        self._state = "thinking" if tags.opened else "undecided"
        self._held = ""
        self._tail = ""

    @property
    def thinking(self) -> bool:
        """Whether the closing tag is still to come."""
        return self._state == "thinking"

    def feed(self, text: str) -> list[Piece]:
        """Add text; returns what is decided."""
        if self._state == "answer":
            return [(text, False)] if text else []
        if self._state == "undecided":
            text = self._held + text
            start = text.lstrip()
            if not start.startswith(self._tags.begin):
                if self._tags.begin.startswith(start):
                    self._held = text
                    return []
                self._state = "answer"
            else:
                self._state = "thinking"
            self._held = ""
        return self._cut(text)

    def finish(self) -> list[Piece]:
        """The text is complete: returns what was held back."""
        text, self._held = self._held, ""
        return [(text, False)] if text else []

    def _cut(self, text: str) -> list[Piece]:
        """Divide text that is decided."""
        at = 0
        if self._state == "thinking":
            at = len(text)
            seen = self._tail + text
            found = seen.find(self._tags.end)
            self._tail = seen[-(len(self._tags.end) - 1) :]
            if found >= 0:
                at = found + len(self._tags.end) - (len(seen) - len(text))
                self._state = "closed"
        if self._state == "closed":
            rest = text[at:].lstrip()
            at = len(text) - len(rest)
            if rest:
                self._state = "answer"
        return [(part, thinking) for part, thinking in ((text[:at], True), (text[at:], False)) if part]


class TagTrimmer:
    """Takes the tags off thinking before a person sees it, and leaves the answer as it is."""

    __slots__ = ("_held", "_state")

    def __init__(self) -> None:
        self._state = "before"
        self._held = ""

    def feed(self, text: str, *, thinking: bool) -> list[Piece]:
        """Add a piece; returns what can be shown, thinking and answer apart."""
        if not thinking:
            left = self.finish()
            return [*left, (text, False)] if text else left
        held = self._held + text
        if self._state == "before":
            held = held.lstrip()
            if any(begin.startswith(held) for begin, _ in KNOWN_TAGS):
                self._held = held
                return []
            begin = next((begin for begin, _ in KNOWN_TAGS if held.startswith(begin)), "")
            held = held[len(begin) :]
            self._state = "begun"
        if self._state == "begun":
            held = held.lstrip()
            self._state = "inside" if held else "begun"
        shown = _without_possible_end(held)
        self._held = held[len(shown) :]
        return [(shown, True)] if shown else []

    def finish(self) -> list[Piece]:
        """Thinking is over: returns what was held back and is no tag."""
        held, self._held = self._held.rstrip(), ""
        end = next((end for _, end in KNOWN_TAGS if held.endswith(end)), "")
        left = held[: len(held) - len(end)].rstrip()
        if self._state == "before" and any(left == begin for begin, _ in KNOWN_TAGS):
            left = ""
        self._state = "inside"
        return [(left, True)] if left else []


def _without_possible_end(text: str) -> str:
    """The text without what may be, or become, a closing tag and the white space around it."""
    kept = text.rstrip()
    for _, end in KNOWN_TAGS:
        if kept.endswith(end):
            return kept[: -len(end)].rstrip()
    for length in range(min(_LONGEST_TAG - 1, len(kept)), 0, -1):
        if any(end.startswith(kept[-length:]) for _, end in KNOWN_TAGS):
            return kept[:-length].rstrip()
    return kept
