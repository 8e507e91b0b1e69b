"""Finds out how a model marks its thinking, from its chat template and its vocabulary.

A template shows the markers when it is asked to write down an answer whose thinking is known: they stand around it. One
that writes no past thinking may still open or close thinking where the answer begins. Only where a template shows
nothing do names decide: those of its vocabulary's tokens, and tags in its source that are in use.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import takewhile
from typing import Any

from node.engine.thinking.form import KNOWN_PAIRS, Channel, ThinkingForm, Units, closings, speaks_of_thinking

Render = Callable[[Sequence[Mapping[str, Any]], bool, Mapping[str, Any]], str | None]
"""Renders a conversation: messages, whether the answer begins at its end, and further names for the template. Returns
None where the template refuses."""

_QUESTION, _THOUGHT, _ANSWER = "Zuqa7question", "Zuqa7musing", "Zuqa7reply"
MAX_TAIL_CHARS = 4_096
"""A template that writes more than this between a question and its answer shows nothing there."""
MAX_MARKER_CHARS = 128
_ON: tuple[Mapping[str, Any], ...] = (
    {"enable_thinking": True, "thinking": True, "keep_past_thinking": True, "preserve_thinking": True},
    {"reasoning_effort": "high"},
)
_OFF: Mapping[str, Any] = {"enable_thinking": False, "thinking": False}
_CALLS = [{"id": "callabcde", "type": "function", "function": {"name": "look", "arguments": {}}}]


def derive_form(render: Render, *, specials: Collection[str] = (), source: str = "") -> ThinkingForm | None:
    """How a model marks its thinking, or None if it seems not to think.

    Args:
        render: The model's template.
        specials: Texts of its vocabulary's control and user-defined tokens.
        source: The template's text.
    """
    found = _Template(render, Units(specials)).form() or _by_name(specials, source)
    if found is None or any(len(marker) > MAX_MARKER_CHARS for marker in found.markers):
        return None
    form = found.of(specials)
    if specials and form.stop and Units(specials).texts(form.stop)[0] not in form.tokens:
        # Text that is no token of the vocabulary may as well be a part of the answer.
        return replace(form, stop="")
    return form


class _Template:
    """What one template shows."""

    def __init__(self, render: Render, units: Units) -> None:
        self._render = render
        self._units = units
        user = {"role": "user", "content": _QUESTION}
        self._user = user
        default = self._tail([user], begins=True)
        self._on = self._unique(self._tail([user], begins=True, names=names) for names in _ON)
        self._off = self._tail([user], begins=True, names=_OFF)
        self._default = default or ""
        self._beginnings = self._unique([default, *self._on, self._off])
        """What stands between the question and an answer to come."""
        spoken = [user, {"role": "assistant", "content": _ANSWER}]
        written = [self._tail(spoken, begins=False, names=names) for names in ({}, *_ON, _OFF)]
        self._before_answers = self._unique(
            text.partition(_ANSWER)[0] for text in written if text is not None and _ANSWER in text
        )
        """What stands between the question and an answer without thinking."""

    def form(self) -> ThinkingForm | None:
        """The form, where the template shows one."""
        for with_calls in (False, True):
            for message in _thinking_messages(with_calls=with_calls):
                for names in (*_ON, {}):
                    form = self._around_thought(message, names)
                    if form is not None:
                        return form
        return self._from_empty_pair() or self._from_open_end()

    def _tail(
        self, messages: Sequence[Mapping[str, Any]], *, begins: bool, names: Mapping[str, Any] | None = None
    ) -> str | None:
        """What the template writes behind the question."""
        text = self._render(messages, begins, names or {})
        tail = "" if text is None else text.rpartition(_QUESTION)[2]
        return None if text is None or _QUESTION not in text or len(tail) > MAX_TAIL_CHARS else tail

    @staticmethod
    def _unique(texts: Any) -> list[str]:
        return list(dict.fromkeys(text for text in texts if text))

    def _around_thought(self, message: Mapping[str, Any], names: Mapping[str, Any]) -> ThinkingForm | None:
        messages = [self._user, message]
        if "tool_calls" in message:
            messages.append({"role": "tool", "tool_call_id": "callabcde", "name": "look", "content": "-"})
        text = self._tail(messages, begins=False, names=names)
        before, found, after = (text or "").partition(_THOUGHT)
        # A quotation mark: the template wrote the message down as data, and knows nothing of thinking.
        if not found or _ANSWER in before or before.endswith(("'", '"')):
            return None
        begin = self._begin(before)
        between, answered, behind = after.partition(_ANSWER)
        if "tool_calls" in message:
            between, answered, behind = after, "", ""
        if not between.strip():
            return None
        return self._divided(begin, between.strip(), behind if answered else None)

    def _begin(self, before: str) -> str:
        """The marker that opens thinking, from the text before it."""
        for others in (self._beginnings, self._before_answers):
            found = [rest for other in others if (rest := before[self._cut(before, other) :].strip())]
            if found:
                return min(found, key=len)
        last = self._units.texts(before)[-1:]
        if last and before.rstrip().endswith(last[0]) and speaks_of_thinking(last[0]):
            return last[0]
        # No marker at all: the model continues what the template begins for it.
        return self._default[self._cut(self._default, before) :].strip()

    def _cut(self, text: str, other: str) -> int:
        """Where a text goes another way than the other one, at the nearest border of its parts before."""
        cut = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(text, other, strict=False)))
        while 0 < cut < len(text) and text[cut - 1].isalnum() and text[cut].isalnum():
            cut -= 1
        for start, end in self._units.spans(text):
            # A name right behind a token belongs to it: they are one header.
            if start < cut < end or (cut == end and text[cut : cut + 1].isalpha() and other[cut : cut + 1].isalpha()):
                return start
        return cut

    def _divided(self, begin: str, between: str, behind: str | None) -> ThinkingForm:
        """The form, from what stands between thinking and answer and behind the answer."""
        channel, header = _channel(begin, between, self._units)
        if channel is not None:
            left = between[: between.rfind(header)].strip()
            end = self._first_marker(left, channel)
            return ThinkingForm(begin, end, left[len(end) :].strip(), header, self._stop(behind, channel), channel)
        end = self._first_marker(between, None)
        if behind is None:
            return ThinkingForm(begin, end, answer=self._answer_header(begin, end))
        parts = between[len(end) :].strip()
        spans = self._units.spans(parts)
        role = parts[: spans[-1][0]] if len(spans) > 1 and spans[-1][1] == len(parts) else ""
        return ThinkingForm(begin, end, role, parts[len(role) :], self._stop(behind, None))

    def _first_marker(self, text: str, channel: Channel | None) -> str:
        length = self._units.length_at_start(text)
        if channel is not None and length and text[length : length + 1].isalpha():
            at = text.find(channel.suffix)
            if at > 0:
                return text[: at + len(channel.suffix)]
        if length:
            return text[:length]
        spans = self._units.spans(text)
        return text[: spans[0][0]].strip() if spans and text[: spans[0][0]].strip() else text.partition("\n")[0]

    def _stop(self, behind: str | None, channel: Channel | None) -> str:
        text = (behind or "").lstrip()
        return self._first_marker(text, channel) if self._units.length_at_start(text) else ""

    def _answer_header(self, begin: str, end: str) -> str:
        """What a template puts before an answer without thinking, beyond what it puts before any answer to come."""
        for before in self._before_answers:
            for other in self._beginnings:
                rest = before[self._cut(before, other) :].strip()
                if rest and self._units.length_at_start(rest) == len(rest) and rest not in (begin, end):
                    return rest
        return ""

    def _from_empty_pair(self) -> ThinkingForm | None:
        """The form, where a template writes an empty pair to have no thinking."""
        opened = [text for text in self._beginnings if text != self._off]
        for other in [*self._unique([self._off]), *self._before_answers]:
            for base in opened or self._beginnings:
                rest = other[self._cut(other, base) :].strip()
                spans = self._units.spans(rest)
                if not spans or not speaks_of_thinking(rest) or spans[-1][1] != len(rest):
                    continue
                if len(spans) == 2 and spans[0][0] == 0:
                    return ThinkingForm(rest[: spans[1][0]].strip(), rest[spans[1][0] :])
                begin = (self._units.texts(base) or [""])[-1]
                is_closing = len(spans) == 1 and spans[0][0] == 0 and rest in closings(begin)
                if begin and is_closing and base.rstrip().endswith(begin):
                    return ThinkingForm(begin, rest)
        return None

    def _from_open_end(self) -> ThinkingForm | None:
        """The form, where a template opens thinking for the answer to come."""
        for text in self._beginnings:
            begin = (self._units.texts(text) or [""])[-1]
            if begin and text.rstrip().endswith(begin) and speaks_of_thinking(begin):
                end = next(closings(begin), "")
                if end:
                    return ThinkingForm(begin, end)
        return None


def _thinking_messages(*, with_calls: bool) -> Iterator[Mapping[str, Any]]:
    """An answer with thinking, in the shapes in which templates take it."""
    names = ("reasoning_content", "reasoning", "thinking", "thought", "thoughts")
    flat: dict[str, Any] = {"role": "assistant", "content": _ANSWER} | dict.fromkeys(names, _THOUGHT)
    if with_calls:
        yield flat | {"tool_calls": _CALLS}
        return
    yield flat
    parts = [{"type": "thinking", "thinking": _THOUGHT}, {"type": "text", "text": _ANSWER}]
    yield {"role": "assistant", "content": parts}
    blocks = [{"type": "thoughts", "text": _THOUGHT}, {"type": "response", "text": _ANSWER}]
    yield {"role": "assistant", "content": {"blocks": blocks}}


def _channel(begin: str, between: str, units: Units) -> tuple[Channel | None, str]:
    """The channel's form and the answer's header, where both headers are alike but for one name."""
    spans = units.spans(begin)
    if not spans or spans[-1][1] != len(begin):
        return None, ""
    suffix = begin[spans[-1][0] :]
    inner = begin[: spans[-1][0]]
    name = re.search(r"\w+$", inner)
    prefix = inner[: name.start()] if name else ""
    if not prefix.strip():
        return None, ""
    headers = list(re.finditer(f"{re.escape(prefix)}(\\w+){re.escape(suffix)}", between))
    if not headers or not between.endswith(headers[-1][0]):
        return None, ""
    return Channel(prefix, suffix, headers[-1][1]), headers[-1][0]


def _by_name(specials: Collection[str], source: str) -> ThinkingForm | None:
    """The form that names speak of: a source's known tags, or a pair of tokens about thinking."""
    for begin, end in KNOWN_PAIRS:
        if begin in source or end in source:
            return ThinkingForm(begin, end)
    for begin in sorted(specials):
        if speaks_of_thinking(begin):
            for end in closings(begin):
                if end in specials and end != begin:
                    return ThinkingForm(begin, end)
    return None
