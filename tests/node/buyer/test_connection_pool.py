"""A chat dials once: its connections to providers stay open between questions, and their end is noticed by nobody."""

from __future__ import annotations

import asyncio

import pytest

from node.buyer import connection_pool
from node.buyer.limits import BuyerLimits
from node.local.limits import NodeLimits
from node.provider import session_manager
from node.provider.limits import ProviderLimits
from node.session.terms import bill_nano
from node.values import ChatDone, Phase, Prices
from tests.node.conftest import PASSPHRASE, PRICES, Pair
from tests.node.helpers import ask, turn, until
from tests.patience import PATIENCE_S


@pytest.fixture
def dialled(monkeypatch) -> list[bytes]:
    """The node each new connection goes to, in order."""
    to: list[bytes] = []
    connect = connection_pool.ConnectionPool.open_link

    async def noted(self, offer):
        to.append(offer.node_id)
        return await connect(self, offer)

    monkeypatch.setattr(connection_pool.ConnectionPool, "open_link", noted)
    return to


async def answered(buyer, text: str = "What is 2 + 2?") -> ChatDone:
    done = (await ask(buyer, turn(text)))[-1]
    assert isinstance(done, ChatDone), done
    return done


async def settled(pair: Pair, *answers: ChatDone) -> None:
    """Both sides hold exactly what the answers cost."""
    for node in (pair.seller, pair.buyer):
        assert sum(channel.spent_nano for channel in await node.channels()) == sum(one.cost_nano for one in answers)
    assert [one.receipt.sequence for one in answers] == list(range(len(answers)))


def open_sessions(pair: Pair):
    return pair.seller._provider.sessions._idle


async def test_the_next_question_needs_no_new_line(pair: Pair, dialled):
    answers = [await answered(pair.buyer, f"What is {number} + 1?") for number in range(3)]
    assert len(dialled) == 1
    await settled(pair, *answers)
    await until(pair.seller, lambda snapshot: len([job for job in snapshot.recent_jobs if job.role == "provider"]) == 3)


async def test_two_questions_at_once_go_out_on_two_lines_and_both_are_kept(pair: Pair, dialled):
    both = await asyncio.gather(answered(pair.buyer, "one"), answered(pair.buyer, "two"))
    await asyncio.gather(answered(pair.buyer, "three"), answered(pair.buyer, "four"))
    assert len(dialled) == 2
    assert {one.receipt.channel_id for one in both} == {channel.channel_id for channel in await pair.buyer.channels()}


async def test_a_line_that_the_provider_let_go_is_dialled_again_unseen(pair: Pair, dialled, monkeypatch):
    first = await answered(pair.buyer)
    (kept,) = pair.buyer._buyer.connections._kept
    # The ask crosses the goodbye: the connection still looks good when it is sent.
    monkeypatch.setattr(type(kept.mailbox), "is_empty", property(lambda mailbox: not mailbox._messages))
    for one in open_sessions(pair):
        one.close_soon(session_manager.MAKING_ROOM)
    await until(pair.seller, lambda _: not open_sessions(pair))
    second = await answered(pair.buyer)
    assert len(dialled) == 2
    await settled(pair, first, second)


async def test_a_provider_that_went_away_and_came_back_is_found_again(pair: Pair, dialled):
    first = await answered(pair.buyer)
    await pair.seller.go_offline()
    assert not open_sessions(pair)
    await pair.seller.go_online()
    await until(pair.seller, lambda snapshot: snapshot.phase is Phase.IDLE and snapshot.relay.state == "online")
    await pair.buyer.market()
    second = await answered(pair.buyer)
    assert len(dialled) == 2
    await settled(pair, first, second)


@pytest.mark.parametrize("limits", [NodeLimits(provider=ProviderLimits(idle_s=0.05))])
async def test_a_line_on_which_nobody_asks_is_ended_by_the_provider(pair: Pair):
    await answered(pair.buyer)
    await until(pair.seller, lambda _: not open_sessions(pair))


@pytest.mark.parametrize("limits", [NodeLimits(buyer=BuyerLimits(kept_s=0.05))])
async def test_a_line_on_which_nobody_asks_is_ended_by_the_buyer(pair: Pair):
    await answered(pair.buyer)
    await until(pair.buyer, lambda _: not pair.buyer._buyer.connections._kept)
    await until(pair.seller, lambda _: not open_sessions(pair))


async def test_prices_are_those_of_the_moment_a_question_is_asked(pair: Pair, dialled):
    cheap = await answered(pair.buyer)
    dear = Prices(input_nano_per_mtok=3_000_000_000, output_nano_per_mtok=6_000_000_000)
    pair.seller._provider.prices = dear
    pair.seller._provider.offers.look_again()
    async with asyncio.timeout(PATIENCE_S):
        while [one.prices for one in await pair.buyer.market()] != [dear]:
            await asyncio.sleep(0.02)
    second = await answered(pair.buyer)
    assert len(dialled) == 1
    for one, prices in ((cheap, PRICES), (second, dear)):
        assert one.cost_nano == bill_nano(prices, one.input_tokens, one.output_tokens)


@pytest.mark.parametrize("limits", [NodeLimits(provider=ProviderLimits(max_sessions=session_manager.ROOM))])
async def test_buyers_that_ask_nothing_make_room_for_one_who_does(pair: Pair, run_node, devnet):
    await answered(pair.buyer)
    (standing,) = open_sessions(pair)
    async with run_node("other", relay=pair.relay.url, chain=devnet.l2_url) as other:
        await other.create_wallet("main", PASSPHRASE)
        await other.faucet("main")
        await answered(other)
        await until(pair.seller, lambda _: standing not in open_sessions(pair) and len(open_sessions(pair)) == 1)
    await answered(pair.buyer)


async def test_a_buyer_that_ends_hangs_up(pair: Pair, run_node, devnet):
    async with run_node("other", relay=pair.relay.url, chain=devnet.l2_url) as other:
        await other.create_wallet("main", PASSPHRASE)
        await other.faucet("main")
        await answered(other)
        assert len(open_sessions(pair)) == 1
    await until(pair.seller, lambda _: not open_sessions(pair))
    assert not pair.seller.snapshot().rejections
