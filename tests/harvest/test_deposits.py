"""A deposit that was estimated too low: the provider's own count mends it, and the right cause is named."""

from __future__ import annotations

import asyncio

from chain.devnet import DevnetReady
from node.pricing import cost_nano
from node.values import ChatDone, ChatFailed, ChatStage, OfferView
from tests.node.conftest import PASSPHRASE, PRICES, Pair, RunNode
from tests.node.helpers import FEE_NANO, ask, turn
from tests.patience import PATIENCE_S

MAX_TOKENS = 40
TEMPLATE_TOKENS = 64
"""What the estimate adds for the chat template."""


def dense(left_nano: int) -> str:
    """A text in Chinese that a channel with this much left is estimated to pay for, and doesn't."""
    output_nano = cost_nano(MAX_TOKENS, PRICES.output_nano_per_mtok)
    estimated_tokens = (left_nano - output_nano) * 1_000_000 // PRICES.input_nano_per_mtok - TEMPLATE_TOKENS
    return "的" * (2 * estimated_tokens // 3)


async def nearly_spent(pair: Pair) -> int:
    """Open a channel with a small deposit, spend most of it, and return what is left in nano."""
    events = await ask(pair.buyer, turn(max_tokens=MAX_TOKENS, max_spend_nano=400_000 + FEE_NANO))
    assert isinstance(events[-1], ChatDone), events[-1]
    return events[-1].deposit_left_nano


async def test_a_dense_prompt_tops_its_channel_up_by_the_providers_count(pair: Pair) -> None:
    """Prompts in Chinese locked a channel: the estimate was too low, so no top-up came (Augustas11/macprovider#511)."""
    left_nano = await nearly_spent(pair)

    events = await ask(pair.buyer, turn(dense(left_nano), max_tokens=MAX_TOKENS))

    done = events[-1]
    assert isinstance(done, ChatDone), done
    assert cost_nano(done.input_tokens, PRICES.input_nano_per_mtok) > left_nano
    assert done.output_tokens == MAX_TOKENS
    assert any(isinstance(event, ChatStage) and "Topping the channel up" in event.detail for event in events)
    (channel,) = await pair.buyer.channels()
    assert channel.state == "open"


async def test_a_deposit_that_leaves_room_for_a_few_tokens_is_topped_up_before_the_answer_is_cut(pair: Pair) -> None:
    """The prompt was just paid for, and the answer ended after the few tokens that the rest of the deposit bought."""
    left_nano = await nearly_spent(pair)
    tokens = left_nano * 1_000_000 // PRICES.input_nano_per_mtok
    # The template adds some tokens: this leaves room for a short answer, and the estimate for a whole one.
    text = dense(left_nano)[: (tokens - 30) // 3]

    done = (await ask(pair.buyer, turn(text, max_tokens=MAX_TOKENS)))[-1]

    assert isinstance(done, ChatDone), done
    assert left_nano - cost_nano(done.input_tokens, PRICES.input_nano_per_mtok) in range(
        1, cost_nano(MAX_TOKENS, PRICES.output_nano_per_mtok)
    )
    assert (done.output_tokens, done.reason) == (MAX_TOKENS, "length")


async def test_a_limit_below_the_counted_prompt_is_named_with_its_price_and_locks_nothing(pair: Pair) -> None:
    """`spend_limit` was blamed whatever the limit was. Now it is blamed where it is the cause."""
    left_nano = await nearly_spent(pair)
    before = await pair.buyer.channels()

    failed = (await ask(pair.buyer, turn(dense(left_nano), max_tokens=MAX_TOKENS, max_spend_nano=left_nano)))[-1]

    assert isinstance(failed, ChatFailed), failed
    assert failed.code == "spend_limit"
    assert "The prompt alone costs" in failed.message
    assert await pair.buyer.channels() == before


async def test_an_offer_whose_deposit_passes_the_limit_does_not_end_the_search(
    pair: Pair, run_node: RunNode, devnet: DevnetReady
) -> None:
    """The best offer asked for a larger deposit than the limit; the next one, which would have done, was not tried."""
    urls = {"relay": pair.relay.url, "chain": devnet.l2_url}
    costly = {"min_deposit_nano": 10**9, "price_in_nano": 1_000, "price_out_nano": 1_000}
    async with run_node("greedy", **urls, **costly) as greedy:
        await greedy.create_wallet("main", PASSPHRASE)
        await greedy.go_online()
        best, other = await two_offers(pair)
        assert best.min_deposit_nano == 10**9

        done = (await ask(pair.buyer, turn(max_spend_nano=10**8)))[-1]

        assert isinstance(done, ChatDone), done
        assert done.receipt.provider == other.provider
        assert [channel.deposit_nano < 10**8 for channel in await pair.buyer.channels()] == [True]


async def two_offers(pair: Pair) -> tuple[OfferView, ...]:
    """Both offers, best first, once the relay has both."""
    async with asyncio.timeout(PATIENCE_S):
        while len(offers := await pair.buyer.market()) < 2:
            await asyncio.sleep(0.05)
    return offers


async def test_whoever_looks_at_a_channel_meanwhile_hides_no_top_up_from_the_next_session(pair: Pair) -> None:
    """What redeems kept the deposit as it was before the top-up, and the answer was cut after a few tokens."""
    left_nano = await nearly_spent(pair)
    (channel,) = await pair.buyer.channels()

    async with pair.buyer.chat(turn(dense(left_nano), max_tokens=MAX_TOKENS)) as stream:
        async for event in stream:
            if isinstance(event, ChatStage) and "Topping the channel up" in event.detail:
                await pair.seller._chain.channel(channel.channel_id, fresh=True)
            done = event

    assert isinstance(done, ChatDone), done
    assert done.output_tokens == MAX_TOKENS
