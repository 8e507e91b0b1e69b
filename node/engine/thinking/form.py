"""How a model marks its thinking, and the parts that markers are made of.

Three kinds are in use. A *pair* stands around the thinking: ``<think>…</think>``. A *header* also opens the answer:
``<|START_THINKING|>…<|END_THINKING|><|START_RESPONSE|>…``. *Channels* are headers with a name in them, as in OpenAI's
harmony format: ``<|channel|>analysis<|message|>…<|end|><|start|>assistant<|channel|>final<|message|>…``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Channel:
    """The form of a header with a name: what stands before it and after it, and the name of the answer's channel."""

    prefix: str
    suffix: str
    answer: str


@dataclass(frozen=True, slots=True)
class ThinkingForm:
    """What a model writes around its thinking and its answer."""

    begin: str
    end: str
    """What closes thinking; empty where the answer's header does."""
    role: str = ""
    """What may stand between the end of one message and the header of the next, as ``<|start|>assistant``."""
    answer: str = ""
    """The header that opens the answer; empty where the answer simply follows."""
    stop: str = ""
    """What closes the answer, where the answer has a closing marker."""
    channel: Channel | None = None
    tokens: frozenset[str] = frozenset()
    """Parts of the markers that are one token of the vocabulary each. Such a part is only a marker when the model wrote
    that token, and not when it spelled the same text."""

    @property
    def has_header(self) -> bool:
        """Whether the answer has a header of its own."""
        return bool(self.answer)

    @property
    def openers(self) -> tuple[str, ...]:
        """What an answer of this form begins with."""
        first = self.begin if self.channel is None else self.channel.prefix
        return (first, self.answer) if self.answer else (first,)

    @property
    def markers(self) -> tuple[str, ...]:
        """Every text that may be a marker."""
        return tuple(text for text in (self.begin, self.end, self.role, self.answer, self.stop) if text)

    def is_opened_by(self, prompt: str) -> bool:
        """Whether a prompt ends inside thinking, so that the answer begins there.

        Args:
            prompt: The end of the rendered prompt, at least as long as `begin` and white space after it.
        """
        return bool(self.begin) and prompt.rstrip().endswith(self.begin)

    def of(self, specials: Collection[str]) -> ThinkingForm:
        """The same with those of its parts marked that are tokens of a vocabulary."""
        parts = Units(specials).texts("".join(self.markers))
        return replace(self, tokens=frozenset(part for part in parts if part in specials))


KNOWN_PAIRS: tuple[tuple[str, str], ...] = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<seed:think>", "</seed:think>"),
    ("<mm:think>", "</mm:think>"),
    ("[THINK]", "[/THINK]"),
)
"""Pairs that a template may speak of without showing where they stand."""
INLINE_PAIRS: tuple[tuple[str, str], ...] = (
    ("<think>", "</think>"),
    ("[THINK]", "[/THINK]"),
    ("<seed:think>", "</seed:think>"),
    ("<mm:think>", "</mm:think>"),
)
"""Pairs that models are trained to begin with. Other tags, as ``<thinking>``, are what a question may ask for."""
INLINE_FORMS: tuple[ThinkingForm, ...] = (
    *(ThinkingForm(begin, end) for begin, end in INLINE_PAIRS),
    ThinkingForm("<|inner_prefix|>", "<|inner_suffix|>"),
    ThinkingForm("<|channel>thought", "<channel|>"),
    ThinkingForm("<|START_THINKING|>", "<|END_THINKING|>", answer="<|START_RESPONSE|>"),
    ThinkingForm("<|think|>", "<|end|>", "<|begin|>assistant", "<|content|>"),
    ThinkingForm(
        "<|channel|>analysis<|message|>",
        "<|end|>",
        "<|start|>assistant",
        "<|channel|>final<|message|>",
        channel=Channel("<|channel|>", "<|message|>", "final"),
    ),
)
"""Forms that servers pass on as text where they are told, or don't know how, not to take them out."""

_UNIT = r"<[^<>\n]{1,64}>|\[/?[A-Z][A-Z _]{1,48}\]"
_HINT = re.compile(r"think|thought|reason|analysis|inner|reflect|monologue|cot\b", re.IGNORECASE)


class Units:
    """Finds the units of a text: tokens of the vocabulary, and what looks like a tag.

    Args:
        specials: Texts of the vocabulary's control and user-defined tokens.
    """

    def __init__(self, specials: Collection[str] = ()) -> None:
        # Single letters and runs of white space are user-defined tokens in some vocabularies.
        self._specials = sorted({text for text in specials if len(text.strip()) > 2}, key=len, reverse=True)

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Where units begin and end."""
        # A vocabulary has thousands of such tokens, and a template writes a handful.
        present = [re.escape(special) for special in self._specials if special in text]
        return [found.span() for found in re.finditer("|".join([*present, _UNIT]), text)]

    def texts(self, text: str) -> list[str]:
        """The units themselves."""
        return [text[start:end] for start, end in self.spans(text)]

    def length_at_start(self, text: str) -> int:
        """The length of the unit that a text begins with, or 0."""
        first = self.spans(text)[:1]
        return first[0][1] if first and first[0][0] == 0 else 0


def speaks_of_thinking(text: str) -> bool:
    """Whether a marker's name says that it is about thinking."""
    return _HINT.search(text) is not None


def closings(opening: str) -> Iterator[str]:
    """Markers that may close one, going by the ways in which such pairs are named."""
    if opening.startswith(("<", "[")) and opening[1:2] not in ("|", "/"):
        yield f"{opening[0]}/{opening[1:]}"
    if opening.startswith("<|") and opening.endswith("|>"):
        yield f"<|/{opening[2:]}"
    elif opening.startswith("<|"):
        yield f"<{opening[2:-1]}|>"
    for one, other in (("START", "END"), ("start", "end"), ("BEGIN", "END"), ("begin", "end"), ("open", "close")):
        if one in opening:
            yield opening.replace(one, other)
    if "prefix" in opening:
        yield opening.replace("prefix", "suffix")
