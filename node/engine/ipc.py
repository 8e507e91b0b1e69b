"""The frames between the engine and its worker process: MessagePack over one socket pair (``node.wire.framing``).

Requests travel under small ticket numbers given by the engine, so that a request id reused by a client never meets
what an earlier request under the same id left in flight.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, TypeVar

import msgspec

from node.engine.options import EngineOptions, StreamLimits
from node.engine.protocol import EngineError, FinishReason
from node.engine.threads import Threads
from node.models.fit import Fit
from node.values.inference import NO_OPTIONS, ChatMessage, Sampling, TemplateOptions, TokenLogprob
from node.values.models import Ability
from node.wire import framing

MAX_MESSAGE_BYTES = 32 * 1024 * 1024

Ticket = Annotated[int, msgspec.Meta(ge=0)]
_T = TypeVar("_T")


class _Frame(msgspec.Struct, array_like=True):
    pass


class Load(_Frame, tag=0):
    """The first frame to a worker: what to load and how."""

    model_path: bytes
    """As the system names it: a file's name need not be UTF-8."""
    chat_template: str | None
    options: EngineOptions
    """What was chosen."""
    limits: StreamLimits
    fit: Fit
    """What that comes to with this model and this machine's memory."""
    threads: Threads
    try_threads: tuple[int, ...] = ()
    """Numbers of threads to measure and choose from instead."""
    swap_bytes: int = 0
    """Main memory for sequences that are kept after their requests, beside the cache."""
    evict_after_tokens: int = 0
    """Tokens that others may draw before a kept sequence leaves the cache."""


class Generate(_Frame, tag=1):
    """Run a chat; ``seed`` is already chosen and ``sampling`` already checked."""

    ticket: Ticket
    messages: tuple[ChatMessage, ...]
    max_tokens: int
    sampling: Sampling
    seed: int
    stop: tuple[str, ...]
    logprobs: int | None = None
    grammar: str = ""
    """A grammar in llguidance's notation that llguidance has been seen to take, or nothing."""
    cache_key: str = ""
    priority: int = 0
    template_options: TemplateOptions = NO_OPTIONS


class Cancel(_Frame, tag=2):
    """Stop a request between two tokens."""

    ticket: Ticket


class Credit(_Frame, tag=3):
    """The reader took this many tokens: as many more may be produced."""

    ticket: Ticket
    tokens: int


class Count(_Frame, tag=4):
    """Tokenize a conversation and say how many tokens it has."""

    ticket: Ticket
    messages: tuple[ChatMessage, ...]
    template_options: TemplateOptions = NO_OPTIONS


class Measure(_Frame, tag=5):
    """Measure the decode speed again, if nothing runs."""

    ticket: Ticket


class Ping(_Frame, tag=6):
    """Ask for a sign of life."""


class Quit(_Frame, tag=7):
    """End in good order."""


class Score(_Frame, tag=8):
    """Say how likely a completion is.

    The prompt is a conversation, or tokens where `messages` is empty; the completion is tokens where `text` is None.
    """

    ticket: Ticket
    messages: tuple[ChatMessage, ...]
    prompt_tokens: tuple[int, ...]
    text: str | None
    tokens: tuple[int, ...]
    top_k: int


class Embed(_Frame, tag=9):
    """Turn texts into vectors."""

    ticket: Ticket
    texts: tuple[str, ...]


ToWorker = Load | Generate | Cancel | Credit | Count | Measure | Ping | Quit | Score | Embed


class Loading(_Frame, tag=20):
    """The model is being read."""

    progress: float


class Ready(_Frame, tag=21):
    """The model is loaded."""

    engine_build: str
    backend: str
    vocabulary_size: int
    context_length: int
    tokens_per_s: float
    ttft_ms: float
    chats: bool = True
    embedding_length: int = 0
    threads: Threads = Threads(0, 0)
    """What it computes with."""
    abilities: tuple[Ability, ...] = ()
    notes: tuple[str, ...] = ()
    """What its chat template can't do, and why."""
    template_tokens: int = 0


