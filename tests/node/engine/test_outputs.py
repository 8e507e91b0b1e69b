"""What an answer can be asked for besides its text, with real workers and against llama-cpp-python's high-level API."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import jsonschema
import llama_cpp
import numpy as np
import pytest
import pytest_asyncio

from node.engine.llama import LlamaEngine
from node.engine.protocol import Chunk, EngineError, Finished, GenerateRequest
from node.values.inference import ChatMessage, JsonObject, JsonSchema, Sampling, TokenLogprob
from tests.node.engine.helpers import GREEDY, answer, ask
from tests.node.engine.tiny import TURN_END, vocabulary, write_tiny

Make = Callable[..., LlamaEngine]
HELLO = (ChatMessage("user", "hello"),)
PROMPT = "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"
TOKENS = vocabulary()[0]
NEAR = 1e-3
"""Batches of other shapes sum in another order: up to 1.9e-4 on these random weights, 1.7e-6 on the demo model."""


@pytest_asyncio.fixture(loop_scope="function")
async def engine(make_engine: Make, tiny_model: Path) -> AsyncIterator[LlamaEngine]:
    async with make_engine(tiny_model) as running:
        yield running


@pytest.fixture(scope="module")
def reference(tiny_model: Path) -> Iterator[llama_cpp.Llama]:
    model = llama_cpp.Llama(str(tiny_model), n_ctx=512, n_threads=1, n_threads_batch=1, logits_all=True, verbose=False)
    yield model
    model.close()


async def told(engine: LlamaEngine, request: GenerateRequest) -> tuple[list[Chunk], list[TokenLogprob], Finished]:
    events = [event async for event in engine.generate(request)]
    chunks = [event for event in events if isinstance(event, Chunk)]
    assert isinstance(events[-1], Finished)
    return chunks, [one for chunk in chunks for one in chunk.logprobs], events[-1]


def drawn(reference: llama_cpp.Llama, count: int, *, seed: int = 1, **parameters: float) -> bytes:
    """The high-level API's answer to the same tokens."""
    reference.reset()
    reference.set_seed(seed)
    prompt = reference.tokenize(PROMPT.encode(), add_bos=False, special=True)
    tokens: list[int] = []
    for token in reference.generate(prompt, reset=True, **parameters):  # type: ignore[arg-type]
        tokens.append(token)
        if len(tokens) == count:
            break
    return b"".join(reference.detokenize([token]) for token in tokens)


@pytest.mark.parametrize(
    ("sampling", "parameters"),
    [
        (GREEDY, {"temp": 0.0}),
        (
            Sampling(temperature=0, frequency_penalty=1.5, presence_penalty=0.5, repeat_penalty=1.3),
            {"temp": 0.0, "frequency_penalty": 1.5, "presence_penalty": 0.5, "repeat_penalty": 1.3},
        ),
        (
            Sampling(temperature=1.2, top_k=50, top_p=0.9, min_p=0.02, typical_p=0.9, seed=11),
            {"temp": 1.2, "top_k": 50, "top_p": 0.9, "min_p": 0.02, "typical_p": 0.9, "seed": 11},
        ),
        (
            Sampling(temperature=2.0, top_k=0, min_p=0.0, seed=12),
            {"temp": 2.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "seed": 12},
        ),
    ],
    ids=["greedy", "penalties", "everything", "free"],
)
async def test_tokens_are_drawn_as_the_high_level_api_draws_them(engine, reference, sampling, parameters):
    text, *_ = await answer(engine, ask(max_tokens=40, sampling=sampling))
    expected = drawn(reference, 40, **{"min_p": 0.05, "top_p": 1.0, "top_k": 40, **parameters})
    assert text == expected.decode(errors="replace")


async def test_a_bias_forces_and_bans_tokens(engine):
    hello = TOKENS.index("hello")
    text, *_ = await answer(engine, ask(max_tokens=5, sampling=Sampling(temperature=0, logit_bias=((hello, 100.0),))))
    assert text == "hello" * 5
    _, logprobs, _ = await told(engine, ask(max_tokens=1, logprobs=0))
    banned = Sampling(temperature=0, logit_bias=((logprobs[0].token, -100.0),))
    _, others, _ = await told(engine, ask(max_tokens=1, logprobs=0, sampling=banned))
    assert others[0].token != logprobs[0].token


