"""Somebody else's server behind a node: its refusals reach the buyer with their fix, its absence ends the offer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from node.local.node import LocalNode
from node.provider.limits import ProviderLimits
from node.values import ChatDelta, ChatDone, ChatFailed, Phase
from tests.harvest.forgetful import Forgetful
from tests.harvest.test_upstreams import Endless
from tests.node.conftest import PASSPHRASE, Pair
from tests.node.engine.upstream.hostile import MODEL, Upstream, listing, refusing, speaking, upstream
from tests.node.helpers import ask, rejected, turn, until
from tests.node.local.test_adversity import asking, hostile
from tests.patience import PATIENCE_S


@dataclass
class Rented:
    """A seller over a server that a test steers, and a funded buyer."""

    server: Upstream
    seller: LocalNode
    buyer: LocalNode


PATH = "/home/joe/secret-folder/big-model.gguf"


async def test_no_path_of_the_sellers_machine_reaches_anybody(run_node, relay, devnet):
    urls = {"relay": relay.url, "chain": devnet.l2_url}
    async with (
        upstream() as server,
        run_node("seller", **urls, upstream=server.url, model=PATH) as seller,
        run_node("buyer", **urls) as buyer,
    ):
        server.models = listing(PATH)
        await seller.create_wallet("main", PASSPHRASE)
        await buyer.create_wallet("main", PASSPHRASE)
        await asyncio.gather(seller.go_online(), buyer.faucet("main"))
        (offer,) = await buyer.market()
        assert offer.model == "big-model"
        done = await ask(buyer, turn())
        assert isinstance(done[-1], ChatDone)
        server.chat = refusing(500, f"can't read {PATH}")
        failed = await ask(buyer, turn())
        assert isinstance(failed[-1], ChatFailed)
        seen = [offer, done, failed, buyer.snapshot(), seller.snapshot().provider, seller.snapshot().recent_jobs]
        assert "secret-folder" not in repr(seen)
        assert {job.model for job in seller.snapshot().recent_jobs} == {"big-model"}


async def test_a_context_that_is_not_there_is_not_offered_and_no_dropped_token_is_paid(run_node, relay, devnet):
    urls = {"relay": relay.url, "chain": devnet.l2_url}
    async with (
        upstream() as server,
        run_node("seller", **urls, upstream=server.url, model=MODEL, context_length=8_192) as seller,
        run_node("buyer", **urls) as buyer,
    ):
        forgetful = Forgetful(server, context=4_000)
        await seller.create_wallet("main", PASSPHRASE)
        await buyer.create_wallet("main", PASSPHRASE)
        await asyncio.gather(seller.go_online(), buyer.faucet("main"))
        (offer,) = await buyer.market()
        assert 3_500 < offer.context_length <= 4_000
        assert isinstance((await ask(buyer, turn()))[-1], ChatDone)

        forgetful.context = 1_500  # loaded again with less
        failed = (await ask(buyer, turn("A river runs past the mill. " * 400)))[-1]
        assert isinstance(failed, ChatFailed)
        assert (failed.code, failed.cost_nano) == ("context_too_long", 0)
        await until(seller, lambda snapshot: snapshot.provider.context_length <= 1_500)
        async with asyncio.timeout(PATIENCE_S):
            while (await buyer.market())[0].context_length > 1_500:
                await asyncio.sleep(0.05)


async def test_a_buyer_that_died_ends_the_servers_work_within_a_few_windows(run_node, relay, devnet):
    urls = {"relay": relay.url, "chain": devnet.l2_url}
    async with (
        upstream() as server,
        run_node("seller", **urls, upstream=server.url, model=MODEL, credit_tokens=8, context_length=8_192) as seller,
        run_node("buyer", **urls) as buyer,
    ):
        await seller.create_wallet("main", PASSPHRASE)
        await buyer.create_wallet("main", PASSPHRASE)
        await asyncio.gather(seller.go_online(), buyer.faucet("main"))
        server.chat = endless = Endless()
        async with hostile(Pair(seller, buyer, relay)) as (link, offer, channel, _):
            await link.send(asking(offer, channel, max_tokens=8_000))
            began_s = asyncio.get_running_loop().time()
            async with asyncio.timeout(PATIENCE_S):
                await endless.gone.wait()
            took_s = asyncio.get_running_loop().time() - began_s
        assert took_s < ProviderLimits().payment_timeout_s / 2, "the buyer may still pay for what it got"


@pytest.fixture
async def rented(run_node, relay, devnet) -> AsyncIterator[Rented]:
    urls = {"relay": relay.url, "chain": devnet.l2_url}
    async with (
        upstream() as server,
        run_node("seller", **urls, upstream=server.url, model=MODEL) as seller,
        run_node("buyer", **urls) as buyer,
    ):
        await seller.create_wallet("main", PASSPHRASE)
        await buyer.create_wallet("main", PASSPHRASE)
        await asyncio.gather(seller.go_online(), buyer.faucet("main"))
        yield Rented(server, seller, buyer)


async def test_a_server_is_rented_out_and_its_refusals_and_absences_are_told(rented: Rented):
    server, seller, buyer = rented.server, rented.seller, rented.buyer
    assert await seller.models() == (MODEL,)
    (offer,) = await buyer.market()
    assert (offer.model, offer.architecture, offer.quantization, offer.auditable) == (
        MODEL, "upstream", "unknown", False,
    )  # fmt: skip

    server.chat = speaking("forty", "-two", stated=2)
    events = await ask(buyer, turn())
    done = events[-1]
    assert isinstance(done, ChatDone), events
    assert "".join(event.text for event in events if isinstance(event, ChatDelta)) == "forty-two"
    assert (done.input_tokens, done.output_tokens) == (7, 2)

    server.chat = refusing(429, "secret words", **{"Retry-After": "90"})
    failed = (await ask(buyer, turn()))[-1]
    assert isinstance(failed, ChatFailed)
    assert (failed.code, failed.fix, failed.cost_nano) == ("engine_busy", "Try again in 90 s.", 0)
    assert "secret" not in failed.message
    assert (await rejected(seller, "engine_busy")).count == 1

    server.models = refusing(503)
    server.chat = refusing(503)
    failed = (await ask(buyer, turn()))[-1]
    assert isinstance(failed, ChatFailed)
    assert failed.code == "engine_unavailable"
    await until(seller, lambda snapshot: snapshot.phase is Phase.DEGRADED)
    assert "503" in seller.snapshot().why
    server.models, server.chat = listing(MODEL), speaking("back")
    await until(seller, lambda snapshot: snapshot.phase is Phase.IDLE)
    assert isinstance((await ask(buyer, turn()))[-1], ChatDone)


async def test_a_server_that_still_loads_is_waited_for_and_the_headline_says_so(run_node, relay, devnet):
    async with (
        upstream() as server,
        run_node("seller", relay=relay.url, chain=devnet.l2_url, upstream=server.url, model=MODEL) as seller,
    ):
        server.models = refusing(503, "Loading model", **{"Retry-After": "0.05"})
        await seller.create_wallet("main", PASSPHRASE)
        going = asyncio.create_task(seller.go_online())
        await until(seller, lambda snapshot: "It is waited for." in snapshot.why)
        assert seller.snapshot().phase is Phase.STARTING
        assert "Loading model" in seller.snapshot().why
        server.models = listing(MODEL)
        await going
        assert seller.snapshot().phase is Phase.IDLE
