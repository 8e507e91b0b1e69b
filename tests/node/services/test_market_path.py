"""The whole path with real parts: rent out, ask, pay, redeem, close; the money adds up to the last nano."""

from __future__ import annotations

import asyncio

from chain.client import RollupClient
from node.pricing import cost_nano
from node.values import ChatDelta, ChatDone, ChatFailed, ChatMessage, ChatQuote, ChatStage, ChatTurn, Phase, Sampling
from tests.node.services.conftest import PRICES, Pair

FEE_NANO = 1_000


def turn(text: str = "hello", **changes) -> ChatTurn:
    values = {"messages": (ChatMessage("user", text),), "max_tokens": 40, "sampling": Sampling(seed=1)}
    return ChatTurn(**(values | changes))


async def ask(node, question: ChatTurn):
    events = []
    async with node.chat(question) as stream:
        async for event in stream:
            events.append(event)
    return events


async def balances(url: str, *nodes):
    async with RollupClient(url) as client:
        accounts = [
            await client.account(bytes.fromhex(node.snapshot().wallets[0].address.removeprefix("0x"))) for node in nodes
        ]
    return [account.balance_nano if account else 0 for account in accounts]


async def test_an_answer_is_bought_paid_and_settled_to_the_last_nano(pair: Pair, devnet):
    assert pair.seller.snapshot().phase is Phase.IDLE
    offers = await pair.buyer.market()
    assert [offer.model for offer in offers] == ["tiny"]
    buyer_before, seller_before = await balances(devnet.l2_url, pair.buyer, pair.seller)

    events = await ask(pair.buyer, turn())
    done = events[-1]
    assert isinstance(done, ChatDone), events
    quote = next(event for event in events if isinstance(event, ChatQuote))
    assert [e.stage for e in events if isinstance(e, ChatStage)][:3] == ["choosing", "connecting", "opening_channel"]
    expected = cost_nano(done.input_tokens, PRICES.input_nano_per_mtok) + cost_nano(
        done.output_tokens, PRICES.output_nano_per_mtok
    )
    assert done.cost_nano == expected <= quote.ceiling_nano
    assert done.receipt.cumulative_nano == expected
    assert [e for e in events if isinstance(e, ChatDelta)][-1].spent_nano == expected

    # A second question goes through the same channel, at once.
    again = await ask(pair.buyer, turn("hello again"))
    assert isinstance(again[-1], ChatDone)
    assert all(event.stage != "opening_channel" for event in again if isinstance(event, ChatStage))
    assert again[-1].receipt.sequence == done.receipt.sequence + 1
    paid = done.cost_nano + again[-1].cost_nano

    assert pair.seller.snapshot().provider.claimable_nano == paid
    await pair.seller.redeem(quote.channel_id)
    await pair.buyer.close_channel(quote.channel_id)
    buyer_after, seller_after = await balances(devnet.l2_url, pair.buyer, pair.seller)
    assert seller_after - seller_before == paid
    assert buyer_before - buyer_after == paid + FEE_NANO

    (channel,) = await pair.buyer.channels()
    assert (channel.state, channel.spent_nano) == ("closed", paid)
    job = pair.seller.snapshot().recent_jobs[0]
    assert (job.role, job.amount_nano, job.exposure_nano) == ("provider", again[-1].cost_nano, 0)


async def test_four_streams_at_once_are_served_and_paid(pair: Pair):
    answers = await asyncio.gather(*(ask(pair.buyer, turn(f"question {n}")) for n in range(4)))
    assert all(isinstance(events[-1], ChatDone) for events in answers), [events[-1] for events in answers]
    paid = sum(events[-1].cost_nano for events in answers)
    assert pair.seller.snapshot().provider.claimable_nano == paid


async def test_a_limit_too_small_for_the_prompt_says_so_and_costs_nothing(pair: Pair):
    events = await ask(pair.buyer, turn(max_spend_nano=10))
    assert isinstance(events[-1], ChatFailed)
    assert events[-1].code == "spend_limit"
    assert (await pair.buyer.channels()) == ()
