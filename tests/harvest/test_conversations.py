"""A conversation at a terminal outlives a failed answer, and a busy provider is asked again when it said."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import sys
import termios
from collections.abc import AsyncIterator, Iterator, Sequence

import pytest
from aiohttp import web

from app.cli.chat import converse
from app.cli.terminal_input import typed_line
from chain.devnet import DevnetReady
from chain.errors import IdlewattError
from node.local.node import LocalNode
from node.relay.server import RelayServer
from node.values import ChatDone, ChatFailed, ChatMessage, ChatStage
from tests.node.conftest import PASSPHRASE, RunNode
from tests.node.engine.upstream.hostile import MODEL, Upstream, refusing, speaking, upstream
from tests.node.helpers import ask, turn
from tests.patience import PATIENCE_S


async def talk(lines: Sequence[str], failing: set[int]) -> list[list[str]]:
    """Hold a conversation in which some questions fail, by their number; returns what was asked each time."""
    typed: Iterator[str | None] = iter([*lines, None])
    asked: list[list[str]] = []

    async def next_line() -> str | None:
        return next(typed)

    async def answer_to(messages: Sequence[ChatMessage]) -> str:
        asked.append([message.content for message in messages])
        if len(asked) in failing:
            raise IdlewattError("Every slot is busy.", code="engine_busy", fix="Try again.")
        return f"answer {len(asked)}"

    await converse(next_line, answer_to)
    return asked


async def test_a_failed_answer_keeps_the_conversation_and_the_question(capsys: pytest.CaptureFixture[str]) -> None:
    """A refusal ended the whole chat, and what was said before was lost."""
    asked = await talk(["one", "two", "", "three"], failing={2})
    assert asked == [
        ["one"],
        ["one", "answer 1", "two"],
        ["one", "answer 1", "two"],
        ["one", "answer 1", "two", "answer 3", "three"],
    ]
    assert "The conversation is kept." in capsys.readouterr().err


async def test_another_question_takes_the_place_of_a_failed_one() -> None:
    """A failed question stayed in the history, so that the model saw two questions in a row."""
    assert await talk(["", "one", "two"], failing={1}) == [["one"], ["two"]]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Makes standard input a terminal; its value is the person's end."""
    person, program = pty.openpty()
    with os.fdopen(program, encoding="utf-8") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield person
    os.close(person)


async def test_the_node_runs_on_while_a_person_types(terminal: int) -> None:
    """Waiting for a line stopped the loop, and with it the node's connections."""
    line = asyncio.create_task(typed_line("you"))
    for _ in range(100):
        await asyncio.sleep(0)
    os.write(terminal, "من‌می‌خواهم\n".encode())
    async with asyncio.timeout(PATIENCE_S):
        assert await line == "من‌می‌خواهم"
        os.write(terminal, b"\x04")
        assert await typed_line("you") is None


async def test_a_reading_that_is_given_up_leaves_the_terminal_as_it_was(terminal: int) -> None:
    """After ctrl+c the shell showed nothing of what was typed."""
    before = termios.tcgetattr(sys.stdin)
    reading = asyncio.create_task(typed_line("you"))
    await asyncio.sleep(0)
    silent = [*before]
    silent[3] &= ~termios.ECHO
    termios.tcsetattr(sys.stdin, termios.TCSANOW, silent)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    assert termios.tcgetattr(sys.stdin) == before


async def test_a_line_that_the_terminal_cut_is_not_asked(terminal: int, capsys: pytest.CaptureFixture[str]) -> None:
    """A pasted line of more than 4,095 bytes was cut without a word, and the stump was asked and paid."""
    line = asyncio.create_task(typed_line("you"))
    os.write(terminal, b"x" * 4200 + b"\n")
    async with asyncio.timeout(PATIENCE_S):
        while "cut" not in capsys.readouterr().err:
            await asyncio.sleep(0.01)
        os.write(terminal, b"short\n")
        assert await line == "short"


async def test_a_program_that_ends_while_a_person_types_ends_in_peace() -> None:
    """Ctrl+c at the prompt aborted the whole program with "Fatal Python error"; with status 134, not 130."""
    person, program = pty.openpty()
    code = (
        "import asyncio; from app.cli.terminal_input import typed_line\n"
        "async def main(): await typed_line('you')\n"
        "try: asyncio.run(main())\n"
        "except KeyboardInterrupt: raise SystemExit(130)"
    )
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdin=program, stdout=program, stderr=asyncio.subprocess.PIPE
    )
    os.close(program)
    assert child.stderr is not None
    async with asyncio.timeout(PATIENCE_S):
        assert await child.stderr.readexactly(5) == b"you> "
        child.send_signal(signal.SIGINT)
        rest = await child.stderr.read()
        assert await child.wait() == 130
    os.close(person)
    assert rest == b""


@pytest.fixture
async def busy(run_node: RunNode, relay: RelayServer, devnet: DevnetReady) -> AsyncIterator[tuple[Upstream, LocalNode]]:
    """A server that is rented out, and a funded buyer."""
    urls = {"relay": relay.url, "chain": devnet.l2_url}
    async with (
        upstream() as server,
        run_node("seller", **urls, upstream=server.url, model=MODEL) as seller,
        run_node("buyer", **urls) as buyer,
    ):
        await seller.create_wallet("main", PASSPHRASE)
        await buyer.create_wallet("main", PASSPHRASE)
        await asyncio.gather(seller.go_online(), buyer.faucet("main"))
        yield server, buyer


async def test_a_busy_provider_is_asked_again_after_the_time_that_it_named(busy: tuple[Upstream, LocalNode]) -> None:
    """ "busy, try again in 7 s" was left to the person."""
    server, buyer = busy
    refuse, answer = refusing(429, **{"Retry-After": "1"}), speaking("forty-two", stated=1)
    calls = 0

    async def chat(request: web.Request, body: dict[str, object]) -> web.StreamResponse:
        nonlocal calls
        calls += 1
        return await (refuse if calls == 1 else answer)(request, body)

    server.chat = chat
    events = await ask(buyer, turn())
    assert isinstance(events[-1], ChatDone), events[-1]
    assert any(isinstance(event, ChatStage) and event.detail == "Busy; asking again in 1 s." for event in events)


async def test_a_provider_that_names_an_hour_is_not_waited_for(busy: tuple[Upstream, LocalNode]) -> None:
    """A hostile Retry-After would hold the buyer for as long as it likes."""
    server, buyer = busy
    server.chat = refusing(429, **{"Retry-After": "3600"})
    failed = (await ask(buyer, turn()))[-1]
    assert isinstance(failed, ChatFailed)
    assert (failed.code, failed.retry_after_ms) == ("engine_busy", 3_600_000)
