"""``idlewatt chat``: what is shown of an answer, and where."""

from __future__ import annotations

import io
import json
import sys

import click
import pytest

from app.cli.chat import ask, effort
from node.values import ChatDelta, ChatMessage, ChatTurn
from tests.screens.fake_node import FakeNode, chat_script

TURN = ChatTurn(messages=(ChatMessage("user", "What is 7 + 5?"),))


@pytest.fixture
def thinker() -> FakeNode:
    node = FakeNode()
    *_, quote, _delta, done = (*chat_script("x"),)
    node.script = lambda: [
        quote,
        ChatDelta(text="Seven and ", output_tokens=3, spent_nano=600, thinking=True),
        ChatDelta(text="five.", output_tokens=6, spent_nano=900, thinking=True),
        ChatDelta(text="Twelve.", output_tokens=8, spent_nano=1_000),
        done,
    ]
    return node


async def test_thinking_is_hidden_unless_asked_for_and_never_on_stdout(thinker, capsys):
    assert await ask(thinker, TURN, as_json=False) == "Twelve."
    shown = capsys.readouterr()
    assert shown.out == "Twelve.\n"
    assert "Seven" not in shown.err
    assert shown.err.count("it thinks") == 1
    assert await ask(thinker, TURN, as_json=False, show_thinking=True) == "Twelve."
    shown = capsys.readouterr()
    assert shown.out == "Twelve.\n"
    assert "Seven and " in shown.err
    assert "five." in shown.err


async def test_json_tells_thinking_and_answer_apart(thinker, capsys):
    await ask(thinker, TURN, as_json=True)
    said = json.loads(capsys.readouterr().out)
    assert (said["answer"], said["thinking"]) == ("Twelve.", "Seven and five.")


def test_a_word_for_the_effort_is_checked_before_anything_is_asked():
    assert effort(None) is None
    assert effort("no_think") == "no_think"
    for word in ("Low!", "x" * 17, "", "<|turn>"):
        with pytest.raises(click.BadParameter, match="one word"):
            effort(word)


async def test_thinking_that_nobody_can_read_ends_no_paid_answer(thinker, capsys, monkeypatch):
    class Broken(io.StringIO):
        def write(self, _text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Broken())
    assert await ask(thinker, TURN, as_json=False, show_thinking=True) == "Twelve."
    assert capsys.readouterr().out == "Twelve.\n"
