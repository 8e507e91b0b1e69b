from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node.models.fit import Device, Fit, assess, available_memory_bytes, headroom_bytes, plan
from node.models.gguf import GgufInfo
from node.models.model_error import ModelError
from node.models.recurrence import recurrence
from node.models.work_space import CONTEXT_STEP_TOKENS

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

GIB = 1 << 30
EIGHT_B = GgufInfo(
    name="Some 8B",
    architecture="llama",
    quantization="Q4_K_M",
    parameters=8_000_000_000,
    context_length=131_072,
    layers=32,
    embedding_length=4096,
    feed_forward_length=14_336,
    heads=32,
    kv_heads_per_layer=(8,) * 32,
    key_length=128,
    value_length=128,
    vocabulary_size=128_256,
    chat_template=None,
    file_bytes=5 * GIB,
    tensor_bytes=5 * GIB,
    tensors=291,
)


def test_with_memory_to_spare_every_slot_gets_its_whole_context():
    fit = plan(EIGHT_B, available_bytes=64 * GIB, slots=4)
    assert (fit.context_length, fit.cache_tokens) == (4096, 4 * 4096)
    assert fit.cache_bytes == 16_384 * 2 * 8 * 256 * 32
    assert not fit.flash_attention


def test_with_less_memory_the_slots_share_a_smaller_cache():
    fit = plan(EIGHT_B, available_bytes=7 * GIB, slots=4)
    assert 4096 <= fit.cache_tokens < 4 * 4096
    assert fit.needed_bytes <= 7 * GIB


def test_a_model_that_does_not_fit_is_refused_with_the_numbers():
    with pytest.raises(ModelError) as error:
        plan(EIGHT_B, available_bytes=4 * GIB, slots=4)
    assert error.value.code == "model_too_big"
    assert "weights 5.0 GiB" in error.value.message
    assert "4.0 GiB are free" in error.value.message


def test_a_context_is_never_longer_than_the_model_was_trained_for():
    small = msgspec.structs.replace(EIGHT_B, context_length=1000)
    fit = plan(small, available_bytes=64 * GIB, slots=1, context_length=9000)
    assert (fit.context_length, fit.cache_tokens) == (1000, 1024)


def test_a_gpu_saves_the_scores_by_flash_attention():
    on_gpu = plan(EIGHT_B, available_bytes=64 * GIB, slots=1, on_gpu=True)
    assert on_gpu.flash_attention
    assert on_gpu.micro_batch_tokens > plan(EIGHT_B, available_bytes=64 * GIB, slots=1).micro_batch_tokens


def test_flash_attention_that_a_person_chose_is_in_the_plan():
    chosen = {
        wanted: plan(EIGHT_B, available_bytes=64 * GIB, slots=4, flash_attention=wanted) for wanted in (True, False)
    }
    assert chosen[True].flash_attention
    assert chosen[True].work_bytes < chosen[False].work_bytes / 4
    on_gpu = plan(EIGHT_B, available_bytes=64 * GIB, slots=4, on_gpu=True, flash_attention=False)
    assert on_gpu.work_bytes > chosen[False].work_bytes


def test_latent_attention_caches_keys_only():
    apart = msgspec.structs.replace(EIGHT_B, kv_heads_per_layer=(1,) * 32, key_length=576, value_length=512)
    together = msgspec.structs.replace(apart, is_latent=True)
    assert apart.kv_bytes_per_token == 2 * 32 * (576 + 512)
    assert together.kv_bytes_per_token == 2 * 32 * 576


def test_recurrent_layers_have_a_state_for_each_slot_whatever_the_context():
    numbers = {"ssm.inner_size": 1536, "ssm.state_size": 128, "ssm.conv_kernel": 4, "ssm.group_count": 1}
    sizes = recurrence(lambda name: numbers.get(name, 0), (8, 0, 0, 8), 4)
    assert sizes.sequence_bytes == 2 * 4 * (3 * (1536 + 2 * 128) + 1536 * 128)
    info = msgspec.structs.replace(EIGHT_B, recurrence=sizes, kv_heads_per_layer=(8, 0, 0, 8))
    one, four = (plan(info, available_bytes=64 * GIB, slots=slots) for slots in (1, 4))
    assert four.cache_bytes == 4 * one.cache_bytes
    assert one.cache_bytes == sizes.sequence_bytes + 4096 * 2 * 16 * 256
    assert recurrence(lambda _name: 0, (8, 8), 2).sequence_bytes == 0


