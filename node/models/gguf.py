"""Reads what a GGUF file says about itself, without trusting it.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3, little-endian. The file comes from
a stranger and llama.cpp aborts its whole process on some broken ones, so every count is bounded by what the file can
still hold, the header is read through one small window, and every tensor must lie inside the file.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import BinaryIO

import msgspec

from node.engine.protocol import EngineError
from node.models.ggml_types import FILE_TYPE_LABELS, TYPES
from node.models.naming import part_names, part_of

MAGIC = b"GGUF"
VERSIONS = (2, 3)
DEFAULT_ALIGNMENT = 32

MAX_HEADER_BYTES = 128 * 1024 * 1024
MAX_KEYS = 16_384
MAX_TENSORS = 131_072
MAX_ARRAY_ITEMS = 8_000_000
"""Over all arrays of one file; the largest real vocabularies, with merges and scores, stay near a million."""
MAX_KEY_BYTES = 1_024
MAX_TENSOR_NAME_BYTES = 63
MAX_KEPT_STRING_BYTES = 512 * 1024
MAX_KEPT_ITEMS = 4_096
MAX_DIMENSIONS = 4
MAX_DISPLAY_CHARS = 80

_WINDOW_BYTES = 1 << 20
_STRING, _ARRAY, _BOOL = 8, 9, 7
_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<B", 10: "<Q", 11: "<q", 12: "<d"}
_TO_WHOLE_FILE = "Download it again, or choose another model."

Value = int | float | bool | str | tuple[int | float | bool, ...] | None


class ModelError(EngineError):
    """A model file that can't be used, and why."""

    default_code = "model_unusable"


class GgufInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a GGUF header says; every count is what the file claims, every size was checked against the file."""

    name: str
    architecture: str
    quantization: str
    parameters: int
    context_length: int
    layers: int
    embedding_length: int
    feed_forward_length: int
    heads: int
    kv_heads_per_layer: tuple[int, ...]
    key_length: int
    value_length: int
    vocabulary_size: int
    chat_template: str | None
    file_bytes: int
    """Of all parts, as are the next two."""
    tensor_bytes: int
    tensors: int
    parts: int = 1
    kind: str = "model"
    """What `general.type` says: adapters and image projectors are no models of their own."""
    tokenizer: str = ""
    licence: str = ""
    embedding_bytes: int = 0
    """Of the token embeddings, which stay in main memory when a GPU computes."""
    is_tied: bool = False
    """Whether the embeddings are the output matrix too."""
    sliding_window: int = 0
    experts_used: int = 0
    recurrent_bytes: int = 0
    """State of one sequence in layers that keep a state instead of keys and values."""

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes that one token takes in an f16 key-value cache, over all layers."""
        return 2 * sum(self.kv_heads_per_layer) * (self.key_length + self.value_length)


def printable(text: str, limit: int = MAX_DISPLAY_CHARS) -> str:
    """A hostile string as it may stand in a message: one line of printable characters, at most `limit` of them."""
    cleaned = "".join(char if char.isprintable() else "?" for char in text[: limit + 1])
    return cleaned if len(cleaned) <= limit else cleaned[: limit - 1] + "…"


def inspect(path: Path) -> GgufInfo:
    """Read the header of a GGUF file.

    Raises:
        ModelError: If it can't be read, is no GGUF, is truncated, or contradicts itself.
    """
    shown = printable(path.name)
    try:
        if part_of(path.name) is None:
            return _describe((_read(path),), shown)
        parts = [path.with_name(name) for name in part_names(path.name)]
        missing = [part.name for part in parts if not part.is_file()]
        if missing:
            raise ModelError(
                f"The model {shown} is split, and its part {printable(missing[0])} is missing.", fix=_TO_WHOLE_FILE
            )
        return _describe(tuple(_read(part) for part in parts), printable(parts[0].name))
    except OSError as error:
        raise ModelError(
            f"The model file {shown} can't be read: {error.strerror or error}.", fix="Check its rights and the disk."
        ) from error
    except ValueError as error:  # a null byte in the path
        raise ModelError(f"{shown} is not a usable path.", fix="Check the path.") from error


