"""A vocabulary of characters: tokens that can be read as the text they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from node.engine.worker.abilities import try_template
from node.engine.worker.markers import MarkerGuard
from node.engine.worker.prompt import PromptBuilder
from node.engine.worker.template import ChatTemplate
from node.values.inference import NO_OPTIONS, ChatMessage, TemplateOptions


class Characters:
    """Each character is a token, and no text is a marker."""

    leading_tokens: ClassVar[list[int]] = []

    def tokenize(self, text: str, *, special: bool, continues: bool = False) -> list[int]:
        return [ord(char) for char in text]


def read_by(template: ChatTemplate, messages: Sequence[ChatMessage], options: TemplateOptions = NO_OPTIONS) -> str:
    """The prompt that a model with this template reads, which is tried first, as at load."""
    builder = PromptBuilder(template, Characters(), MarkerGuard({}), try_template(template))
    return "".join(map(chr, builder.tokens(messages, options)))