async def test_each_token_comes_with_its_log_probability_beside_its_text(engine, reference):
    chunks, logprobs, finished = await told(engine, ask(max_tokens=30, logprobs=3))
    assert all(len(chunk.logprobs) == chunk.tokens for chunk in chunks)
    assert len(logprobs) == finished.output_tokens
    assert b"".join(one.data for one in logprobs).decode(errors="replace") == "".join(chunk.text for chunk in chunks)
    for one in logprobs:
        assert len(one.top) == 3
        assert one.top[0].token == one.token
        assert [top.logprob for top in one.top] == sorted((top.logprob for top in one.top), reverse=True)
        assert one.logprob <= 0
    reference.reset()
    prompt = reference.tokenize(PROMPT.encode(), add_bos=False, special=True)
    reference.eval([*prompt, *(one.token for one in logprobs)])
    rows = reference.scores[len(prompt) - 1 : len(prompt) - 1 + len(logprobs)].astype(np.float64)
    expected = rows - np.log(np.exp(rows).sum(axis=1, keepdims=True))
    assert [one.logprob for one in logprobs] == pytest.approx(
        [expected[at, one.token] for at, one in enumerate(logprobs)], abs=NEAR
    )


async def test_log_probabilities_are_the_models_own_whatever_draws(engine):
    warm = Sampling(temperature=3.0, top_k=1, logit_bias=((TOKENS.index("hello"), 5.0),))
    _, biased, _ = await told(engine, ask(max_tokens=1, logprobs=5, sampling=warm))
    _, plain, _ = await told(engine, ask(max_tokens=1, logprobs=5))
    assert [top.logprob for top in biased[0].top] == pytest.approx([top.logprob for top in plain[0].top], abs=NEAR)


async def test_log_probabilities_stay_with_text_that_is_held_back(make_engine, tmp_path):
    model = write_tiny(tmp_path / "bytes.gguf", emphasis={3 + byte: 3.0 for byte in (0xF0, 0x9F, 0x98, 0x80)})
    async with make_engine(model) as engine:
        warm = Sampling(temperature=1, seed=5)
        chunks, logprobs, finished = await told(
            engine, ask("\U0001f600\u00e9 ", max_tokens=80, sampling=warm, logprobs=1, stop=("\ufffd\ufffdnever",))
        )
        whole = "".join(chunk.text for chunk in chunks)
        assert all(len(chunk.logprobs) == chunk.tokens for chunk in chunks)
        assert len(logprobs) == finished.output_tokens == 80
        assert b"".join(one.data for one in logprobs).decode(errors="replace") == whole
        stop = whole[10:13]
        chunks, logprobs, _ = await told(
            engine, ask("\U0001f600\u00e9 ", max_tokens=80, sampling=warm, logprobs=1, stop=(stop,))
        )
        assert "".join(chunk.text for chunk in chunks) == whole[: whole.index(stop)]
        assert all(len(chunk.logprobs) == chunk.tokens for chunk in chunks)


async def test_a_score_is_what_the_model_thought_while_it_wrote(engine):
    _, logprobs, _ = await told(engine, ask(max_tokens=60, logprobs=4))
    tokens = [one.token for one in logprobs]
    scored = await engine.score(HELLO, tokens, top_k=4)
    assert scored.input_tokens == await engine.count(HELLO)
    assert [one.token for one in scored.tokens] == tokens
    assert [one.logprob for one in scored.tokens] == pytest.approx([one.logprob for one in logprobs], abs=NEAR)
    assert [one.top[0].token for one in scored.tokens] == tokens
    # Long prompts and completions are read in pieces; nothing changes at their borders.
    assert [one.logprob for one in (await engine.score(tokens[:3], tokens[3:] * 6)).tokens[:57]] == pytest.approx(
        [one.logprob for one in (await engine.score(tokens[:3], tokens[3:])).tokens], abs=NEAR
    )


