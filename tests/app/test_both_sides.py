"""The demo's two nodes as one: nothing of ``NodeApi`` is forgotten, and each call reaches the right side."""

from __future__ import annotations

import asyncio
import inspect
from contextlib import asynccontextmanager

import pytest

from app.both_sides import BY_WALLET, TO_BUYER, TO_SELLER, BothSides
from chain.errors import UsageError
from node.api import NodeApi
from node.runtime.events import EventBus
from node.values import LogLine, Notice
from tests.patience import PATIENCE_S

METHODS = {name for name, _ in inspect.getmembers(NodeApi, inspect.isfunction) if not name.startswith("_")}


class Side:
    """Answers every call with its own name, the call's name and the arguments."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __getattr__(self, called: str):
        if inspect.iscoroutinefunction(getattr(NodeApi, called)):

            async def call(*args, **kwargs):
                return self.name, called, args, kwargs

            return call

        @asynccontextmanager
        async def stream(*args, **kwargs):
            yield self.name, called, args, kwargs

        return stream


def both() -> NodeApi:
    return BothSides(Side("seller"), Side("buyer")).api


def test_every_call_is_written_out_or_in_exactly_one_table():
    written = {name for name in METHODS if name in vars(BothSides)}
    for tables in ((TO_SELLER, TO_BUYER), (TO_SELLER, BY_WALLET), (TO_BUYER, BY_WALLET)):
        assert not set.intersection(*map(set, tables))
    assert not written & (TO_SELLER | TO_BUYER | BY_WALLET)
    assert written | TO_SELLER | TO_BUYER | BY_WALLET == METHODS


async def test_renting_goes_to_the_seller_and_buying_to_the_buyer():
    assert await both().go_online("demo") == ("seller", "go_online", ("demo",), {})
    assert await both().market() == ("buyer", "market", (), {})
    async with both().pull_model("a/b") as got:
        assert got == ("seller", "pull_model", ("a/b",), {})
    assert await both().close_channel(3, alone=True) == ("buyer", "close_channel", (3,), {"alone": True})


async def test_a_call_that_names_a_wallet_goes_to_the_node_that_has_it():
    assert await both().faucet("buyer") == ("buyer", "faucet", ("main",), {})
    assert await both().withdraw("seller", None, to="0x") == ("seller", "withdraw", ("main", None), {"to": "0x"})
    async with both().leave("buyer", freeze=True) as got:
        assert got == ("buyer", "leave", ("main",), {"freeze": True})
    with pytest.raises(UsageError, match="two wallets"):
        both().faucet("main")


async def test_events_come_from_both_sides_and_a_line_of_the_log_comes_once():
    seller, buyer = EventBus(), EventBus()
    line = LogLine(at_ms=1, level="info", source="node", text="model_loaded")
    reset, last = Notice(severity="warning", text="It was reset."), Notice(severity="information", text="The last.")
    got = []
    async with BothSides(seller, buyer).subscribe() as events, asyncio.timeout(PATIENCE_S):
        await asyncio.sleep(0)  # both sides are subscribed to in their tasks' first step
        for bus in (seller, buyer):
            for event in (line, reset, last):
                bus.tell(event)
        while got.count(last) < 2:
            got.append(await anext(events))
    assert got.count(line) == 1
    assert got.count(reset) == 2


def test_what_is_no_call_of_a_node_is_refused():
    with pytest.raises(AttributeError):
        both().steal  # noqa: B018
