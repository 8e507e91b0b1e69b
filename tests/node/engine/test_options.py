from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from node.engine.llama import LlamaEngine
from node.engine.loading import THIS_MACHINE, HostMachine, Prepared, prepare, swap_limit
from node.engine.options import MAX_GPUS, MAX_SLOTS, EngineOptions, KvType, StreamLimits, parse_tensor_split
from node.engine.protocol import EngineError
from node.engine.worker.cache import EVICT_AFTER_TOKENS
from node.models.model_error import ModelError
from tests.node.engine.helpers import answer, ask
from tests.node.engine.tiny import write_tiny

Make = Callable[..., LlamaEngine]


@pytest.mark.parametrize(
    "values",
    [
        {"slots": 0},
        {"slots": MAX_SLOTS + 1},
        {"context_length": 63},
        {"threads": 0},
        {"gpu_layers": -2},
        {"kv_type": "q3"},
        {"split_mode": "diagonal"},
        {"kv_type": "q8_0", "flash_attention": False},
        {"main_gpu": -1},
        {"main_gpu": MAX_GPUS},
        {"tensor_split": "0,0"},
        {"tensor_split": "1,-1"},
        {"tensor_split": "nan"},
        {"tensor_split": ",".join("1" * (MAX_GPUS + 1))},
    ],
    ids=str,
)
def test_options_that_can_not_be_are_refused(tiny_model: Path, tmp_path: Path, values: dict):
    with pytest.raises(EngineError) as error:
        LlamaEngine(tiny_model, EngineOptions(**values), log_path=tmp_path / "log")
    assert error.value.code == "bad_request"
    assert next(iter(values)) in error.value.message


def test_a_tensor_split_is_read_from_text():
    assert parse_tensor_split("3,1") == (3.0, 1.0)
    assert EngineOptions(tensor_split="3,1").gpu_shares == (3.0, 1.0)
    assert parse_tensor_split(" ") == ()
    for text in ("3,", "a", "-1,2", "inf"):
        with pytest.raises(EngineError):
            parse_tensor_split(text)


def test_a_quantized_cache_is_smaller_and_needs_flash_attention():
    shares = [EngineOptions(kv_type=kind).kv_share for kind in get_args(KvType)]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] == 1.0
    assert not EngineOptions().uses_flash_attention(on_gpu=False)
    assert EngineOptions().uses_flash_attention(on_gpu=True)
    assert EngineOptions(kv_type="q8_0").uses_flash_attention(on_gpu=False)
    assert not EngineOptions(flash_attention=False).uses_flash_attention(on_gpu=True)


def prepared(path: Path, machine: HostMachine = THIS_MACHINE, **options: object) -> Prepared:
    return prepare(path, EngineOptions(slots=2, threads=1, **options), StreamLimits(), machine=machine)


def test_a_quantized_cache_takes_less_of_the_plan(tmp_path: Path):
    model = write_tiny(tmp_path / "wide.gguf", width=128, heads=4)
    plain, small = prepared(model), prepared(model, kv_type="q8_0")
    assert small.fit.cache_bytes / plain.fit.cache_bytes == pytest.approx(34 / 64, rel=0.01)
    assert small.load.fit.flash_attention


def test_heads_that_are_no_whole_blocks_can_have_no_quantized_cache(tiny_model: Path):
    with pytest.raises(ModelError) as error:
        prepared(tiny_model, kv_type="q4_0")
    assert "f16" in error.value.fix


def test_kept_conversations_take_no_more_than_the_cache_and_a_quarter_of_what_is_left(tiny_model: Path):
    fit = msgspec.structs.replace(prepared(tiny_model).fit, weights_bytes=500, cache_bytes=100, work_bytes=0)
    assert swap_limit(fit, 10_000, on_gpu=False) == 100
    assert swap_limit(fit, 800, on_gpu=False) == (800 - 600) // 4
    assert swap_limit(fit, 800, on_gpu=True) == 100
    assert swap_limit(fit, 500, on_gpu=False) == 0


def test_without_memory_for_them_kept_conversations_stay_in_the_cache(tiny_model: Path):
    roomy = prepared(tiny_model).load
    assert (roomy.swap_bytes > 0, roomy.evict_after_tokens) == (True, 0)
    assert prepared(tiny_model, HostMachine(swap_share=0.0)).load.evict_after_tokens == EVICT_AFTER_TOKENS


@pytest.mark.parametrize("kind", ["q8_0", "q4_0"])
async def test_a_model_answers_with_a_quantized_cache(make_engine: Make, tmp_path: Path, kind: str):
    model = write_tiny(tmp_path / "wide.gguf", width=128, heads=4)
    async with make_engine(model, kv_type=kind, tensor_split="3,1") as engine:
        text, _, finished = await answer(engine, ask(max_tokens=20))
        assert text
        assert finished.output_tokens > 0
    log = (tmp_path / "logs" / "engine.log").read_text()
    assert f"K ({kind})" in log
    assert f"V ({kind})" in log
