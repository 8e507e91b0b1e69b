"""An embedding model behind a real worker, and against llama-cpp-python's high-level API."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from pathlib import Path

import gguf
import llama_cpp
import numpy as np
import pytest

from node.engine.llama import LlamaEngine
from node.engine.protocol import EngineError, LoadError
from node.values.inference import ChatMessage
from tests.node.engine.bert import write_bert
from tests.node.engine.helpers import answer, ask

Make = Callable[..., LlamaEngine]
TEXTS = ["hello you", "hello you", "seven and five", "q"] * 5


@pytest.mark.parametrize("pooling", [gguf.PoolingType.MEAN, gguf.PoolingType.CLS], ids=str)
async def test_an_embedding_model_embeds_as_the_high_level_api_does(make_engine: Make, tmp_path: Path, pooling):
    path = write_bert(tmp_path / "bert.gguf", pooling=pooling)
    reference = llama_cpp.Llama(str(path), embedding=True, n_ctx=64, n_threads=1, n_threads_batch=1, verbose=False)
    expected = reference.embed(TEXTS, normalize=True)
    reference.close()
    async with make_engine(path) as engine:
        made = await engine.embed(TEXTS)
        assert np.asarray(made.vectors) == pytest.approx(np.asarray(expected), abs=1e-4)
        assert made.vectors[0] == pytest.approx(made.vectors[1], abs=1e-5)
        assert [math.hypot(*vector) for vector in made.vectors] == pytest.approx([1.0] * len(TEXTS), abs=1e-5)
        assert made.input_tokens == tuple(len(text.replace(" ", "")) + 2 for text in TEXTS)


async def test_an_embedding_model_refuses_to_chat_and_goes_on_embedding(make_engine: Make, tmp_path: Path):
    async with make_engine(write_bert(tmp_path / "bert.gguf")) as engine:
        info = await engine.info()
        assert (info.chats, info.embedding_length, info.architecture) == (False, 32, "bert")
        hello = (ChatMessage("user", "hello"),)
        for use in (answer(engine, ask()), engine.count(hello), engine.score(hello, "x")):
            with pytest.raises(EngineError, match="embedding model") as error:
                await use
            assert error.value.code == "bad_request"
        with pytest.raises(EngineError) as error:
            await engine.embed(["x" * 100])
        assert error.value.code == "context_too_long"
        task = asyncio.create_task(engine.embed(TEXTS))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await engine.measure()).tokens_per_s == 0.0
        assert (await engine.embed(["a"])).input_tokens == (3,)


async def test_a_reranker_is_refused_in_a_clear_line(make_engine: Make, tmp_path: Path):
    engine = make_engine(write_bert(tmp_path / "rank.gguf", pooling=gguf.PoolingType.RANK))
    with pytest.raises(LoadError) as error:
        await engine.start()
    assert "reranker" in error.value.message
