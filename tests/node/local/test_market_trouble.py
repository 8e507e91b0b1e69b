"""A market with liars, dead nodes and busy providers: the buyer finds its way, and is told why when there is none."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager

import msgspec
import pytest

from chain.client import RollupClient
from node.buyer.limits import BuyerLimits
from node.local.limits import NodeLimits
from node.market.clock import SKEW_MS
from node.market.offers import VALIDITY_MS, decode_offer, encode_offer, sign_offer
from node.provider.admission import REQUESTS_PER_BUYER
from node.provider.limits import ProviderLimits
from node.relay.client import RelayClient
from node.runtime.jobs import now_ms
from node.session.sealed import generate_transport_key, transport_public_key
from node.values import ChatDelta, ChatDone, ChatFailed, ChatStage, Phase, Prices
from tests.node.conftest import Pair
from tests.node.helpers import ask, rejected, turn, until
from tests.node.local.test_adversity import LONG
from tests.patience import PATIENCE_S
from wallet.account import UnlockedAccount


@pytest.fixture
def limits() -> NodeLimits:
    """A buyer that waits for no busy provider: a refusal is what these tests are about."""
    return NodeLimits(buyer=BuyerLimits(busy_wait_s=0))


IMPOSTOR = UnlockedAccount((4_242).to_bytes(32, "big"))


@asynccontextmanager
async def impostor(pair: Pair, devnet, *, funded: bool = True, sign: bool = True, says: str = "", **changes):
    """Another node on the relay, which lists an offer like the seller's and never serves."""
    client = await pair.buyer._buying_relay.client()
    (listing,) = await client.offers()
    rollup = pair.buyer._chain.known
    async with RollupClient(devnet.l2_url) as chain, RelayClient(pair.relay.url) as node:
        if funded:
            await chain.create_account(IMPOSTOR.address)
        offer = msgspec.structs.replace(
            decode_offer(listing.offer),
            provider=IMPOSTOR.address,
            node_id=node.node_id,
            transport_key=transport_public_key(generate_transport_key()),
            input_nano_per_mtok=1,
            output_nano_per_mtok=1,
            issued_ms=now_ms(),
            expires_ms=now_ms() + VALIDITY_MS,
        )
        offer = msgspec.structs.replace(offer, **changes)
        if sign:
            offer = sign_offer(IMPOSTOR, rollup.domain, offer)
        await node.publish([encode_offer(offer)])

        async def take() -> None:
            async for circuit in node.incoming():
                await circuit.close(says)

        taking = asyncio.create_task(take()) if says else None
        yield offer
        if taking is not None:
            taking.cancel()
            await asyncio.gather(taking, return_exceptions=True)


# A word about the buyer's own side is no better from a provider than any other.
@pytest.mark.parametrize("says", ["busy", "wallet_locked"])
async def test_a_dead_cheap_offer_is_skipped_for_one_that_answers(pair: Pair, devnet, says):
    async with impostor(pair, devnet, says=says) as offer:
        assert (await pair.buyer.market())[0].offer_id == offer.offer_id
        events = await ask(pair.buyer, turn())
        assert isinstance(events[-1], ChatDone), events[-1]
        connecting = [e for e in events if isinstance(e, ChatStage) and e.stage == "connecting"]
        assert len(connecting) == 2
        # Asked for by name, there is nobody else to ask.
        events = await ask(pair.buyer, turn(offer_id=offer.offer_id))
        assert isinstance(events[-1], ChatFailed)
        assert events[-1].cost_nano == 0
        assert [channel.peer for channel in await pair.buyer.channels()] == [pair.seller.snapshot().wallets[0].address]


async def test_offers_that_can_not_be_verified_are_not_shown(pair: Pair, devnet):
    for flaw in (
        {"sign": False},
        {"deployment": bytes(32)},
        {"node_id": "ab" * 32},
        {"expires_ms": now_ms() - SKEW_MS - 1},
    ):
        async with impostor(pair, devnet, **flaw):
            assert len(await pair.buyer.market()) == 1
    (reasons,) = [(await pair.buyer._buyer.offer_reader.read(mine=None, fresh=True)).unusable]
    assert reasons == {}


async def test_an_offer_whose_provider_can_not_be_paid_is_not_shown(pair: Pair, devnet):
    stranger = UnlockedAccount((4_243).to_bytes(32, "big"))
    async with impostor(pair, devnet, funded=False, sign=False, provider=stranger.address) as offer:
        domain = pair.buyer._chain.known.domain
        assert sign_offer(stranger, domain, offer).signature
        market = await pair.buyer._buyer.offer_reader.read(mine=None, fresh=True)
        assert len(market.views) == 1
    async with RelayClient(pair.relay.url) as node:
        own = sign_offer(stranger, domain, msgspec.structs.replace(offer, node_id=node.node_id))
        await node.publish([encode_offer(own), b"no offer at all"])
        market = await pair.buyer._buyer.offer_reader.read(mine=None, fresh=True)
        assert market.unusable == {"unfunded": 1, "malformed": 1}


async def test_an_unknown_model_names_what_there_is(pair: Pair):
    events = await ask(pair.buyer, turn(model="gpt-9"))
    assert isinstance(events[-1], ChatFailed)
    assert events[-1].code == "unknown_model"
    assert "tiny" in events[-1].message


