"""What an upstream was seen to do beyond answering in text, and which requests that allows; pure."""

from __future__ import annotations

from typing import Final

import msgspec

from node.engine.protocol import EngineError, GenerateRequest
from node.values.inference import JsonObject, JsonSchema


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What one server and model showed when they were tried."""

    json_object: bool = False
    """Whether it holds an answer to one JSON object."""
    json_schema: bool = False
    """Whether it holds an answer to a JSON schema."""
    most_tops: int | None = None
    """How many of the most likely tokens it reports with each token's log-probability; ``None`` if it reports none."""
    vector_length: int = 0
    """Numbers in an embedding; 0 if it makes none."""

    opened_pair: tuple[str, str] | None = None
    """The tags around its thinking, where it leaves that in the answer's text, without the first of them."""

    def described(self) -> str:
        """For a log's line."""
        parts = (
            "JSON objects" if self.json_object else "",
            "JSON schemas" if self.json_schema else "",
            "" if self.most_tops is None else f"log-probabilities with {self.most_tops} alternatives",
            f"embeddings of {self.vector_length} numbers" if self.vector_length else "",
            f"thinking up to {self.opened_pair[1]}" if self.opened_pair else "",
        )
        return ", ".join(filter(None, parts)) or "nothing"


NO_CAPABILITIES: Final = Capabilities()


def not_here(what: str) -> EngineError:
    """The refusal of something that an upstream can't be held to."""
    return EngineError(
        f"This provider stands before another server, and can't promise {what}.",
        code="bad_request",
        fix="Leave it out, or choose a provider with the model's file.",
    )


def check_supported(request: GenerateRequest, capabilities: Capabilities) -> None:
    """Refuse what this server was not seen to do, or servers pass over in silence: a buyer pays for what was asked.

    Raises:
        EngineError: With code ``bad_request``, naming the first of them.
    """
    match request.response_format:
        case JsonObject() if not capabilities.json_object:
            raise not_here("answers that are JSON objects")
        case JsonSchema() if not capabilities.json_schema:
            raise not_here("answers that keep to a JSON schema")
    if request.logprobs is not None and capabilities.most_tops is None:
        raise not_here("log-probabilities")
    if (request.logprobs or 0) > (capabilities.most_tops or 0):
        raise not_here(f"more than {capabilities.most_tops or 0} of the most likely tokens")
    if request.sampling.logit_bias:
        raise not_here("a bias on tokens")
    if request.sampling.typical_p != 1.0:
        raise not_here("typical_p")
