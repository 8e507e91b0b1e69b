"""What a model's chat template can render, found out by trying it once at load, and how it is used after that.

A template may loop over tools that aren't there, refuse whatever it is given, or leave a message out. Found out by the
first buyer, each of these would cost that buyer an opened deposit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from node.engine.protocol import EngineError, LoadError
from node.engine.worker.template import ChatTemplate
from node.values.inference import ChatMessage, TemplateOptions
from node.values.models import Ability

_SYSTEM = ChatMessage("system", "Answer every question in one word, please.")
_FIRST = ChatMessage("user", "How many legs has a spider?")
_ANSWER = ChatMessage("assistant", "It has eight legs.")
_REMINDER = ChatMessage("system", "From now on answer in French.")
_SECOND = ChatMessage("user", "And how many has a beetle?")

_READ_AS: Mapping[str, tuple[str, ...]] = {
    "enable_thinking": ("enable_thinking", "thinking"),
    "reasoning_effort": ("reasoning_effort", "thinking_effort", "reasoning_strength"),
}
"""The names by which templates read an option."""

SystemPlace = Literal["anywhere", "first", "nowhere"]
"""Where a template has a place for system messages."""


@dataclass(frozen=True, slots=True)
class TemplateUse:
    """How one model's template is used."""

    abilities: tuple[Ability, ...] = ("chat", "turns", "system")
    system: SystemPlace = "anywhere"
    system_before_answer: SystemPlace = "anywhere"
    """The same where the last message is the assistant's, to be continued."""
    system_alone: SystemPlace = "anywhere"
    """The same where there is no user's message."""
    names: Mapping[str, Any] = field(default_factory=dict)
    """Names that the template must be given so that it can be rendered."""
    notes: tuple[str, ...] = ()
    """What the owner should know: what the template can't do, why, and what is done about it."""

    def placed(self, messages: Sequence[ChatMessage]) -> list[ChatMessage]:
        """The conversation with each system message where the template has a place for it."""
        if all(message.role == "system" for message in messages):
            return placed(messages, self.system_alone)
        return placed(messages, self.system_before_answer if messages[-1].role == "assistant" else self.system)

    def names_for(self, template: ChatTemplate, options: TemplateOptions) -> dict[str, Any]:
        """The names that a request's options come to.

        Raises:
            EngineError: With code ``bad_request`` for an option that the template doesn't read.
        """
        names = dict(self.names)
        asked = {"enable_thinking": options.enable_thinking, "reasoning_effort": options.reasoning_effort}
        for option, value in asked.items():
            if value is None:
                continue
            read = [name for name in _READ_AS[option] if name in template.reads]
            if not read:
                raise EngineError(
                    f"This model's chat template doesn't know {option}.",
                    code="bad_request",
                    fix="Leave it out, or choose an offer that names it.",
                )
            names.update(dict.fromkeys(read, value))
        return names


def try_template(template: ChatTemplate) -> TemplateUse:
    """Try a template with a plain, a system and several longer conversations.

    Raises:
        LoadError: With code ``model_unusable`` if it can't render a plain question, and why.
    """
    if template.completes:
        note = "The file has no chat template: the model continues a text, and answers no questions."
        return TemplateUse(("completion",), notes=(note,))
    names = _names_for_a_question(template)
    abilities: list[Ability] = ["chat"]
    notes: list[str] = []
    turns = _problem(template, names, (_FIRST, _ANSWER, _SECOND))
    if turns:
        notes.append(f"The chat template can't render a second question ({turns}): only single questions are answered.")
    else:
        abilities.append("turns")
    system: SystemPlace = "anywhere"
    problem = _problem(template, names, (_SYSTEM, _FIRST))
    if problem:
        system = "nowhere"
        notes.append(
            f"The chat template has no place for a system message ({problem}): it is put before the next question."
        )
    elif not turns and _problem(template, names, (_SYSTEM, _FIRST, _ANSWER, _REMINDER, _SECOND)):
        system = "first"
    before_answer: SystemPlace = system
    # Some templates put the system message into the user's message, if that is the last one.
    if not problem and _problem(template, names, (_SYSTEM, _FIRST, _ANSWER), begins=False):
        before_answer = "nowhere"
    alone: SystemPlace = "nowhere" if problem or _problem(template, names, (_SYSTEM,)) else "anywhere"
    abilities.append("system")
    abilities += [option for option, read in _OPTIONS.items() if not template.reads.isdisjoint(read)]
    return TemplateUse(tuple(abilities), system, before_answer, alone, names, tuple(notes))


_OPTIONS: Mapping[Ability, tuple[str, ...]] = {
    "enable_thinking": _READ_AS["enable_thinking"],
    "reasoning_effort": _READ_AS["reasoning_effort"],
}


def _names_for_a_question(template: ChatTemplate) -> dict[str, Any]:
    """What must stand for the tools or functions that aren't there, so that a plain question can be rendered.

    Raises:
        LoadError: If nothing helps.
    """
    reason = ""
    stand_ins: tuple[dict[str, Any], ...] = ({}, {"tools": template.no_tools}, {"tools": []}, {"functions": "[]"})
    for names in stand_ins:
        problem = _problem(template, names, (_FIRST,))
        if not problem:
            return names
        reason = reason or problem
    raise LoadError(
        f"The model's chat template can't render a plain question: {reason}.",
        fix="Choose another model, or a file of it whose template was mended.",
    )


def _problem(
    template: ChatTemplate, names: Mapping[str, Any], messages: Sequence[ChatMessage], *, begins: bool = True
) -> str:
    """Why a template can't render a conversation, or nothing."""
    shown = [{"role": message.role, "content": message.content} for message in messages]
    try:
        prompt = template.render(shown, begins=begins, names=names)
    except EngineError as error:
        return error.message.removesuffix(".").removeprefix("The model's chat template ")
    if not prompt.strip():
        return "it renders nothing"
    at = 0
    for message in messages:
        found = prompt.find(message.content, at)
        if found < 0:
            return f"it leaves the {message.role}'s text out" if at == 0 else "it leaves a message out"
        at = found + len(message.content)
    return ""


def placed(messages: Sequence[ChatMessage], system: SystemPlace) -> list[ChatMessage]:
    """The conversation with each system message where the template has a place for it.

    One without a place is put before the text of the user's next message, or else after the last one's.

    Args:
        messages: The conversation.
        system: Where the template has a place.
    """
    if system == "anywhere":
        return list(messages)
    kept: list[ChatMessage] = []
    waiting: list[str] = []
    for message in messages:
        if message.role == "system":
            if system == "first" and not waiting and all(one.role == "system" for one in kept):
                kept = [_joined("system", (*(one.content for one in kept), message.content))]
            else:
                waiting.append(message.content)
        elif message.role == "user" and waiting:
            kept.append(_joined("user", (*waiting, message.content)))
            waiting = []
        else:
            kept.append(message)
    if waiting and kept and kept[-1].role == "user":
        kept[-1] = _joined("user", (kept[-1].content, *waiting))
    elif waiting:
        kept.append(_joined("user", waiting))
    return kept


def _joined(role: Literal["system", "user"], texts: Sequence[str]) -> ChatMessage:
    return ChatMessage(role, "\n\n".join(texts))
