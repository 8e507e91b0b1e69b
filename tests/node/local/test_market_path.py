"""The whole path with real parts: rent out, ask, pay, redeem, close; the money adds up to the last nano."""

from __future__ import annotations

import asyncio

import pytest

from node.pricing import cost_nano
from node.values import (
    ChatDelta,
    ChatDone,
    ChatFailed,
    ChatQuote,
    ChatStage,
    IdlewattError,
    JsonObject,
    JsonSchema,
    Phase,
    Sampling,
)
from tests.node.conftest import PASSPHRASE, PRICES, Pair
from tests.node.engine.bert import write_bert
from tests.node.engine.tiny import vocabulary, write_tiny
from tests.node.helpers import FEE_NANO, ask, balances, turn, until


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

    await until(pair.seller, lambda snapshot: snapshot.provider.claimable_nano == paid)
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
    await until(pair.seller, lambda snapshot: snapshot.provider.claimable_nano == paid)


async def test_a_limit_too_small_for_the_prompt_says_so_and_costs_nothing(pair: Pair):
    events = await ask(pair.buyer, turn(max_spend_nano=10))
    assert isinstance(events[-1], ChatFailed)
    assert events[-1].code == "spend_limit"
    assert (await pair.buyer.channels()) == ()


async def test_thinking_a_format_and_log_probabilities_travel_to_the_buyer(run_node, relay, devnet, tmp_path):
    models = tmp_path / "seller" / "models"
    models.mkdir(parents=True)
    # It opens its tag in the template, and often closes it at once.
    write_tiny(
        models / "tiny.gguf",
        template="{{ messages[0]['content'] }}<think>",
        extra_tokens=("</think>",),
        emphasis={len(vocabulary()[0]): 3.0},
    )
    urls = {"relay": relay.url, "chain": devnet.l2_url}
    async with run_node("seller", **urls) as seller, run_node("buyer", **urls) as buyer:
        await seller.create_wallet("main", PASSPHRASE)
        await buyer.create_wallet("main", PASSPHRASE)
        await asyncio.gather(seller.go_online(), buyer.faucet("main"))
        for seed in range(8):
            warm = Sampling(temperature=1.0, top_k=0, min_p=0.0, typical_p=0.99, seed=seed)
            asked = turn(max_tokens=60, sampling=warm, logprobs=2, response_format=JsonObject())
            events = await ask(buyer, asked)
            # The receipt's hashes cover all text, the format and the new parameters: it would be refused otherwise.
            assert isinstance(events[-1], ChatDone), events[-1]
            deltas = [event for event in events if isinstance(event, ChatDelta)]
            thought = "".join(delta.text for delta in deltas if delta.thinking)
            answer = "".join(delta.text for delta in deltas if not delta.thinking)
            assert "think>" not in thought
            if thought and answer:
                break
        assert thought
        assert answer.startswith("{")
        logprobs = [one for delta in deltas for one in delta.logprobs]
        assert len(logprobs) == events[-1].output_tokens
        assert all(len(one.top) == 2 for one in logprobs)
        refused = await ask(buyer, turn(response_format=JsonSchema('{"not": {"format": "date"}}')))
        assert isinstance(refused[-1], ChatFailed)
        assert refused[-1].cost_nano == 0


async def test_an_embedding_model_is_not_rented_out_for_chats(run_node, tmp_path):
    models = tmp_path / "seller" / "models"
    models.mkdir(parents=True)
    write_bert(models / "tiny.gguf")
    async with run_node("seller") as seller:
        await seller.create_wallet("main", PASSPHRASE)
        with pytest.raises(IdlewattError, match="embedding model"):
            await seller.go_online()
        assert seller.snapshot().phase is Phase.OFF
