"""Where a model's weights and its key-value cache go, and in what form: a person's choice, checked."""

from __future__ import annotations

import math
from typing import Literal, get_args

import msgspec

from node.engine.protocol import EngineError

KvType = Literal["f16", "q8_0", "q4_0"]
SplitMode = Literal["layer", "row", "none"]
KV_TYPES: tuple[KvType, ...] = get_args(KvType)
MAX_GPUS = 16

_BLOCK = 32
"""Values in a block of a quantized cache: a head's keys and values must be whole blocks."""
_BYTES_PER_BLOCK: dict[KvType, int] = {"f16": 64, "q8_0": 34, "q4_0": 18}


class Placement(msgspec.Struct, frozen=True, kw_only=True):
    """How llama.cpp places a model; everything but the cache's form matters with GPUs only.

    Attributes:
        kv_type: The form of the key-value cache; quantized ones need flash attention, and take half or a quarter.
        flash_attention: Whether to use it; None for where it helps: with a GPU, or a quantized cache.
        split_mode: How several GPUs share a model: by layers, by rows of each matrix, or not at all.
        tensor_split: Shares of the GPUs in order; by their free memory if empty.
        main_gpu: The GPU that takes all if they don't share.

    Raises:
        EngineError: With code ``bad_request`` if the values can't be used together.
    """

    kv_type: KvType = "f16"
    flash_attention: bool | None = None
    split_mode: SplitMode = "layer"
    tensor_split: tuple[float, ...] = ()
    main_gpu: int = 0

    def __post_init__(self) -> None:
        if self.kv_type not in KV_TYPES or self.split_mode not in get_args(SplitMode):
            raise _bad(
                f"A cache is one of {', '.join(KV_TYPES)}, and GPUs share by layer, by row or not at all (none)."
            )
        if self.kv_type != "f16" and self.flash_attention is False:
            raise _bad("A quantized cache needs flash attention.")
        if not 0 <= self.main_gpu < MAX_GPUS:
            raise _bad(f"The main GPU is a number from 0 to {MAX_GPUS - 1}.")
        if not self.tensor_split:
            return
        shares = self.tensor_split
        if (
            len(shares) > MAX_GPUS
            or not all(math.isfinite(share) and share >= 0 for share in shares)
            or not any(shares)
        ):
            raise _bad(f"A tensor split is a share for each of up to {MAX_GPUS} GPUs, none negative and not all 0.")

    @property
    def kv_share(self) -> float:
        """Size of the cache ÷ that of an f16 one."""
        return _BYTES_PER_BLOCK[self.kv_type] / _BYTES_PER_BLOCK["f16"]

    def uses_flash_attention(self, *, on_gpu: bool) -> bool:
        """Whether flash attention is used. On a CPU with an f16 cache it is up to three times slower."""
        return self.flash_attention if self.flash_attention is not None else on_gpu or self.kv_type != "f16"

    def suits(self, head_lengths: tuple[int, ...]) -> bool:
        """Whether a model whose heads have so many values can have this cache."""
        return self.kv_type == "f16" or all(length % _BLOCK == 0 for length in head_lengths)


def parse_tensor_split(text: str) -> tuple[float, ...]:
    """``3,1`` as shares.

    Raises:
        EngineError: With code ``bad_request`` if it is none.
    """
    try:
        shares = tuple(float(part) for part in text.split(",")) if text.strip() else ()
    except ValueError:
        raise _bad("A tensor split looks like 3,1: a share for each GPU.") from None
    return Placement(tensor_split=shares).tensor_split


def _bad(message: str) -> EngineError:
    return EngineError(message, code="bad_request")
