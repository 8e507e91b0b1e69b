"""How models are loaded and how requests share them: declared here once, and passed whole down to the worker."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import msgspec

from node.engine.protocol import EngineError

KvType = Literal["f16", "q8_0", "q4_0"]
SplitMode = Literal["layer", "row", "none"]
MAX_SLOTS = 64
MAX_GPUS = 16
MIN_CONTEXT_TOKENS = 64
MAX_CONTEXT_TOKENS = 1 << 30
MAX_GPU_LAYERS = 10_000
"""More than any model has."""
MAX_THREADS = 1_024

_BLOCK = 32
"""Values in a block of a quantized cache: a head's keys and values must be whole blocks."""
_BYTES_PER_BLOCK: dict[KvType, int] = {"f16": 64, "q8_0": 34, "q4_0": 18}


class EngineOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a person may choose about how models run here; ``None`` leaves it to the model and the machine.

    Raises:
        EngineError: With code ``bad_request`` if two values can't be used together.
    """

    slots: Annotated[int, msgspec.Meta(ge=1, le=MAX_SLOTS)] = 4
    """Requests served at once."""
    context_length: Annotated[int, msgspec.Meta(ge=MIN_CONTEXT_TOKENS, le=MAX_CONTEXT_TOKENS)] | None = None
    """Tokens a request may have, prompt and answer together. If not set: the model's own context, at most 4,096."""
    threads: Annotated[int, msgspec.Meta(ge=1, le=MAX_THREADS)] | None = None
    """Threads of the engine. If not set, the best number is measured once for each model."""
    gpu_layers: Annotated[int, msgspec.Meta(ge=-1, le=MAX_GPU_LAYERS)] = -1
    """Layers put on the GPU; -1 for all of them."""
    kv_type: KvType = "f16"
    """The form of the KV cache: ``q8_0`` takes half the memory, ``q4_0`` a quarter. Both use flash attention, and cost
    a little quality."""
    flash_attention: bool | None = None
    """Whether to use flash attention. If not set, it is used where it helps: with a GPU, or a quantized cache."""
    split_mode: SplitMode = "layer"
    """How several GPUs share a model: by ``layer``, by ``row`` of each matrix, or ``none``: one GPU takes all."""
    tensor_split: Annotated[str, msgspec.Meta(pattern=r"^[0-9.,]{0,200}\Z", examples=["3,1"])] = ""
    """Shares of several GPUs in order, such as ``3,1``. If empty, each takes a share by its free memory."""
    main_gpu: Annotated[int, msgspec.Meta(ge=0, lt=MAX_GPUS)] = 0
    """The GPU that takes all when ``split_mode`` is ``none``."""
    share_prefixes: bool = False
    """Whether buyers may reuse each other's prompt prefixes; what that tells them is in docs/privacy.md."""

    def __post_init__(self) -> None:
        if self.kv_type != "f16" and self.flash_attention is False:
            raise _bad("A quantized cache (kv_type) needs flash attention.")
        parse_tensor_split(self.tensor_split)

    @property
    def kv_share(self) -> float:
        """Size of the cache ÷ that of an f16 one."""
        return _BYTES_PER_BLOCK[self.kv_type] / _BYTES_PER_BLOCK["f16"]

    @property
    def gpu_shares(self) -> tuple[float, ...]:
        """What `tensor_split` says: a share for each GPU, or nothing."""
        return parse_tensor_split(self.tensor_split)

    def uses_flash_attention(self, *, on_gpu: bool) -> bool:
        """Whether flash attention is used. On a CPU with an f16 cache it is up to three times slower."""
        return self.flash_attention if self.flash_attention is not None else on_gpu or self.kv_type != "f16"

    def suits(self, head_lengths: tuple[int, ...]) -> bool:
        """Whether a model whose heads have so many values can have this cache."""
        return self.kv_type == "f16" or all(length % _BLOCK == 0 for length in head_lengths)


class StreamLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How many requests wait, and how far and how often text goes ahead of its reader; nothing a person chooses."""

    queue_limit: Annotated[int, msgspec.Meta(ge=0)] = 16
    """Requests that may wait for a slot."""
    window_tokens: Annotated[int, msgspec.Meta(ge=1)] = 256
    """Tokens that an answer may be ahead of its reader."""
    flush_ms: float = 50.0
    """Text is gathered for so long: each piece is sealed, relayed, opened and drawn at a price, and a reader needs no
    more."""


def check_options(options: EngineOptions) -> None:
    """Raise if a value is outside its bounds: a constructor doesn't look at them.

    Raises:
        EngineError: With code ``bad_request``.
    """
    try:
        msgspec.convert(msgspec.to_builtins(options), type(options))
    except msgspec.ValidationError as error:
        said, _, name = str(error).partition(" - at `$.")
        raise _bad(f"The engine's {name.rstrip('`')} is not usable: {said}.") from None


def parse_tensor_split(text: str) -> tuple[float, ...]:
    """``3,1`` as shares.

    Raises:
        EngineError: With code ``bad_request`` if it is none.
    """
    try:
        shares = tuple(float(part) for part in text.split(",")) if text.strip() else ()
    except ValueError:
        raise _bad("tensor_split looks like 3,1: a share for each GPU.") from None
    if not shares:
        return ()
    if len(shares) > MAX_GPUS or not all(math.isfinite(share) and share >= 0 for share in shares) or not any(shares):
        raise _bad(f"tensor_split is a share for each of up to {MAX_GPUS} GPUs, none negative and not all 0.")
    return shares


def _bad(message: str) -> EngineError:
    return EngineError(message, code="bad_request")