@UNHURRIED
@given(st.integers(0, 1 << 40), st.integers(1, 64), st.none() | st.integers(-5, 1 << 20), st.integers(0, 1 << 20))
def test_a_plan_always_fits_and_holds_a_whole_request(available: int, slots: int, wanted: int | None, trained: int):
    info = msgspec.structs.replace(EIGHT_B, context_length=trained)
    try:
        fit = plan(info, available_bytes=available, slots=slots, context_length=wanted)
    except ModelError as error:
        assert error.code == "model_too_big"  # noqa: PT017 - both outcomes are right
        return
    assert fit.needed_bytes <= available
    assert fit.context_length <= fit.cache_tokens
    assert fit.cache_tokens % CONTEXT_STEP_TOKENS == 0


@UNHURRIED
@given(st.integers(6 * GIB, 40 * GIB), st.integers(1, 16), st.booleans(), st.sampled_from([1.0, 34 / 64, 18 / 64]))
def test_a_plan_is_the_sum_of_its_parts_and_the_largest_that_fits(
    available: int, slots: int, on_gpu: bool, kv_share: float
):
    def planned(**more: int) -> Fit:
        return plan(EIGHT_B, slots=slots, on_gpu=on_gpu, kv_share=kv_share, **more)

    try:
        fit = planned(available_bytes=available)
    except ModelError:
        return
    assert fit.needed_bytes == fit.weights_bytes + fit.cache_bytes + fit.work_bytes
    whole = planned(available_bytes=1 << 60)
    assert whole.cache_tokens == slots * fit.context_length
    if fit.cache_tokens < whole.cache_tokens:
        # What one more step of cells takes is in between this plan and the whole one, and grows with each step alike.
        steps = (whole.cache_tokens - fit.cache_tokens) // CONTEXT_STEP_TOKENS
        per_step = (whole.needed_bytes - fit.needed_bytes) / steps
        usable = available - headroom_bytes(available)
        assert fit.total_bytes == fit.needed_bytes + fit.process_bytes
        assert fit.total_bytes <= usable < fit.total_bytes + 1.01 * per_step


def test_the_longest_context_that_the_sentence_names_fits_on_a_gpu_and_the_next_does_not():
    view = assess(EIGHT_B, model="m", device=Device("GPU", 24 * GIB, is_gpu=True), slots=4)
    shown = int(view.sentence.partition("(up to ")[2].removesuffix("k)")) * 1024
    room = {"available_bytes": 24 * GIB, "slots": 4, "on_gpu": True}
    assert plan(EIGHT_B, context_length=shown, **room).cache_tokens == 4 * shown
    assert plan(EIGHT_B, context_length=shown + 1024, **room).cache_tokens < 4 * (shown + 1024)


def test_a_model_too_large_for_one_gpu_fits_on_two_and_each_has_a_work_space_and_perhaps_half_a_layer_to_spare():
    with pytest.raises(ModelError):
        plan(EIGHT_B, available_bytes=4 * GIB, slots=1, on_gpu=True)
    shared = plan(EIGHT_B, available_bytes=8 * GIB, slots=1, on_gpu=True, devices=2)
    alone = plan(EIGHT_B, available_bytes=8 * GIB, slots=1, on_gpu=True)
    assert shared.cache_bytes == alone.cache_bytes
    assert shared.work_bytes == 2 * alone.work_bytes + EIGHT_B.tensor_bytes // EIGHT_B.layers


def test_free_memory_respects_a_control_group(tmp_path: Path):
    machine = available_memory_bytes(tmp_path)
    assert machine > 0
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("400000\n")
    assert available_memory_bytes(tmp_path) == 600_000
    (tmp_path / "memory.current").write_text("4000000\n")
    assert available_memory_bytes(tmp_path) == 0
    (tmp_path / "memory.max").write_text("max\n")
    assert available_memory_bytes(tmp_path) > 600_000
