"""Stakes on the market are the chain's: a claim that it doesn't hold is not shown, and a slow chain holds nobody up."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import msgspec
import pytest
from aiohttp import web
from msgspec.structs import replace

from node.buyer import provider_accounts
from node.buyer.limits import BuyerLimits
from node.buyer.offer_reader import VerifiedOffers
from node.local.limits import NodeLimits
from node.values import ChatDone, ChatFailed
from tests.node.conftest import PASSPHRASE, Pair, RunNode
from tests.node.helpers import ask, turn
from tests.node.local.test_market_trouble import impostor
from tests.patience import PATIENCE_S

USD = 10**9


async def reading(node) -> VerifiedOffers:
    return await node._buyer.offer_reader.read(mine=None, fresh=True)


async def shown(node, stake_nano: int) -> VerifiedOffers:
    """The market once its only offer has this stake."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            market = await reading(node)
            if [view.stake_nano for view in market.views] == [stake_nano]:
                return market
            await asyncio.sleep(0.1)


async def test_an_offer_that_claims_a_stake_which_the_chain_does_not_hold_is_not_shown(
    pair: Pair, devnet, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.INFO, "node.buyer.offer_reader"):
        async with impostor(pair, devnet, stake_nano=1) as offer:
            market = await reading(pair.buyer)
            assert market.unusable == {"overstated": 1}
            assert offer.offer_id not in market.offers
            await reading(pair.buyer)
            # Asked for by its id it isn't rented either.
            failed = (await ask(pair.buyer, turn(offer_id=offer.offer_id)))[-1]
            assert isinstance(failed, ChatFailed)
            assert failed.code == "offer_gone"
    told = [record.getMessage() for record in caplog.records if record.name == "node.buyer.offer_reader"]
    assert told == ["offers_hidden count=1 reason='claim more stake than the chain holds'"]
    async with impostor(pair, devnet) as offer:
        assert offer.offer_id in (await reading(pair.buyer)).offers


@pytest.mark.parametrize("limits", [NodeLimits(buyer=BuyerLimits(account_fresh_s=0.0, account_doubt_s=0.0))])
async def test_the_stake_on_the_market_is_the_one_that_the_chain_holds(pair: Pair):
    assert [view.stake_nano for view in await pair.buyer.market()] == [0]
    await pair.seller.faucet("main")
    await pair.seller.stake("main", 3 * USD)
    (offer,) = (await shown(pair.buyer, 3 * USD)).offers.values()
    await pair.seller.unstake("main", USD)
    # Its old offer still claims all three, of which one is on its way out: no lie, and only two are shown.
    assert (await shown(pair.buyer, 2 * USD)).unusable == {}
    assert offer.stake_nano in (0, 3 * USD)
    assert isinstance((await ask(pair.buyer, turn()))[-1], ChatDone)


@pytest.mark.parametrize("limits", [NodeLimits(buyer=BuyerLimits(account_fresh_s=0.0, account_doubt_s=0.0))])
async def test_a_channel_older_than_the_stake_is_left_for_one_that_the_stake_answers_for(pair: Pair):
    assert isinstance((await ask(pair.buyer, turn()))[-1], ChatDone)
    (old,) = await pair.buyer.channels()
    await pair.seller.faucet("main")
    await pair.seller.stake("main", 3 * USD)
    (offer,) = (await shown(pair.buyer, 3 * USD)).views
    assert offer.slash_from > old.channel_id

    for _ in range(2):
        assert isinstance((await ask(pair.buyer, turn()))[-1], ChatDone)

    spent = {channel.channel_id: channel.spent_nano for channel in await pair.buyer.channels()}
    assert spent.pop(old.channel_id) == old.spent_nano
    (covered,) = spent
    assert covered >= offer.slash_from


@dataclass
class Gate:
    """A chain's RPC that answers what accounts hold only while it is open."""

    target: str
    open: asyncio.Event = field(default_factory=asyncio.Event)
    refuses: bool = False
    asked: int = 0
    at_once: int = 0
    most_at_once: int = 0
    url: str = ""

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        if msgspec.json.decode(body)["method"] == "rollup_account":
            self.asked += 1
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            try:
                await self.open.wait()
            finally:
                self.at_once -= 1
            if self.refuses:
                return web.Response(status=503)
        async with (
            aiohttp.ClientSession() as session,
            session.post(self.target, data=body, headers={"Content-Type": "application/json"}) as answer,
        ):
            return web.Response(body=await answer.read(), content_type="application/json")


@asynccontextmanager
async def gated(target: str) -> AsyncIterator[Gate]:
    gate = Gate(target)
    app = web.Application()
    app.router.add_post("/", gate.handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.5)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    gate.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    try:
        yield gate
    finally:
        gate.open.set()
        await runner.cleanup()


async def test_a_slow_chain_holds_the_market_up_for_a_moment_only_and_is_believed_when_it_answers(
    pair: Pair, devnet, run_node: RunNode
):
    await pair.seller.faucet("main")
    await pair.seller.stake("main", 2 * USD)
    await shown(pair.buyer, 2 * USD)
    hasty = NodeLimits(buyer=BuyerLimits(account_patience_s=0.1, account_fresh_s=10 * PATIENCE_S))
    async with (
        gated(devnet.l2_url) as gate,
        run_node("late", relay=pair.relay.url, chain=gate.url, limits=hasty) as late,
    ):
        market = await reading(late)
        assert gate.asked == gate.at_once  # every question still waits at the gate
        assert [view.stake_nano for view in market.views] == [0]
        assert market.unusable == {}
        gate.open.set()
        await shown(late, 2 * USD)
        asked = gate.asked
        await reading(late)
        # Known for some seconds: nobody is asked again.
        assert gate.asked == asked
        # What was known holds while the chain is silent.
        gate.refuses = True
        accounts = late._buyer.offer_reader._accounts
        accounts.limits = replace(accounts.limits, account_fresh_s=0.0)
        assert [view.stake_nano for view in (await reading(late)).views] == [2 * USD]
        assert gate.asked == asked + 1


async def test_a_chain_that_fails_hides_no_offer(pair: Pair, devnet, run_node: RunNode):
    async with (
        gated(devnet.l2_url) as gate,
        run_node("late", relay=pair.relay.url, chain=gate.url) as late,
    ):
        gate.refuses = True
        gate.open.set()
        market = await reading(late)
        assert ([view.stake_nano for view in market.views], market.unusable) == ([0], {})
        gate.refuses = False
        assert (await reading(late)).unusable == {}


async def test_many_providers_are_asked_about_a_few_at_a_time(devnet, run_node: RunNode, relay):
    async with gated(devnet.l2_url) as gate, run_node("late", relay=relay.url, chain=gate.url) as late:
        await late.create_wallet("main", PASSPHRASE)
        rollup = await late._chain.rollup()
        accounts = late._buyer.offer_reader._accounts
        strangers = {bytes([number]) * 20: 0 for number in range(100, 140)}
        accounts.limits = BuyerLimits(account_patience_s=0.1)
        assert await accounts.read(rollup, strangers) == {}
        gate.open.set()
        accounts.limits = BuyerLimits(account_patience_s=PATIENCE_S)
        assert await accounts.read(rollup, strangers) == dict.fromkeys(strangers)
        assert gate.most_at_once <= provider_accounts.AT_ONCE + 1  # the wallet's own balance is asked for too