class _Header:
    """Reads a header forward through a bounded window and never past the end of the file."""

    def __init__(self, file: BinaryIO, size: int, shown: str) -> None:
        self._file = file
        self._buffer = b""
        self._at = 0
        self._window_end = 0
        self.size = size
        self.shown = shown
        self.items_left = MAX_ARRAY_ITEMS

    @property
    def position(self) -> int:
        return self._window_end - len(self._buffer) + self._at

    @property
    def remaining(self) -> int:
        return self.size - self.position

    def truncated(self) -> ModelError:
        return ModelError(f"The model file {self.shown} is truncated.", fix=_TO_WHOLE_FILE)

    def broken(self, why: str) -> ModelError:
        return ModelError(f"The model file {self.shown} is broken: {why}.", fix=_TO_WHOLE_FILE)

    def take(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._buffer):
            self._fill(count)
            end = self._at + count
        piece = self._buffer[self._at : end]
        self._at = end
        return piece

    def skip(self, count: int) -> None:
        if count <= len(self._buffer) - self._at:
            self._at += count
            return
        self._check_room(count)
        self._window_end = self.position + count
        self._file.seek(self._window_end)
        self._buffer, self._at = b"", 0

    def u32(self) -> int:
        return int.from_bytes(self.take(4), "little")

    def u64(self) -> int:
        return int.from_bytes(self.take(8), "little")

    def text(self, limit: int) -> str:
        length = self.u64()
        if length > limit:
            raise self.broken(f"a name in it claims {length} bytes")
        return self.take(length).decode("utf-8", "replace")

    def _check_room(self, count: int) -> None:
        if count > self.remaining:
            raise self.truncated()
        if self.position + count > MAX_HEADER_BYTES:
            raise self.broken("its header is too long")

    def _fill(self, count: int) -> None:
        self._check_room(count)
        rest = self._buffer[self._at :]
        want = max(count - len(rest), min(_WINDOW_BYTES, self.size - self._window_end))
        fresh = bytearray()
        while len(fresh) < want:
            piece = self._file.read(want - len(fresh))
            if not piece:
                break
            fresh += piece
        self._buffer, self._at = rest + bytes(fresh), 0
        self._window_end += len(fresh)
        if len(self._buffer) < count:
            raise self.truncated()


class _Contents(msgspec.Struct, frozen=True):
    """What one file holds."""

    facts: dict[str, Value]
    array_lengths: dict[str, int]
    tensors: _Tensors
    file_bytes: int


class _Tensors(msgspec.Struct):
    """Sums over the tensors of one file."""

    count: int
    parameters: int = 0
    total_bytes: int = 0
    embedding_bytes: int = 0
    has_output: bool = False


def _read(path: Path) -> _Contents:
    if not path.is_file():
        raise ModelError(f"There is no model file {printable(path.name)}.", fix="Check the path.")
    with path.open("rb", buffering=0) as file:
        size = file.seek(0, 2)
        file.seek(0)
        return _read_header(_Header(file, size, printable(path.name)))


def _read_header(header: _Header) -> _Contents:
    if header.size < len(MAGIC) or header.take(4) != MAGIC:
        raise ModelError(f"{header.shown} is not a GGUF model file.", fix="Choose a file in GGUF format.")
    version = header.u32()
    if version not in VERSIONS:
        raise ModelError(
            f"The model file {header.shown} has GGUF version {version}, which can't be read here.",
            fix="Convert it to GGUF version 3.",
        )
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
    if not tensor_count and _count(facts.get("split.count")) < 2:
        raise header.broken("it claims 0 tensors")
    return _Contents(facts, array_lengths, tensors, header.size)


def _alignment(header: _Header, facts: dict[str, Value]) -> int:
    alignment = facts.get("general.alignment", DEFAULT_ALIGNMENT)
    if not isinstance(alignment, int) or not 0 < alignment <= 1 << 20 or alignment & (alignment - 1):
        raise header.broken("its alignment is not a power of two")
    return alignment


def _read_value(header: _Header, key: str, array_lengths: dict[str, int]) -> Value:
    kind = header.u32()
    if kind == _STRING:
        length = header.u64()
        if length <= MAX_KEPT_STRING_BYTES:
            return header.take(length).decode("utf-8", "replace")
        header.skip(length)
        return None
    if kind == _ARRAY:
        return _read_array(header, key, array_lengths)
    return _scalar(header, kind)()


def _scalar(header: _Header, kind: int) -> Callable[[], int | float | bool]:
    code = _SCALARS.get(kind)
    if code is None:
        raise header.broken(f"it holds a value of unknown type {kind}")
    reader = struct.Struct(code)

    def read() -> int | float | bool:
        value: int | float = reader.unpack(header.take(reader.size))[0]
        return bool(value) if kind == _BOOL else value

    return read


def _read_array(header: _Header, key: str, array_lengths: dict[str, int]) -> Value:
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
    if length <= MAX_KEPT_ITEMS:
        return tuple(read() for _ in range(length))
    header.skip(length * struct.calcsize(_SCALARS[kind]))
    return None


