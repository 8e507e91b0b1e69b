"""Files that lie: our own reader refuses them or describes them, in bounded time and memory, and a plan can be made."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.models import gguf_file
from node.models.fit import Device, assess, plan
from node.models.gguf import GgufInfo, inspect
from node.models.header_window import HeaderLimits
from node.models.model_error import ModelError
from tests.node.models.test_gguf import ALLOW_FIXTURES, TENSOR, key, refused, text, u32, u64, write

GIB = 1 << 30
F32, Q8_0 = 0, 8


def tensor(name: str, shape: tuple[int, ...], *, kind: int = F32, offset: int = 0) -> bytes:
    return text(name) + u32(len(shape)) + b"".join(map(u64, shape)) + u32(kind) + u64(offset)


def number(name: str, value: int) -> bytes:
    return key(f"llama.{name}", 10, u64(value))


def check_plans(info: GgufInfo) -> None:
    """Whatever a file claimed, it is planned or refused in its one way."""
    for slots in (1, 64):
        view = assess(info, model="m", device=Device("memory", GIB), slots=slots)
        assert view.sentence.isprintable()
        try:
            fit = plan(info, available_bytes=GIB, slots=slots)
        except ModelError as error:
            assert error.code == "model_too_big"  # noqa: PT017 - both outcomes are right
            assert not view.fits
        else:
            assert view.fits
            assert fit.needed_bytes <= GIB


@pytest.mark.parametrize(
    "tensors",
    [
        (tensor("a", (8,)), tensor("b", (8,))),
        (tensor("a", (16,)), tensor("b", (8,), offset=32)),
        (tensor("a", (8,)), tensor("b", (8,), offset=64)),
        (tensor("a", (8,), offset=32), tensor("b", (8,))),
    ],
    ids=["the same place", "overlapping", "a hole", "out of order"],
)
def test_tensors_that_do_not_follow_each_other_are_refused(tmp_path: Path, tensors: tuple[bytes, ...]):
    assert "right behind" in refused(write(tmp_path / "m.gguf", tensors=tensors, data=256)).message


@pytest.mark.parametrize(
    "shape",
    [(0,), (8, 0), (1 << 63, 2), (1 << 32, 1 << 32), ((1 << 64) - 1,) * 4, (1 << 21,) * 3],
    ids=str,
)
def test_a_shape_that_is_empty_or_overflows_is_refused(tmp_path: Path, shape: tuple[int, ...]):
    assert "impossible shape" in refused(write(tmp_path / "m.gguf", tensors=(tensor("t", shape),))).message


@pytest.mark.parametrize(
    ("kind", "value"),
    [(4, u32(0)), (4, u32(3)), (4, u32(1 << 31)), (10, u64(1 << 63)), (7, b"\1"), (6, struct.pack("<f", 32.0)),
     (11, struct.pack("<q", -32))],
    ids=["0", "3", "2 GiB", "huge", "yes", "a fraction", "negative"],
)  # fmt: skip
def test_an_alignment_that_is_none_is_refused(tmp_path: Path, kind: int, value: bytes):
    assert "alignment" in refused(write(tmp_path / "m.gguf", key("general.alignment", kind, value))).message


@pytest.mark.parametrize("kind", sorted({*gguf_file._SCALARS, 8}))
@pytest.mark.parametrize("length", [1 << 31, 1 << 60, (1 << 64) - 1])
def test_an_array_that_claims_more_than_the_file_has_is_refused(tmp_path: Path, kind: int, length: int):
    assert "truncated" in refused(write(tmp_path / "m.gguf", key("k", 9, u32(kind) + u64(length)))).message


@pytest.mark.parametrize("length", [1 << 20, 1 << 40, (1 << 64) - 1])
def test_a_text_that_claims_more_than_the_file_has_is_refused(tmp_path: Path, length: int):
    within = key("k", 9, u32(8) + u64(2) + text("a") + u64(length))
    assert "truncated" in refused(write(tmp_path / "m.gguf", key("k", 8, u64(length)))).message
    assert "truncated" in refused(write(tmp_path / "m.gguf", within)).message


NUMBERS = (
    "block_count", "context_length", "embedding_length", "feed_forward_length", "attention.head_count",
    "attention.head_count_kv", "attention.key_length", "attention.value_length", "attention.sliding_window",
    "attention.kv_lora_rank", "expert_used_count", "full_attention_interval", "ssm.inner_size", "ssm.state_size",
    "ssm.conv_kernel", "wkv.head_size", "shortconv.l_cache", "pooling_type",
)  # fmt: skip
WRONG = {
    "a text": key("", 8, text("many"))[8:],
    "a fraction": key("", 12, struct.pack("<d", float("nan")))[8:],
    "a list of texts": key("", 9, u32(8) + u64(1) + text("x"))[8:],
    "an empty list": key("", 9, u32(4) + u64(0))[8:],
    "a list of fractions": key("", 9, u32(6) + u64(1) + struct.pack("<f", 1.5))[8:],
    "a negative": key("", 11, struct.pack("<q", -1))[8:],
    "0": key("", 10, u64(0))[8:],
    "2^40": key("", 10, u64(1 << 40))[8:],
    "2^64 - 1": key("", 10, u64((1 << 64) - 1))[8:],
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_number_that_is_none_or_far_too_large_never_breaks_a_plan(tmp_path: Path, wrong: str):
    sound = {"block_count": 2, "embedding_length": 64, "attention.head_count": 4, "context_length": 512}
    for name in NUMBERS:
        others = [number(each, value) for each, value in sound.items() if each != name]
        check_plans(inspect(write(tmp_path / "m.gguf", text(f"llama.{name}") + WRONG[wrong], *others)))
    check_plans(inspect(write(tmp_path / "m.gguf", *(text(f"llama.{name}") + WRONG[wrong] for name in NUMBERS))))


@pytest.mark.parametrize("name", ["general.name", "general.type", "general.file_type", "general.license",
                                  "tokenizer.ggml.model", "split.count"])  # fmt: skip
@pytest.mark.parametrize("wrong", WRONG)
def test_a_fact_of_the_wrong_type_is_passed_over_or_refused(tmp_path: Path, name: str, wrong: str):
    try:
        check_plans(inspect(write(tmp_path / "m.gguf", text(name) + WRONG[wrong])))
    except ModelError as error:
        assert error.line().isprintable()  # noqa: PT017 - both outcomes are right


def test_a_chat_template_that_is_no_text_is_refused(tmp_path: Path):
    assert "chat template" in refused(write(tmp_path / "m.gguf", key("tokenizer.chat_template", 4, u32(1)))).message


def test_many_arrays_and_texts_are_kept_up_to_a_bound_together(tmp_path: Path):
    arrays = [key(f"a{index}", 9, u32(0) + u64(300) + bytes(300)) for index in range(20)]
    texts = [key(f"t{index}", 8, text("x" * 300)) for index in range(20)]
    facts = gguf_file.read(
        write(tmp_path / "m.gguf", *arrays, *texts), HeaderLimits(kept_numbers=1000, kept_text_bytes=1000)
    ).facts
    assert sum(len(value) for value in facts.values() if isinstance(value, tuple)) <= 1000
    assert sum(len(value) for value in facts.values() if isinstance(value, str)) <= 1000
    assert len(facts) == 42


def test_a_small_file_cut_at_any_byte_is_refused(tmp_path: Path):
    heads = number("attention.head_count", 4)
    path = write(tmp_path / "m.gguf", heads, key("k", 9, u32(4) + u64(2) + bytes(8)), data=TENSOR_BYTES)
    whole = path.read_bytes()
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        refused(path)


TENSOR_BYTES = 32
"""What the file's one tensor takes: nothing lies behind it."""


@pytest.mark.parametrize("change", [0x01, 0x80, 0xFF])
def test_a_small_file_with_any_byte_changed_is_described_or_refused(tmp_path: Path, change: int):
    path = write(tmp_path / "m.gguf", number("block_count", 2), number("embedding_length", 64), tensors=(TENSOR,))
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ change]) + whole[at + 1 :])
        try:
            info = inspect(path)
        except ModelError as error:
            assert error.line().isprintable()  # noqa: PT017 - both outcomes are right
        else:
            check_plans(info)


@ALLOW_FIXTURES
@given(st.data())
def test_a_real_model_with_changed_bytes_can_be_planned_or_is_refused(
    tmp_path: Path, tiny_model: Path, data: st.DataObject
):
    raw = bytearray(tiny_model.read_bytes())
    for at, piece in data.draw(
        st.lists(st.tuples(st.integers(0, 2000), st.binary(min_size=1, max_size=8)), max_size=4)
    ):
        raw[at : at + len(piece)] = piece
    path = tmp_path / "changed.gguf"
    path.write_bytes(raw)
    try:
        info = inspect(path)
    except ModelError as error:
        assert error.line().isprintable()  # noqa: PT017 - both outcomes are right
    else:
        check_plans(info)
