"""What can be asked of a model, and what it says of each token: values with their bounds.

Sampling parameters carry the OpenAI API's names and meanings. What travels between buyer and provider is bounded here,
so that no other boundary has to repeat it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec

MAX_LOGIT_BIAS = 300
MAX_TOP_LOGPROBS = 20
MAX_SCHEMA_CHARS = 64 * 1024
MAX_TOKEN_BYTES = 1_024

TokenId = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
Logprob = Annotated[float, msgspec.Meta(le=0.0)]


class ChatMessage(msgspec.Struct, frozen=True):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


def content_bytes(messages: Iterable[ChatMessage]) -> int:
    """The length of a conversation's text in bytes of UTF-8, without roles.

    Raises:
        UnicodeEncodeError: If a text holds half a character.
    """
    return sum(len(message.content.encode()) for message in messages)


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """How the next token is drawn."""

    temperature: float = 0.7
    top_p: float = 1.0
    top_k: int = 40
    min_p: float = 0.05
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    repeat_penalty: float = 1.0
    seed: int | None = None
    typical_p: float = 1.0
    """Locally typical sampling; 1.0 is off."""
    logit_bias: Annotated[tuple[tuple[TokenId, float], ...], msgspec.Meta(max_length=MAX_LOGIT_BIAS)] = ()
    """What is added to the logits of tokens, by their ids in the model's vocabulary, before anything else."""


class TemplateOptions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a chat template is told beside the conversation, by the names that most of them read.

    Other servers call them ``chat_template_kwargs``. Only these can be asked for: a template also reads names that a
    buyer must not set.
    """

    enable_thinking: bool | None = None
    """Whether a reasoning model should think; ``None`` leaves it to the template."""
    reasoning_effort: Annotated[str, msgspec.Meta(max_length=16, pattern=r"^[a-z_]+\Z")] | None = None
    """How much it should think, in the model's own word: ``low``, ``medium``, ``high``, or another one."""


NO_OPTIONS = TemplateOptions()


class JsonObject(msgspec.Struct, frozen=True, tag="json_object"):
    """The answer is one JSON object."""


class JsonSchema(msgspec.Struct, frozen=True, tag="json_schema"):
    """The answer is one JSON value that this JSON schema accepts."""

    schema: Annotated[str, msgspec.Meta(max_length=MAX_SCHEMA_CHARS)]
    """The schema as JSON text."""


ResponseFormat = JsonObject | JsonSchema


class TopLogprob(msgspec.Struct, frozen=True, array_like=True):
    """A token that could have stood here, and how likely it was."""

    token: TokenId
    data: Annotated[bytes, msgspec.Meta(max_length=MAX_TOKEN_BYTES)]
    logprob: Logprob


class TokenLogprob(msgspec.Struct, frozen=True, array_like=True):
    """A token of the answer: its id, its bytes (perhaps only a part of a character), and its log-probability.

    Log-probabilities are natural, of the model's own distribution: before bias, penalties, format and temperature.
    """

    token: TokenId
    data: Annotated[bytes, msgspec.Meta(max_length=MAX_TOKEN_BYTES)]
    logprob: Logprob
    top: Annotated[tuple[TopLogprob, ...], msgspec.Meta(max_length=MAX_TOP_LOGPROBS)] = ()
    """The most likely tokens here, best first."""

    @property
    def text(self) -> str:
        """The bytes as text; a part of a character is U+FFFD."""
        return self.data.decode("utf-8", "replace")
