from __future__ import annotations

import os
import resource
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node.models import gguf_file
from node.models.gguf import GgufInfo, inspect
from node.models.header_window import HeaderLimits
from node.models.model_error import ModelError, printable
from tests.node.engine.tiny import CHATML, vocabulary

ALLOW_FIXTURES = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=100,
    deadline=None,
)


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def u32(value: int) -> bytes:
    return struct.pack("<I", value)


def u64(value: int) -> bytes:
    return struct.pack("<Q", value)


def key(name: str, kind: int, value: bytes) -> bytes:
    return text(name) + u32(kind) + value


KEYS = {
    "general.architecture": key("general.architecture", 8, text("llama")),
    "tokens": key("tokenizer.ggml.tokens", 9, u32(8) + u64(2) + text("a") + text("b")),
}
TENSOR = text("t") + u32(1) + u64(8) + u32(0) + u64(0)


def write(
    path: Path,
    *keys: bytes,
    tensors: tuple[bytes, ...] = (TENSOR,),
    version: int = 3,
    counts: tuple[int, int] | None = None,
    data: int = 64,
) -> Path:
    body = list(KEYS.values()) + list(keys)
    tensor_count, key_count = counts or (len(tensors), len(body))
    header = b"GGUF" + u32(version) + u64(tensor_count) + u64(key_count) + b"".join(body) + b"".join(tensors)
    path.write_bytes(header + bytes(-len(header) % 32) + bytes(data))
    return path


def refused(path: Path) -> ModelError:
    with pytest.raises(ModelError) as error:
        inspect(path)
    assert error.value.code == "model_unusable"
    assert error.value.line().isprintable()
    return error.value


def test_a_real_model_is_described(tiny_model: Path):
    info = inspect(tiny_model)
    tokens, _ = vocabulary()
    assert info.name == "Tiny test model"
    assert (info.architecture, info.quantization, info.context_length) == ("llama", "F32", 512)
    assert (info.layers, info.embedding_length, info.feed_forward_length, info.heads) == (2, 64, 128, 4)
    assert info.kv_heads_per_layer == (4, 4)
    assert (info.key_length, info.value_length) == (16, 16)
    assert info.kv_bytes_per_token == 2 * 2 * 4 * (16 + 16)
    assert info.vocabulary_size == len(tokens)
    assert info.chat_template == CHATML
    assert info.file_bytes == tiny_model.stat().st_size > info.tensor_bytes == 4 * info.parameters
    assert info.tensors == 3 + 2 * 9


def test_the_smallest_sound_file_passes(tmp_path: Path):
    info = inspect(write(tmp_path / "m.gguf", version=2))
    assert isinstance(info, GgufInfo)
    assert (info.name, info.quantization, info.chat_template) == ("m.gguf", "unknown", None)
    assert (info.parameters, info.tensor_bytes, info.kv_bytes_per_token) == (8, 32, 0)


def test_every_kind_of_value_is_read_over(tmp_path: Path):
    scalars = [key(f"k{kind}", kind, bytes(struct.calcsize(code))) for kind, code in gguf_file._SCALARS.items()]
    arrays = [
        key(f"a{kind}", 9, u32(kind) + u64(3) + bytes(3 * struct.calcsize(c))) for kind, c in gguf_file._SCALARS.items()
    ]
    long_array = key("long", 9, u32(4) + u64(gguf_file.MAX_KEPT_ITEMS + 1) + bytes(4 * (gguf_file.MAX_KEPT_ITEMS + 1)))
    long_text = key("essay", 8, text(b"x" * (gguf_file.MAX_KEPT_STRING_BYTES + 1)))
    window = key("window", 8, text(b"x" * (3 << 18)))
    inspect(write(tmp_path / "m.gguf", *scalars, *arrays, long_array, long_text, window))


def test_numbers_that_differ_by_layer_are_kept_by_layer(tmp_path: Path):
    heads = key("llama.attention.head_count_kv", 9, u32(4) + u64(3) + u32(1) + u32(2) + u32(0))
    feed = key("llama.feed_forward_length", 9, u32(4) + u64(2) + u32(7) + u32(9))
    info = inspect(write(tmp_path / "m.gguf", heads, feed, key("llama.block_count", 5, struct.pack("<i", -3))))
    assert info.kv_heads_per_layer == (1, 2, 0)
    assert info.feed_forward_length == 9
    assert info.layers == 0


def test_where_only_every_so_manieth_layer_attends_the_others_have_no_cache(tmp_path: Path):
    heads = key("llama.attention.head_count_kv", 4, u32(2))
    info = inspect(
        write(tmp_path / "m.gguf", heads, key("llama.block_count", 4, u32(8)),
              key("llama.full_attention_interval", 4, u32(4)))
    )  # fmt: skip
    assert info.kv_heads_per_layer == (0, 0, 0, 2, 0, 0, 0, 2)


