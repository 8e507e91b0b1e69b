"""Thinking in the forms of today's reasoning models: shown and billed as thinking, never printed as the answer."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import msgspec
import pytest

from app.cli.chat import ask as ask_at_the_command_line
from node.engine.protocol import Chunk, EngineEvent, Finished
from node.values.inference import ChatMessage, JsonObject
from tests.node.conftest import PASSPHRASE
from tests.node.engine.helpers import ask, engine_of
from tests.node.engine.thinking_families import FAMILIES, QUESTION, Family
from tests.node.engine.tiny_script import write_scripted
from tests.node.helpers import turn

THOUGHT, ANSWER = "Hm, </b>.", "Four."


def model_of(family: Family, folder: Path, *, wrote: str = "") -> Path:
    return write_scripted(
        folder / "tiny.gguf",
        template=family.template,
        prompt=family.prompt,
        script=wrote or family.wrote,
        control=family.control,
        user_defined=family.user_defined,
    )


async def told(model: Path, folder: Path, **asked: object) -> tuple[list[Chunk], Finished]:
    async with engine_of(model, folder / "engine.log") as engine:
        events: list[EngineEvent] = [event async for event in engine.generate(ask(QUESTION, **asked))]
    assert isinstance(events[-1], Finished)
    return [event for event in events if isinstance(event, Chunk)], events[-1]


def thought_in(chunks: list[Chunk]) -> str:
    return "".join(chunk.text for chunk in chunks if chunk.thinking and not chunk.marker)


def answered_in(chunks: list[Chunk]) -> str:
    return "".join(chunk.text for chunk in chunks if not chunk.thinking)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
async def test_thinking_is_told_from_the_answer_in_whatever_way_a_model_marks_it(family, tmp_path):
    """gpt-oss's and Solar's thinking was printed, markers and all, before the answer (ggml-org/llama.cpp#15181)."""
    chunks, finished = await told(model_of(family, tmp_path), tmp_path, max_tokens=200)
    assert answered_in(chunks) == ANSWER
    assert thought_in(chunks) == (THOUGHT if THOUGHT in family.wrote else "")
    assert finished.reason == "stop"
    # Nothing is taken out, and each token is billed once, by the kind of text that it begins.
    wrote = family.wrote.removesuffix(family.stop) if family.stop == "<|end|>" else family.wrote
    assert "".join(chunk.text for chunk in chunks) == wrote
    assert finished.output_tokens == sum(chunk.tokens for chunk in chunks)
    assert all(chunk.thinking for chunk in chunks if chunk.marker)


HARMONY = next(family for family in FAMILIES if family.channel is not None and family.role)


async def test_a_model_that_only_thinks_until_its_limit_has_said_nothing(tmp_path):
    """512 tokens of thinking were billed and shown as an empty answer, with no word of why."""
    chunks, finished = await told(model_of(HARMONY, tmp_path), tmp_path, max_tokens=14)
    assert answered_in(chunks) == ""
    assert thought_in(chunks)
    assert (finished.reason, finished.output_tokens) == ("length", 14)


async def test_a_format_leaves_thinking_free_and_binds_what_follows_the_answers_header(tmp_path):
    """Under a JSON grammar gpt-oss could not write its channels, or its thinking broke the JSON."""
    wrote = HARMONY.wrote.replace(ANSWER, '{"sum": 4} and more')
    model = model_of(HARMONY, tmp_path, wrote=wrote)
    chunks, finished = await told(model, tmp_path, max_tokens=200, response_format=JsonObject())
    assert thought_in(chunks) == THOUGHT
    assert json.loads(answered_in(chunks)) == {"sum": 4}
    assert finished.reason == "stop"


async def test_a_format_binds_an_answer_that_comes_without_a_header(tmp_path):
    """A model that skips its thinking and its header is held to the format from its first token."""
    model = model_of(HARMONY, tmp_path, wrote='so {"sum": 4}')
    chunks, _ = await told(model, tmp_path, max_tokens=200, response_format=JsonObject())
    assert answered_in(chunks).startswith("{")
    assert not thought_in(chunks)


async def test_an_answer_that_goes_on_within_thinking_goes_on_thinking(tmp_path):
    """A continued answer that had begun to think was printed up to and with its closing tag."""
    pair = FAMILIES[0]
    begun = "<think>Hm"
    continued = Family(
        pair.name, pair.template, f"{pair.prompt}{begun}", ", </b>.</think>Four.", "", "", control=pair.control
    )
    messages = (ChatMessage("user", QUESTION), ChatMessage("assistant", begun))
    async with engine_of(model_of(continued, tmp_path), tmp_path / "engine.log") as engine:
        request = msgspec.structs.replace(ask(QUESTION, max_tokens=99), messages=messages)
        chunks = [event async for event in engine.generate(request) if isinstance(event, Chunk)]
    assert (thought_in(chunks), answered_in(chunks)) == (", </b>.", "Four.")


async def test_thinking_is_bought_and_counted_apart_and_no_part_of_the_answer_that_is_printed(
    run_node, relay, devnet, tmp_path, capsys
):
    """A script that read stdout got ``<|channel|>analysis<|message|>`` (ggml-org/llama.cpp#15181)."""
    models = tmp_path / "seller" / "models"
    models.mkdir(parents=True)
    model_of(HARMONY, models)
    urls = {"relay": relay.url, "chain": devnet.l2_url}
    async with run_node("seller", **urls) as seller, run_node("buyer", **urls) as buyer:
        await seller.create_wallet("main", PASSPHRASE)
        await buyer.create_wallet("main", PASSPHRASE)
        await asyncio.gather(seller.go_online(), buyer.faucet("main"))
        question = turn(QUESTION, max_tokens=200)
        assert await ask_at_the_command_line(buyer, question, as_json=False) == ANSWER
        shown = capsys.readouterr()
        assert shown.out == ANSWER + "\n"
        assert "of it thinking" in shown.err
        assert THOUGHT not in shown.err
        await ask_at_the_command_line(buyer, question, as_json=True)
        said = json.loads(capsys.readouterr().out)
        assert (said["answer"], said["thinking"], said["finish_reason"]) == (ANSWER, THOUGHT, "stop")
        done = said["done"]
        # The receipt's count is of all that was written; "Four." has five tokens of it.
        assert done["output_tokens"] - done["thinking_tokens"] == len(ANSWER)
