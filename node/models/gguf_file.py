"""Reads the bytes of a GGUF file's header, without trusting them: keys, values, and what the tensors add up to.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3, little-endian. The file comes from
a stranger and llama.cpp aborts its whole process on some broken ones, so every count is bounded by what the file can
still hold, the header is read through one small window, and every tensor must lie inside the file.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from math import prod
from pathlib import Path

import msgspec

from node.models.foreign import HEAD_BYTES, no_file, no_gguf
from node.models.ggml_types import TYPES
from node.models.header_window import DEFAULT_LIMITS, HeaderLimits, HeaderWindow
from node.models.model_error import TO_WHOLE_FILE, ModelError, printable

MAGIC = b"GGUF"
VERSIONS = (2, 3)
DEFAULT_ALIGNMENT = 32
MAX_ALIGNMENT = 1 << 20

MAX_KEYS = 16_384
MAX_TENSORS = 131_072
MAX_KEY_BYTES = 1_024
MAX_TENSOR_NAME_BYTES = 63
MAX_KEPT_STRING_BYTES = 512 * 1024
MAX_KEPT_ITEMS = 4_096
MAX_DIMENSIONS = 4

_STRING, _ARRAY, _BOOL = 8, 9, 7
_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<B", 10: "<Q", 11: "<q", 12: "<d"}
Value = int | float | bool | str | tuple[int | float | bool, ...] | None
"""A value that was kept: None for arrays of text and for what is too long."""


class GgufContents(msgspec.Struct, frozen=True):
    """What one file holds."""

    facts: dict[str, Value]
    array_lengths: dict[str, int]
    tensors: TensorSums
    file_bytes: int


class TensorSums(msgspec.Struct):
    """Sums over the tensors of one file."""

    count: int
    parameters: int = 0
    total_bytes: int = 0
    embedding_bytes: int = 0
    has_output: bool = False


def read(path: Path, limits: HeaderLimits = DEFAULT_LIMITS) -> GgufContents:
    """Read the header of one file, and hold its tensors against the file's size.

    Args:
        path: The file.
        limits: What is read and kept of its header.

    Raises:
        ModelError: If it is no GGUF, is truncated, or contradicts itself.
        OSError: If it can't be read.
        ValueError: If the path is none.
    """
    if not path.is_file():
        raise no_file(path)
    with path.open("rb", buffering=0) as file:
        size = file.seek(0, 2)
        file.seek(0)
        return _read_header(HeaderWindow(file, size, printable(path.name), limits))


def whole_number(value: Value, missing: int = 0) -> int:
    """A non-negative whole number, or for a per-layer array its largest entry; `missing` for anything else."""
    if isinstance(value, tuple):
        return max((whole_number(item) for item in value), default=missing)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        return missing
    return min(value, 1 << 40)


def _read_header(header: HeaderWindow) -> GgufContents:
    head = header.take(min(HEAD_BYTES, header.size))
    if not head.startswith(MAGIC):
        raise no_gguf(head, header.shown)
    header.rewind(len(MAGIC))
    version = header.u32()
    if version not in VERSIONS:
        raise _foreign_version(version, header.shown)
    tensor_count, key_count = header.u64(), header.u64()
    if tensor_count > MAX_TENSORS or key_count > MAX_KEYS:
        raise header.broken(f"it claims {tensor_count} tensors and {key_count} keys")
    facts: dict[str, Value] = {}
    array_lengths: dict[str, int] = {}
    for _ in range(key_count):
        key = header.text(MAX_KEY_BYTES)
        if not key or key in facts:
            raise header.broken(f"the key {printable(key)!r} is empty or stands twice")
        facts[key] = _read_value(header, key, array_lengths)
    tensors = _read_tensors(header, tensor_count, _alignment(header, facts))
    # The first part of a split model may hold facts only; a whole model never does.
    if not tensor_count and whole_number(facts.get("split.count")) < 2:
        if "tokenizer.ggml.tokens" in array_lengths:
            raise ModelError(
                f"The file {header.shown} holds a vocabulary and 0 tensors: no model can be made of it.",
                fix="Choose the model itself.",
            )
        raise header.broken("it claims 0 tensors")
    return GgufContents(facts, array_lengths, tensors, header.size)


def _foreign_version(version: int, shown: str) -> ModelError:
    if int.from_bytes(version.to_bytes(4, "little"), "big") in VERSIONS:
        return ModelError(
            f"The model file {shown} is big-endian: it was made for machines such as s390x.",
            fix="Choose the little-endian file, or convert it with llama.cpp's gguf_convert_endian.py.",
        )
    old = version < min(VERSIONS)
    return ModelError(
        f"The model file {shown} has GGUF version {version}, which can't be read here.",
        fix="Convert it to GGUF version 3." if old else "Choose a file of version 3, or update Idlewatt.",
    )


def _alignment(header: HeaderWindow, facts: dict[str, Value]) -> int:
    alignment = whole_number(facts.get("general.alignment", DEFAULT_ALIGNMENT))
    if (
        not isinstance(alignment, int)
        or isinstance(alignment, bool)
        or not 0 < alignment <= MAX_ALIGNMENT
        or alignment & (alignment - 1)
    ):
        raise header.broken("its alignment is not a power of two")
    return alignment


def _read_value(header: HeaderWindow, key: str, array_lengths: dict[str, int]) -> Value:
    kind = header.u32()
    if kind == _STRING:
        length = header.u64()
        if length <= min(MAX_KEPT_STRING_BYTES, header.text_bytes_left):
            header.text_bytes_left -= length
            return header.take(length).decode("utf-8", "replace")
        header.skip(length)
        return None
    if kind == _ARRAY:
        return _read_array(header, key, array_lengths)
    return _scalar(header, kind)()


def _scalar(header: HeaderWindow, kind: int) -> Callable[[], int | float | bool]:
    code = _SCALARS.get(kind)
    if code is None:
        raise header.broken(f"it holds a value of unknown type {kind}")
    reader = struct.Struct(code)

    def read() -> int | float | bool:
        value: int | float = reader.unpack(header.take(reader.size))[0]
        return bool(value) if kind == _BOOL else value

    return read


def _read_array(header: HeaderWindow, key: str, array_lengths: dict[str, int]) -> Value:
    kind, length = header.u32(), header.u64()
    array_lengths[key] = length
    if kind == _STRING:
        header.items_left -= length
        if header.items_left < 0 or length * 8 > header.remaining:
            raise header.truncated() if length * 8 > header.remaining else header.broken("its arrays are too long")
        u64, skip = header.u64, header.skip
        for _ in range(length):
            skip(u64())
        return None
    read = _scalar(header, kind)
    if length <= min(MAX_KEPT_ITEMS, header.numbers_left):
        header.numbers_left -= length
        return tuple(read() for _ in range(length))
    header.skip(length * struct.calcsize(_SCALARS[kind]))
    return None


def _read_tensors(header: HeaderWindow, count: int, alignment: int) -> TensorSums:
    """Check every tensor against the file; returns sums over all of them."""
    sums = TensorSums(count)
    place = data_end = 0
    names: set[str] = set()
    for _ in range(count):
        name = header.text(MAX_TENSOR_NAME_BYTES)
        if name in names:
            raise header.broken(f"the tensor {printable(name)!r} stands twice")
        names.add(name)
        rank = header.u32()
        if rank > MAX_DIMENSIONS:
            raise header.broken(f"the tensor {printable(name)!r} has {rank} dimensions")
        shape = [header.u64() for _ in range(rank)]
        kind, offset = header.u32(), header.u64()
        if kind not in TYPES:
            raise ModelError(
                f"The model file {header.shown} stores tensors in format {kind}, which is unknown here.",
                fix="Choose another quantization.",
            )
        block_items, block_bytes = TYPES[kind]
        items = prod(shape)
        if not 0 < items < 1 << 62 or (shape and shape[0] % block_items):
            raise header.broken(f"the tensor {printable(name)!r} has an impossible shape")
        if offset != place:
            # llama.cpp takes no other order either; overlapping tensors would claim more than the file has.
            raise header.broken(f"the tensor {printable(name)!r} doesn't lie right behind the one before it")
        size = items // block_items * block_bytes
        sums.parameters += items
        sums.total_bytes += size
        if name == "token_embd.weight":
            sums.embedding_bytes = size
        sums.has_output |= name == "output.weight"
        data_end = place + size
        place = _round_up(data_end, alignment)
    needed = _round_up(header.position, alignment) + data_end
    if needed > header.size:
        raise ModelError(
            f"The model file {header.shown} is truncated: its tensors need {needed} bytes, it has {header.size}.",
            fix=TO_WHOLE_FILE,
        )
    return sums


def _round_up(count: int, step: int) -> int:
    return -(-count // step) * step