def test_a_missing_or_unreadable_file_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert "no model file" in refused(tmp_path / "none.gguf").message
    assert "no model file" in refused(tmp_path).message
    refused(tmp_path / "x\0y")
    path = write(tmp_path / "m.gguf")

    def deny(*_args: object, **_options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", deny)
    assert "Permission denied" in refused(path).message


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"version": 1}, "version 1"),
        ({"counts": (0, 2)}, "0 tensors"),
        ({"counts": (1 << 60, 2)}, "tensors"),
        ({"counts": (1, 1 << 60)}, "keys"),
        ({"counts": (1, 9)}, ""),
        ({"data": 0}, "truncated"),
        ({"tensors": (TENSOR, TENSOR)}, "twice"),
        ({"tensors": (text("t") + u32(5),)}, "dimensions"),
        ({"tensors": (text("t") + u32(1) + u64(8) + u32(99) + u64(0),)}, "format 99"),
        ({"tensors": (text("t") + u32(1) + u64(8) + u32(8) + u64(0),)}, "impossible"),
        ({"tensors": (text("t") + u32(1) + u64(8) + u32(0) + u64(3),)}, "behind"),
        ({"tensors": (text("t") + u32(2) + u64(1 << 40) + u64(1 << 40) + u32(0) + u64(0),)}, "impossible"),
        ({"tensors": (text("t") + u32(1) + u64(1 << 50) + u32(0) + u64(0),)}, "truncated"),
        ({"tensors": (text("t") + u32(1) + u64(8) + u32(0) + u64(1 << 63),)}, "behind"),
        ({"tensors": (text("n" * 64) + u32(1),)}, "claims 64 bytes"),
    ],
    ids=str,
)
def test_a_header_that_contradicts_itself_or_the_file_is_refused(tmp_path: Path, change: dict, says: str):
    assert says in refused(write(tmp_path / "m.gguf", **change)).message


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        (KEYS["tokens"], "twice"),
        (key("", 4, u32(1)), "empty"),
        (key("k", 77, b""), "type 77"),
        (key("k", 9, u32(9) + u64(1)), "type 9"),
        (key("k", 9, u32(8) + u64(1 << 61)), "truncated"),
        (key("k", 9, u32(4) + u64(1 << 61)), "truncated"),
        (key("k", 8, u64(1 << 62)), "truncated"),
        (key("general.alignment", 4, u32(24)), "alignment"),
        (key("general.alignment", 8, text("x")), "alignment"),
        (key("split.count", 2, struct.pack("<H", 3)), "one of 3 parts"),
    ],
    ids=str,
)
def test_a_bad_key_is_refused(tmp_path: Path, extra: bytes, says: str):
    assert says in refused(write(tmp_path / "m.gguf", extra)).message


def test_a_hostile_name_is_shown_harmlessly(tmp_path: Path):
    twice = key("\x1b[2J", 4, u32(1))
    assert "'?[2J' is empty or stands twice" in refused(write(tmp_path / "m.gguf", twice, twice)).message


@pytest.mark.parametrize("template", [text(b"x" * (gguf_file.MAX_KEPT_STRING_BYTES + 1)), text("")], ids=len)
def test_a_chat_template_that_is_too_long_is_not_silently_left_out(tmp_path: Path, template: bytes):
    path = write(tmp_path / "m.gguf", key("tokenizer.chat_template", 8, template))
    if len(template) > gguf_file.MAX_KEPT_STRING_BYTES:
        assert "chat template" in refused(path).message
    else:
        assert inspect(path).chat_template is None


def test_a_file_without_architecture_or_vocabulary_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "m.gguf"
    monkeypatch.delitem(KEYS, "tokens")
    assert "no vocabulary" in refused(write(path)).message
    monkeypatch.delitem(KEYS, "general.architecture")
    assert "architecture" in refused(write(path)).message


def test_a_header_without_end_is_given_up(tmp_path: Path):
    long_text = write(tmp_path / "text.gguf", key("k", 8, text(b"x" * (3 << 20))))
    with pytest.raises(ModelError, match="too long"):
        gguf_file.read(long_text, HeaderLimits(header_bytes=2 << 20))
    long_arrays = key("k", 9, u32(8) + u64(50) + u64(0) * 50)
    with pytest.raises(ModelError, match="too long"):
        gguf_file.read(write(tmp_path / "arrays.gguf", long_arrays), HeaderLimits(array_items=20))


def test_a_sparse_giant_costs_no_memory(tmp_path: Path):
    path = write(tmp_path / "m.gguf", key("k", 8, u64((1 << 40) - 300)))
    os.truncate(path, 1 << 40)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024


@ALLOW_FIXTURES
@given(st.binary(max_size=400))
def test_random_bytes_never_do_more_than_be_refused(tmp_path: Path, data: bytes):
    path = tmp_path / "random.gguf"
    path.write_bytes(b"GGUF" + u32(3) + data)
    refused(path)


@ALLOW_FIXTURES
@given(st.data())
def test_a_real_model_cut_anywhere_is_refused(tmp_path: Path, tiny_model: Path, data: st.DataObject):
    whole = tiny_model.read_bytes()
    path = tmp_path / "cut.gguf"
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    refused(path)


@ALLOW_FIXTURES
@given(st.lists(st.tuples(st.integers(0, 12_000), st.integers(0, 255)), min_size=1, max_size=8))
def test_a_mutated_model_is_described_or_refused_and_never_anything_else(
    tmp_path: Path, tiny_model: Path, changes: list[tuple[int, int]]
):
    raw = bytearray(tiny_model.read_bytes())
    for at, value in changes:
        raw[at] = value
    path = tmp_path / "mutated.gguf"
    path.write_bytes(raw)
    try:
        info = inspect(path)
    except ModelError as error:
        assert error.line().isprintable()  # noqa: PT017 - both outcomes are right
    else:
        assert 0 < info.tensor_bytes < info.file_bytes
        assert info.kv_bytes_per_token >= 0


@settings(deadline=None)
@given(st.text(max_size=200), st.integers(2, 100))
def test_a_shown_string_is_printable_and_short(value: str, limit: int):
    shown = printable(value, limit)
    assert len(shown) <= limit
    assert shown.isprintable()