async def test_a_score_of_text_adds_up_and_improbable_text_scores_lower(engine):
    text, *_ = await answer(engine, ask(max_tokens=20))
    likely = await engine.score(HELLO, text)
    unlikely = await engine.score(HELLO, " 42 user system the and")
    assert sum(one.logprob for one in likely.tokens) / len(likely.tokens) > sum(
        one.logprob for one in unlikely.tokens
    ) / len(unlikely.tokens)
    assert b"".join(one.data for one in unlikely.tokens) == b" 42 user system the and"


async def test_scores_and_streams_do_not_disturb_each_other(engine):
    alone, *_ = await answer(engine, ask(max_tokens=100))
    first = await engine.score(HELLO, "hello the model and hello")
    async with asyncio.TaskGroup() as group:
        stream = group.create_task(answer(engine, ask(max_tokens=100)))
        scores = [group.create_task(engine.score(HELLO, "hello the model and hello")) for _ in range(3)]
    assert stream.result()[0] == alone
    assert all(task.result() == first for task in scores)


@pytest.mark.parametrize(
    ("prompt", "completion", "top_k"),
    [((), "x", 0), (HELLO, "", 0), (HELLO, [10**6], 0), ([-1], "x", 0), (HELLO, "x", 21), ([5], [7] * 600, 0)],
)
async def test_what_can_not_be_scored_is_refused(engine, prompt, completion, top_k):
    with pytest.raises(EngineError) as error:
        await engine.score(prompt, completion, top_k)
    assert error.value.code in {"bad_request", "context_too_long"}


async def test_a_score_that_nobody_waits_for_is_forgotten(engine):
    task = asyncio.create_task(engine.score([5] * 10, [7] * 480))
    await engine.count(HELLO)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await engine.score(HELLO, "x")).tokens


async def test_a_json_answer_parses_when_it_ends_by_itself(make_engine, tmp_path):
    model = write_tiny(tmp_path / "ending.gguf", silent=(), emphasis={TURN_END: 4.0})
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 6},
            "old": {"type": "boolean"},
            "n": {"type": "integer"},
        },
        "required": ["name", "old"],
    }
    async with make_engine(model) as engine:
        ended = 0
        for seed in range(8):
            warm = Sampling(temperature=1.0, top_k=0, min_p=0.0, seed=seed)
            form = JsonSchema(json.dumps(schema)) if seed % 2 else JsonObject()
            text, _, finished = await answer(engine, ask(max_tokens=200, sampling=warm, response_format=form))
            if finished.reason == "stop":
                ended += 1
                jsonschema.validate(json.loads(text), schema if seed % 2 else {"type": "object"})
        assert ended >= 4
        with pytest.raises(EngineError) as error:
            await answer(engine, ask(response_format=JsonSchema('{"type": "string", "pattern": "^(?=a)"}')))
        assert error.value.code == "bad_request"
        text, *_ = await answer(engine, ask(max_tokens=3, sampling=GREEDY))
        assert text


@pytest.mark.parametrize(
    ("grammar", "code"),
    [('start: "unfinished', "bad_request"), (r'start: "a" /[^\s\S]/', "engine_failed")],
    ids=["broken", "nothing fits"],
)
async def test_a_grammar_that_can_not_be_kept_ends_its_request_alone(engine, monkeypatch, grammar, code):
    async def given(_answer: object) -> str:
        return grammar

    pid = engine.worker_pid
    with monkeypatch.context() as patched:
        patched.setattr(engine._formats, "grammar", given)
        with pytest.raises(EngineError) as error:
            await answer(engine, ask())
        assert error.value.code == code
    assert engine.worker_pid == pid
    assert (await answer(engine, ask()))[0]