def _read_tensors(header: _Header, count: int, alignment: int) -> _Tensors:
    """Check every tensor against the file; returns sums over all of them."""
    sums = _Tensors(count)
    data_end = 0
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
        if items >= 1 << 62 or (shape and shape[0] % block_items) or offset % alignment:
            raise header.broken(f"the tensor {printable(name)!r} has an impossible shape or place")
        size = items // block_items * block_bytes
        sums.parameters += items
        sums.total_bytes += size
        if name == "token_embd.weight":
            sums.embedding_bytes = size
        sums.has_output |= name == "output.weight"
        data_end = max(data_end, offset + size)
    data_start = -(-header.position // alignment) * alignment
    if data_start + data_end > header.size:
        raise ModelError(
            f"The model file {header.shown} is truncated: its tensors need {data_start + data_end} bytes, "
            f"it has {header.size}.",
            fix=_TO_WHOLE_FILE,
        )
    return sums


def _describe(files: tuple[_Contents, ...], shown: str) -> GgufInfo:
    facts, array_lengths = files[0].facts, files[0].array_lengths

    def broken(why: str) -> ModelError:
        return ModelError(f"The model file {shown} is broken: {why}.", fix=_TO_WHOLE_FILE)

    architecture = facts.get("general.architecture")
    if not isinstance(architecture, str) or not architecture:
        raise broken("it doesn't name its architecture")
    parts = max(1, _count(facts.get("split.count")))
    if parts != len(files):
        raise ModelError(
            f"The model file {shown} is one of {parts} parts, and its name doesn't tell which.",
            fix="Give the parts their names back: NAME-00001-of-00003.gguf.",
        )
    vocabulary = array_lengths.get("tokenizer.ggml.tokens", 0)
    if not vocabulary:
        raise ModelError(
            f"The model file {shown} has no vocabulary, so it can't write text.", fix="Choose a chat model."
        )

    def count(key: str) -> int:
        return _count(facts.get(f"{architecture}.{key}"))

    layers, embedding, heads = count("block_count"), count("embedding_length"), count("attention.head_count")
    head_length = embedding // heads if heads else 0
    name, template = facts.get("general.name"), facts.get("tokenizer.chat_template", "")
    if not isinstance(template, str):
        raise broken("its chat template is too long or no text")
    kind, kv_heads = (
        facts.get("general.type"),
        _kv_heads(facts.get(f"{architecture}.attention.head_count_kv"), layers, heads),
    )
    return GgufInfo(
        name=printable(name) if isinstance(name, str) and name else shown,
        architecture=printable(architecture),
        quantization=FILE_TYPE_LABELS.get(_count(facts.get("general.file_type"), missing=-1), "unknown"),
        parameters=sum(file.tensors.parameters for file in files),
        context_length=count("context_length"),
        layers=layers,
        embedding_length=embedding,
        feed_forward_length=count("expert_feed_forward_length") or count("feed_forward_length"),
        heads=heads,
        kv_heads_per_layer=kv_heads,
        key_length=count("attention.key_length") or head_length,
        value_length=count("attention.value_length") or head_length,
        vocabulary_size=vocabulary,
        chat_template=template or None,
        file_bytes=sum(file.file_bytes for file in files),
        tensor_bytes=sum(file.tensors.total_bytes for file in files),
        tensors=sum(file.tensors.count for file in files),
        parts=parts,
        kind=printable(kind, 20) if isinstance(kind, str) and kind else "model",
        tokenizer=_words(facts.get("tokenizer.ggml.model")),
        licence=_words(facts.get("general.license")),
        embedding_bytes=max(file.tensors.embedding_bytes for file in files),
        is_tied=not any(file.tensors.has_output for file in files),
        sliding_window=count("attention.sliding_window"),
        experts_used=count("expert_used_count"),
        recurrent_bytes=_recurrent_bytes(count, kv_heads, layers),
    )


def _words(value: Value) -> str:
    return printable(value) if isinstance(value, str) else ""


def _recurrent_bytes(count: Callable[[str], int], kv_heads: tuple[int, ...], layers: int) -> int:
    """State of one sequence in f32, as llama.cpp's hparams `n_embd_r` and `n_embd_s` say for state-space layers."""
    inner, state = count("ssm.inner_size"), count("ssm.state_size")
    if not inner:
        return 0
    convolution = max(0, count("ssm.conv_kernel") - 1) * (inner + 2 * count("ssm.group_count") * state)
    return 4 * (convolution + inner * state) * (sum(not heads for heads in kv_heads) or layers)


def _count(value: Value, missing: int = 0) -> int:
    """A non-negative whole number, or for a per-layer array its largest entry."""
    if isinstance(value, tuple):
        return max((_count(item) for item in value), default=missing)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        return missing
    return min(value, 1 << 40)


def _kv_heads(value: Value, layers: int, heads: int) -> tuple[int, ...]:
    if isinstance(value, tuple):
        return tuple(_count(item) for item in value[:MAX_KEPT_ITEMS])
    return (_count(value) or heads,) * min(layers, MAX_KEPT_ITEMS)