class LoadFailed(_Frame, tag=22):
    """The model can't be used; the worker ends."""

    code: str
    message: str
    fix: str = ""


class Began(_Frame, tag=23):
    """A request is tokenized and admitted to a slot."""

    ticket: Ticket
    input_tokens: int


class OutputText(_Frame, tag=24):
    """Text of a request, and how many sampled tokens it holds."""

    ticket: Ticket
    text: str
    tokens: int
    thinking: bool = False
    logprobs: tuple[TokenLogprob, ...] = ()
    marker: bool = False


class Ended(_Frame, tag=25):
    """A request is over."""

    ticket: Ticket
    reason: FinishReason
    input_tokens: int
    output_tokens: int
    prefill_ms: float
    decode_ms: float


class Refused(_Frame, tag=26):
    """A request can't be served."""

    ticket: Ticket
    code: str
    message: str
    fix: str


class TokenCount(_Frame, tag=27):
    """The answer to `Count`."""

    ticket: Ticket
    tokens: int


class Measured(_Frame, tag=28):
    """The answer to `Measure`."""

    ticket: Ticket
    tokens_per_s: float
    ttft_ms: float


class Pong(_Frame, tag=29):
    """The answer to `Ping`: how long the largest batch takes about, in seconds, or 0.0 if that is not known."""

    step_s: float = 0.0


class ScoreDone(_Frame, tag=30):
    """The answer to `Score`."""

    ticket: Ticket
    input_tokens: int
    tokens: tuple[TokenLogprob, ...]


class EmbedDone(_Frame, tag=31):
    """The answer to `Embed`: the vectors one after another as float32, little-endian."""

    ticket: Ticket
    vectors: bytes
    input_tokens: tuple[int, ...]


FromWorker = (
    Loading
    | Ready
    | LoadFailed
    | Began
    | OutputText
    | Ended
    | Refused
    | TokenCount
    | Measured
    | Pong
    | ScoreDone
    | EmbedDone
)

_encoder = msgspec.msgpack.Encoder()
_to_worker: msgspec.msgpack.Decoder[list[ToWorker]] = msgspec.msgpack.Decoder(list[ToWorker])
_from_worker: msgspec.msgpack.Decoder[list[FromWorker]] = msgspec.msgpack.Decoder(list[FromWorker])


def encode(frames: Sequence[ToWorker | FromWorker]) -> bytes:
    """Several frames as one length-prefixed message."""
    return framing.frame(_encoder.encode(frames))


class FrameDecoder:
    """Splits a byte stream into messages; feed it the bytes as they arrive.

    Args:
        max_message_bytes: The longest message that is allowed, without its length.
    """

    def __init__(self, max_message_bytes: int = MAX_MESSAGE_BYTES) -> None:
        self._splitter = framing.FrameSplitter(max_message_bytes)

    def feed_from_worker(self, data: bytes) -> list[FromWorker]:
        """Frames that a worker sent, complete with these bytes.

        Raises:
            EngineError: If the bytes are not what a worker sends.
        """
        return self._feed(data, _from_worker)

    def feed_to_worker(self, data: bytes) -> list[ToWorker]:
        """Frames for a worker, complete with these bytes.

        Raises:
            EngineError: If the bytes are not what an engine sends.
        """
        return self._feed(data, _to_worker)

    def _feed(self, data: bytes, decoder: msgspec.msgpack.Decoder[list[_T]]) -> list[_T]:
        try:
            return [one for body in self._splitter.feed(data) for one in decoder.decode(body)]
        except framing.FrameTooLongError as error:
            raise EngineError("The engine worker sent a message that is too long.", code="engine_crashed") from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise EngineError("The engine worker sent a broken message.", code="engine_crashed") from error
