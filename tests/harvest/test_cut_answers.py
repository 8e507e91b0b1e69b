"""An answer that is not whole says so, and an answer without a limit has the room that context and money leave."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from aiohttp import web

from app.cli.chat import ask, converse
from chain.errors import IdlewattError
from node.api import NodeApi
from node.buyer.deposit import (
    REQUESTS_PER_DEPOSIT,
    UNASKED_DEPOSIT_NANO,
    USUAL_ANSWER_TOKENS,
    answer_budget_nano,
    estimated_need,
)
from node.pricing import cost_nano
from node.values import ChatDelta, ChatEvent, ChatMessage, ChatQuote, ChatTurn, ending_of
from tests.harvest.corpus import market
from tests.node.engine.upstream.hostile import (
    DONE,
    MODEL,
    chunk,
    cutting,
    event,
    listing,
    sending,
    speaking,
    usage,
)
from tests.node.market.test_offers import offer
from tests.screens.fake_node import FakeNode, chat_script
from tests.screens.support import PatientApp, until, until_seen, write

CONTEXT_TOKENS = 60_000


def talking_on(*, thinking: bool = False) -> Any:
    """A chat handler of a model that never ends by itself: it writes as many tokens as it is allowed."""

    async def handler(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        tokens = body["max_tokens"]
        field = "reasoning_content" if thinking else "content"
        words = event({"choices": [{"index": 0, "delta": {field: "ab " * min(tokens, 2_000)}}]})
        return await sending(words, chunk(finish="length"), usage(min(tokens, 2_000)), DONE)(request, body)

    return handler


def saying_slowly() -> Any:
    """A chat handler that says a word and then no more until its reader goes."""

    async def handler(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(chunk("one "))
        await response.write(usage(1))
        await asyncio.Event().wait()
        return response

    return handler


class Watched:
    """A node that tells when some text of an answer was taken by who asked."""

    def __init__(self, node: NodeApi) -> None:
        self.taken = asyncio.Event()
        self._node = node

    @asynccontextmanager
    async def chat(self, turn: ChatTurn) -> AsyncIterator[AsyncIterator[ChatEvent]]:
        async with self._node.chat(turn) as events:

            async def passed() -> AsyncIterator[ChatEvent]:
                async for told in events:
                    yield told
                    if isinstance(told, ChatDelta):
                        self.taken.set()

            yield passed()


def question(**changes: Any) -> ChatTurn:
    return ChatTurn(messages=(ChatMessage("user", "Go on."),), **changes)


async def quote_for(node: Any, turn: ChatTurn) -> ChatQuote:
    async with node.chat(turn) as events:
        async for told in events:
            if isinstance(told, ChatQuote):
                return told
    raise AssertionError("no quote came")


async def test_an_answer_that_was_cut_says_so_where_it_is_read(run_node, relay, devnet, capfd):
    """An answer ended in the middle of a sentence and nothing said why; an empty one was billed for its thinking."""
    async with market(run_node, relay.url, devnet.l2_url) as (server, _seller, buyer):

        async def said(handler: Any, **changes: Any) -> dict[str, Any]:
            server.chat = handler
            capfd.readouterr()
            await ask(buyer, question(**changes), as_json=True)
            return json.loads(capfd.readouterr().out)

        async def noted(handler: Any, **changes: Any) -> str:
            server.chat = handler
            capfd.readouterr()
            await ask(buyer, question(**changes), as_json=False)
            return capfd.readouterr().err

        facts = await said(talking_on(), max_tokens=10)
        assert (facts["finish_reason"], facts["quote"]["limited_by"]) == ("length", "max_tokens")
        assert "Cut at 10 tokens: that is the limit that was set. --max-tokens allows more." in await noted(
            talking_on(), max_tokens=10
        )
        facts = await said(talking_on(thinking=True), max_tokens=10)
        assert (facts["finish_reason"], facts["answer"], facts["done"]["output_tokens"]) == ("length", "", 10)
        err = await noted(talking_on(thinking=True), max_tokens=10)
        assert "It thought to the limit and wrote no answer: 10 tokens billed" in err
        assert "Cut" not in await noted(speaking("whole", stated=1))
        assert (await said(speaking("whole", stated=1)))["finish_reason"] == "stop"
        assert "the provider ended it there" in await noted(
            sending(chunk("ab"), chunk(finish="length"), usage(1), DONE)
        )


async def test_without_limits_an_answer_has_the_room_that_context_and_money_leave(run_node, relay, devnet):
    """Answers ended at 512 tokens, whatever the model and the wallet could do."""
    async with market(run_node, relay.url, devnet.l2_url, min_deposit_nano=1_000_000_000) as (server, _seller, buyer):
        server.chat = talking_on()
        quote = await quote_for(buyer, question())
        (found,) = await buyer.market()
        assert quote.limited_by == "context"
        assert quote.max_output_tokens == found.context_length - quote.input_tokens > 2 * USUAL_ANSWER_TOKENS
        limit_nano = cost_nano(1_000, quote.prices.output_nano_per_mtok)
        quote = await quote_for(buyer, question(max_spend_nano=limit_nano))
        assert quote.limited_by == "max_spend"
        assert quote.ceiling_nano <= limit_nano
        assert USUAL_ANSWER_TOKENS < quote.max_output_tokens < 1_000


async def test_a_model_that_never_ends_costs_no_more_than_a_usual_deposit(run_node, relay, devnet):
    """A provider with a large minimum deposit could bill all of it for one answer that never ends."""
    async with market(
        run_node,
        relay.url,
        devnet.l2_url,
        models=listing(MODEL, max_model_len=CONTEXT_TOKENS),
        min_deposit_nano=UNASKED_DEPOSIT_NANO,
    ) as (server, _seller, buyer):
        server.chat = talking_on()
        quote = await quote_for(buyer, question())
        need = estimated_need(
            offer(
                input_nano_per_mtok=quote.prices.input_nano_per_mtok,
                output_nano_per_mtok=quote.prices.output_nano_per_mtok,
                context_length=CONTEXT_TOKENS,
            ),
            question(),
            None,
        )
        assert quote.limited_by == "answer_budget"
        assert quote.max_output_tokens < CONTEXT_TOKENS // 2
        assert quote.ceiling_nano <= REQUESTS_PER_DEPOSIT * need.ceiling_nano
        (channel,) = await buyer.channels()
        assert channel.deposit_nano >= UNASKED_DEPOSIT_NANO > 10 * quote.ceiling_nano


@pytest.mark.parametrize(("spendable_nano", "expected"), [(None, 10_000_000), (7, 7), (10**12, 10**10)])
def test_the_budget_of_an_answer_follows_the_persons_limit_or_else_a_usual_deposit(spendable_nano, expected):
    need = msgspec.structs.replace(estimated_need(offer(), question(), None), ceiling_nano=1_000)
    assert answer_budget_nano(need, question(), 10**10, spendable_nano) == expected
    assert answer_budget_nano(need, question(max_tokens=9), 10**10, None) == 10**10


async def test_what_was_paid_for_is_told_when_the_answer_breaks_off_or_is_stopped(run_node, relay, devnet, capfd):
    """A paid half of an answer was lost to programs that read JSON, and ctrl-c told nothing of what it had cost."""
    async with market(run_node, relay.url, devnet.l2_url) as (server, _seller, buyer):
        server.chat = cutting(chunk("half "), usage(1))
        with pytest.raises(IdlewattError):
            await ask(buyer, question(), as_json=True)
        facts = json.loads(capfd.readouterr().out)
        assert (facts["answer"], facts["finish_reason"], facts["done"]) == ("half ", "failed", None)
        assert facts["error"]["code"] == "engine_crashed"

        for as_json in (False, True):
            server.chat = saying_slowly()
            capfd.readouterr()
            watched = Watched(buyer)
            asking = asyncio.create_task(ask(watched, question(), as_json=as_json))
            await watched.taken.wait()
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            shown = capfd.readouterr()
            if as_json:
                facts = json.loads(shown.out)
                assert (facts["answer"], facts["finish_reason"]) == ("one ", "cancelled")
            else:
                assert shown.out == "one \n"
                assert "Stopped after 1 token. $" in shown.err


async def test_a_cut_answer_is_marked_in_the_app_also_when_its_chat_is_opened_again(run_node, relay, devnet):
    """A saved chat showed half an answer as if it were whole, and thinking that was billed left no trace."""
    async with market(run_node, relay.url, devnet.l2_url) as (server, _seller, buyer):
        app = PatientApp(buyer, first_mode="chat")
        async with app.run_test(size=(110, 40), notifications=True) as pilot:
            told = ("Cut at", "It thought to the limit and wrote no answer")
            for count, handler in enumerate((talking_on(), talking_on(thinking=True)), start=1):
                server.chat = handler
                await write(pilot, f"Question {count}", "#prompt")
                await pilot.press("enter")
                await until(pilot, lambda count=count: not app.screen.running and len(app.screen.endings) == count)
                await pilot.press("escape")
                await pilot.press("G")
                await until_seen(pilot, told[count - 1])
            await until(pilot, lambda: bool(app.screen.sessions) and len(app.screen.sessions[0].endings) == 2)
            (kept,) = await buyer.chat_sessions()
            await app.screen.action_new()
            await app.screen._open(kept)
            await pilot.press("escape")
            await pilot.press("G")
            await until_seen(pilot, told[1])

            server.chat = speaking("whole", stated=1)
            await write(pilot, "And now?", "#prompt")
            await pilot.press("enter")
            await until(pilot, lambda: not app.screen.running and len(app.screen.messages) == 6)
            sent = server.bodies("/v1/chat/completions")[-1]["messages"]
            assert [message["content"] for message in sent][0::2] == ["Question 1", "And now?"]
            assert len(sent) == 3


async def test_a_conversation_goes_on_without_a_turn_that_the_model_never_took():
    """An empty answer went back to the model as its own words."""
    lines, asked = iter(["one", "two", None]), []

    async def line() -> str | None:
        return next(lines)

    async def answer_to(messages: Any) -> str:
        asked.append([message.content for message in messages])
        return ""

    await converse(line, answer_to)
    assert asked == [["one"], ["two"]]


async def test_json_names_the_reason_of_every_ending(capsys):
    node = FakeNode()
    *script, done = (*chat_script("x"),)
    node.script = lambda: [*script, msgspec.structs.replace(done, reason="length")]
    await ask(node, question(), as_json=True)
    assert json.loads(capsys.readouterr().out)["finish_reason"] == "length"


@pytest.mark.parametrize(
    ("reason", "text", "thought", "words"),
    [
        ("stop", "x", True, ""),
        ("stop", " ", False, "The answer is empty: 5 tokens billed."),
        ("stop", "", True, "It thought and wrote no answer: 5 tokens billed."),
        ("length", "x", False, "Cut at 5 tokens: the model's context is full."),
        ("cancelled", "x", False, "Stopped after 5 tokens."),
        ("failed", "x", False, "Broken off after 5 tokens."),
    ],
)
def test_an_ending_is_told_in_one_sentence(reason, text, thought, words):
    ending = ending_of(reason, text=text, output_tokens=5, max_output_tokens=5, limited_by="context", thought=thought)
    assert ending.words == words