async def test_a_request_that_finds_every_slot_taken_waits_in_line_and_is_told(pair: Pair):
    slots = pair.seller._provider._host.slots
    stages, details = [], []
    async with AsyncExitStack() as taken:
        for _ in range(slots.count):
            taken.enter_context(slots.enter(b"somebody else"))
        async with pair.buyer.chat(turn()) as stream:
            async for event in stream:
                if isinstance(event, ChatStage):
                    stages.append(event.stage)
                    details.append(event.detail)
                if stages[-1] == "queued":
                    await taken.aclose()
                last = event
    assert isinstance(last, ChatDone), last
    assert "queued" in stages
    assert any(detail.startswith("1st in the queue, about ") for detail in details)


async def test_a_buyer_that_asks_for_too_much_at_once_is_refused_before_a_quote_and_told_what_to_do(pair: Pair):
    slots = pair.seller._provider._host.slots
    payer = pair.buyer._wallet.address
    with ExitStack() as taken:
        for _ in range(slots.count):
            taken.enter_context(slots.enter(b"somebody else"))
        for _ in range(REQUESTS_PER_BUYER):
            taken.enter_context(slots.enter(payer))
        events = await ask(pair.buyer, turn())
    failed = events[-1]
    assert isinstance(failed, ChatFailed)
    assert failed.code == "too_many_requests"
    assert "Wait until one of them has ended" in failed.fix
    assert failed.cost_nano == 0
    assert (await rejected(pair.seller, "too_many_requests")).count == 1


async def test_the_owners_own_question_goes_before_those_who_wait(pair: Pair):
    seller = pair.seller
    await seller.faucet("main")
    slots = seller._provider._host.slots
    with ExitStack() as strangers:
        running = [strangers.enter_context(slots.enter(b"runs")) for _ in range(slots.count)]
        waiting = strangers.enter_context(slots.enter(b"waits"))
        mine = next(offer for offer in await seller.market() if offer.mine)
        async with seller.chat(turn(offer_id=mine.offer_id)) as stream:
            async for event in stream:
                if isinstance(event, ChatStage) and event.stage == "queued":
                    assert event.detail.startswith("1st in the queue")
                    running[0].leave()
                last = event
        assert isinstance(last, ChatDone), last
        assert slots.place(waiting.ticket) == 0, "its turn came after"


async def test_a_buyer_that_leaves_in_line_is_counted_so(pair: Pair):
    slots = pair.seller._provider._host.slots
    with ExitStack() as taken:
        for _ in range(slots.count):
            taken.enter_context(slots.enter(b"somebody else"))
        async with pair.buyer.chat(turn()) as stream:
            async for event in stream:
                if isinstance(event, ChatStage) and event.stage == "queued":
                    break
        await rejected(pair.seller, "left_in_line")
    assert slots.waiting == 0


async def test_going_offline_lets_the_running_answer_end(pair: Pair):
    events = []
    offline = None
    async with pair.buyer.chat(turn(**LONG)) as stream:
        async for event in stream:
            events.append(event)
            if isinstance(event, ChatDelta) and offline is None:
                offline = asyncio.create_task(pair.seller.go_offline())
    assert isinstance(events[-1], ChatDone), events[-1]
    await offline
    assert pair.seller.snapshot().phase is Phase.OFF
    assert await pair.buyer.market() == ()
    events = await ask(pair.buyer, turn())
    assert events[-1].code == "no_offer"


@pytest.mark.parametrize("limits", [NodeLimits(provider=ProviderLimits(drain_s=0.0))])
async def test_a_provider_that_must_stop_at_once_is_paid_for_what_it_delivered(pair: Pair):
    events = []
    offline = None
    async with pair.buyer.chat(turn(**LONG)) as stream:
        async for event in stream:
            events.append(event)
            if isinstance(event, ChatDelta) and offline is None:
                offline = asyncio.create_task(pair.seller.go_offline())
    await offline
    assert isinstance(events[-1], ChatFailed), events[-1]
    assert events[-1].code == "provider_stopping"
    (bought,) = await pair.buyer.channels()
    (sold,) = await pair.seller.channels()
    assert bought.spent_nano == sold.redeemed_nano == events[-1].cost_nano > 0


async def test_prices_and_model_change_while_online(pair: Pair):
    await pair.seller.go_online("tiny", Prices(input_nano_per_mtok=5, output_nano_per_mtok=6))
    await until(pair.seller, lambda s: s.phase is Phase.IDLE)
    async with asyncio.timeout(PATIENCE_S):
        while (await pair.buyer.market())[0].prices.output_nano_per_mtok != 6:
            await asyncio.sleep(0.05)
    assert await pair.seller.models()
    demo = "demo" if "demo" in await pair.seller.models() else "tiny"
    await pair.seller.go_online(demo)
    await until(pair.seller, lambda s: s.phase is Phase.IDLE and s.provider.model == demo)


@pytest.mark.parametrize("limits", [NodeLimits(buyer=BuyerLimits(connect_timeout_s=10 * PATIENCE_S))])
async def test_leaving_before_anybody_was_asked_ends_at_once(pair: Pair, devnet):
    async with (
        impostor(pair, devnet) as offer,
        asyncio.timeout(PATIENCE_S),
        pair.buyer.chat(turn(offer_id=offer.offer_id)) as stream,
    ):
        async for event in stream:
            if isinstance(event, ChatStage) and event.stage == "connecting":
                break
    assert pair.buyer.snapshot().active_jobs == ()