async def test_a_format_of_many_kinds_that_differ_only_at_their_ends_is_kept_to(engine):
    # Sixteen kinds of object: a parser that follows each of them apart has sixteen times as many at each level.
    kinds = [
        {"type": "object", "properties": {"a": {"$ref": "#/$defs/n"}, f"z{n}": {"type": "null"}}, "required": ["a"]}
        for n in range(16)
    ]
    schema = JsonSchema(json.dumps({"$ref": "#/$defs/n", "$defs": {"n": {"anyOf": kinds}}}))
    symbols = [(TOKENS.index(char), 100.0) for char in ("{", '"', "a", ":")]
    biased = Sampling(temperature=0, logit_bias=tuple(symbols))
    text, *_ = await answer(engine, ask(max_tokens=200, response_format=schema, sampling=biased))
    assert text.replace(" ", "").startswith('{"a":{"a":{"a":')


async def test_a_format_that_grows_out_of_hand_ends_its_request_and_not_the_worker(engine, monkeypatch):
    # Three hundred rules that each lead to others by the same letters: all of them are open after two tokens.
    rules = [
        f"x{n}: /[a-f]/ x{(7 * n + 1) % 300} | /[a-c]/ x{(11 * n + 5) % 300} | /[a-f]/ x{(n + 1) % 300} | /[a-f]/"
        for n in range(300)
    ]
    grammar = "\n".join(["start: " + " | ".join(f"x{n}" for n in range(300)), *rules])

    async def given(_answer: object) -> str:
        return grammar

    pid = engine.worker_pid
    with monkeypatch.context() as patched:
        patched.setattr(engine._formats, "grammar", given)
        with pytest.raises(EngineError, match="too much time") as error:
            await answer(engine, ask(max_tokens=300, response_format=JsonObject()))
    assert error.value.code == "bad_request"
    assert engine.worker_pid == pid
    assert (await answer(engine, ask()))[0]


async def test_cancelling_stops_an_answer_in_a_format_that_reports(engine):
    request = ask(max_tokens=300, request_id="mine", logprobs=5, response_format=JsonObject())
    events = []
    async for event in engine.generate(request):
        events.append(event)
        if isinstance(event, Chunk):
            await engine.cancel("mine")
    assert events[-1].reason == "cancelled"
    assert events[-1].output_tokens < 300


async def test_a_reasoning_model_thinks_apart_from_its_answer(make_engine, tmp_path):
    template = "{{ messages[0]['content'] }}{{ '<think>' }}"
    close = "</think>"
    model = write_tiny(tmp_path / "think.gguf", template=template, extra_tokens=(close,), emphasis={len(TOKENS): 2.5})
    async with make_engine(model) as engine:
        for seed in range(6):
            warm = Sampling(temperature=1.0, top_k=0, min_p=0.0, seed=seed)
            chunks, _, finished = await told(engine, ask(max_tokens=120, sampling=warm))
            text = "".join(chunk.text for chunk in chunks)
            thought = "".join(chunk.text for chunk in chunks if chunk.thinking)
            spoken = "".join(chunk.text for chunk in chunks if not chunk.thinking)
            assert text == thought + spoken
            assert finished.output_tokens == 120 == sum(chunk.tokens for chunk in chunks)
            if close in text:
                assert thought.rstrip().endswith(close)
                assert thought.count(close) == 1
                break
        else:
            pytest.fail("the model never stopped thinking")
        form = ask(max_tokens=120, sampling=warm, response_format=JsonObject())
        chunks, *_ = await told(engine, form)
        assert "".join(chunk.text for chunk in chunks if not chunk.thinking).startswith("{")


async def test_embeddings_of_a_chat_model_are_pooled_and_of_length_one(engine):
    made = await engine.embed(["hello", "the model and the model", "hello", "é" * 100])
    info = await engine.info()
    assert info.chats
    assert info.embedding_length == 64 == len(made.vectors[0])
    assert [math.hypot(*vector) for vector in made.vectors] == pytest.approx([1.0] * 4, abs=1e-5)
    assert made.vectors[0] == pytest.approx(made.vectors[2], abs=1e-5)
    assert made.vectors[0] != pytest.approx(made.vectors[1], abs=1e-2)
    assert made.input_tokens[0] == made.input_tokens[2] == 1
    for bad in ([], [""], ["x " * 600]):
        with pytest.raises(EngineError):
            await engine.embed(bad)
