"""Channels over their whole life with a real chain: topped up, closed alone, recovered, emptied to L1."""

from __future__ import annotations

import asyncio
import shutil

import pytest

from chain.client import RollupClient
from chain.devnet import Devnet, DevnetConfig, DevnetReady
from chain.errors import IdlewattError
from chain.sequencer import SequencerConfig
from node.buyer.limits import BuyerLimits
from node.local.limits import NodeLimits
from node.provider.limits import ProviderLimits
from node.values import ChannelSummary, ChatDone, ChatStage, Inclusion, WalletState
from tests.node.conftest import PASSPHRASE, Pair
from tests.node.helpers import FEE_NANO, ask, balances, later, turn, until
from tests.patience import PATIENCE_S

QUICK = NodeLimits(buyer=BuyerLimits(reconcile_s=0.2), provider=ProviderLimits(watch_s=0.2))
"""Limits of nodes that soon see what becomes of a channel."""


async def one_answer(pair: Pair, **changes) -> ChatDone:
    events = await ask(pair.buyer, turn(**changes))
    assert isinstance(events[-1], ChatDone), events[-1]
    return events[-1]


async def test_a_channel_that_runs_dry_is_topped_up_within_the_limit(pair: Pair):
    # The limit keeps the first deposit small, so that the second question needs more.
    first = await one_answer(pair, max_spend_nano=180_000)
    (channel,) = await pair.buyer.channels()
    assert channel.deposit_nano == 180_000 - FEE_NANO
    events = await ask(pair.buyer, turn(max_tokens=400))
    assert isinstance(events[-1], ChatDone), events[-1]
    assert "Topping" in next(e.detail for e in events if isinstance(e, ChatStage) and e.stage == "opening_channel")
    (channel,) = await pair.buyer.channels()
    assert channel.deposit_nano > 180_000
    assert channel.spent_nano == first.cost_nano + events[-1].cost_nano


@pytest.mark.parametrize("limits", [QUICK])
async def test_a_buyer_closes_alone_and_the_provider_still_gets_what_it_earned(pair: Pair, devnet):
    buyer_before, seller_before = await balances(devnet.l2_url, pair.buyer, pair.seller)
    done = await one_answer(pair)
    assert await pair.buyer.close_channel(done.receipt.channel_id, alone=True)
    with pytest.raises(IdlewattError):
        await pair.buyer.close_channel(done.receipt.channel_id, alone=True)

    # Redeemed while the buyer's delay runs; a slow machine has as long for it as it needs.
    await until_redeemed(pair, done.cost_nano)
    channel = await closed(pair, devnet)
    assert (channel.spent_nano, channel.redeemed_nano) == (done.cost_nano, done.cost_nano)
    buyer_after, seller_after = await balances(devnet.l2_url, pair.buyer, pair.seller)
    assert seller_after - seller_before == done.cost_nano
    assert buyer_before - buyer_after == done.cost_nano + FEE_NANO


async def until_redeemed(pair: Pair, amount_nano: int) -> None:
    async with asyncio.timeout(PATIENCE_S), pair.seller.subscribe() as events:
        while (await pair.seller.channels())[0].redeemed_nano < amount_nano:
            await anext(events)


async def closed(pair: Pair, devnet: DevnetReady) -> ChannelSummary:
    """The buyer's only channel, once the delay of its close is over."""
    async with RollupClient(devnet.l2_url) as client:
        # On L1 before the clock moves: a batch that is posted too late is executed again, and the delay begins anew.
        await client.flush()
        await later(devnet.l1_url, (await client.info()).params.close_delay_s + 1)
    async with asyncio.timeout(PATIENCE_S):
        async with pair.buyer.subscribe() as events:
            while (channel := (await pair.buyer.channels())[0]).state != "closed":
                await anext(events)
    return channel


@pytest.mark.parametrize("limits", [QUICK])
async def test_a_channel_that_its_payer_closed_alone_shows_what_was_redeemed_and_not_what_was_signed(
    pair: Pair, devnet, monkeypatch
):
    async def forget(*_args) -> None:
        """As a seller that never comes back."""

    monkeypatch.setattr("node.provider.earnings.Earnings._redeem", forget)
    before = await balances(devnet.l2_url, pair.buyer, pair.seller)
    done = await one_answer(pair)
    await pair.buyer.close_channel(done.receipt.channel_id, alone=True)
    channel = await closed(pair, devnet)
    assert (channel.spent_nano, channel.redeemed_nano) == (done.cost_nano, 0)
    assert await balances(devnet.l2_url, pair.buyer, pair.seller) == [before[0] - FEE_NANO, before[1]]


async def test_a_provider_closes_a_channel_by_itself(pair: Pair, devnet):
    (before,) = await balances(devnet.l2_url, pair.seller)
    done = await one_answer(pair)
    assert await pair.seller.close_channel(done.receipt.channel_id)
    assert await balances(devnet.l2_url, pair.seller) == [before + done.cost_nano]
    # The buyer's next question finds the channel gone, and opens another.
    again = await one_answer(pair)
    assert again.receipt.channel_id != done.receipt.channel_id
    ended = next(c for c in await pair.buyer.channels() if c.channel_id == done.receipt.channel_id)
    assert ended.redeemed_nano == done.cost_nano


async def test_closing_together_needs_the_provider_and_says_so(pair: Pair):
    done = await one_answer(pair)
    await pair.seller.go_offline()
    with pytest.raises(IdlewattError) as refused:
        await pair.buyer.close_channel(done.receipt.channel_id)
    assert refused.value.code == "peer_away"
    assert "alone" in refused.value.fix
    for call in (pair.buyer.close_channel(999_999), pair.buyer.redeem(999_999)):
        with pytest.raises(IdlewattError) as refused:
            await call
        assert refused.value.code == "bad_channel"


async def test_a_restored_wallet_finds_its_channels_and_goes_on_where_it_was(pair: Pair, run_node, relay, devnet):
    done = await one_answer(pair)
    secret = await pair.buyer.export_wallet("main", "private_key", PASSPHRASE)
    async with run_node("restored", relay=relay.url, chain=devnet.l2_url) as restored:
        await restored.import_wallet("main", "private_key", secret, PASSPHRASE)
        async with asyncio.timeout(PATIENCE_S):
            async with restored.subscribe() as events:
                while not await restored.channels():
                    await anext(events)
        (channel,) = await restored.channels()
        assert channel.channel_id == done.receipt.channel_id
        # It forgot what it signed; the provider shows its own signature, and only that is believed.
        again = (await ask(restored, turn("again")))[-1]
        assert isinstance(again, ChatDone), again
        assert again.receipt.channel_id == done.receipt.channel_id
        (channel,) = await restored.channels()
        assert channel.spent_nano == done.cost_nano + again.cost_nano


async def test_everything_goes_to_l1_and_the_money_view_adds_up(pair: Pair, devnet):
    done = await one_answer(pair)
    money = await pair.buyer.money("main")
    assert money.total_nano == sum(line.amount_nano for line in money.lines)
    assert {line.place for line in money.lines} >= {"wallet", "channel", "l1"}
    l2_tx = await pair.seller.withdraw("main", None)
    async with RollupClient(devnet.l2_url) as client:
        status = await client.wait_for(l2_tx, Inclusion.BATCHED, timeout_s=PATIENCE_S)
        assert status.batch_id is not None
    money = await pair.seller.money("main")
    places = {line.place: line.amount_nano for line in money.lines}
    assert places.get("withdrawing", 0) + places.get("l1", 0) == done.cost_nano - FEE_NANO
    chain = await pair.seller.chain()
    assert chain.reachable
    assert chain.batches


async def test_wallet_calls_check_the_wallet_and_the_passphrase(pair: Pair):
    node = pair.buyer
    for call, code in (
        (node.unlock("other", PASSPHRASE), "no_wallet"),
        (node.unlock("main", "wrong"), "wrong_passphrase"),
        (node.create_wallet("main", PASSPHRASE), "wallet_exists"),
        (node.export_wallet("main", "v3", "wrong"), "wrong_passphrase"),
    ):
        with pytest.raises(IdlewattError) as refused:
            await call
        assert refused.value.code == code
    assert '"crypto"' in (await node.export_wallet("main", "v3", PASSPHRASE)).lower()
    assert not node.snapshot().wallets[0].backed_up
    await node.confirm_backup("main")
    wallet = node.snapshot().wallets[0]
    assert wallet.backed_up
    assert wallet.state is WalletState.UNLOCKED


async def test_a_chain_that_was_reset_is_told_and_its_channels_are_kept_apart(pair: Pair, tmp_path, run_node):
    done = await one_answer(pair)
    copied = tmp_path / "moved"
    shutil.copytree(tmp_path / "buyer", copied)
    async with (
        Devnet(tmp_path / "other-net", config=DevnetConfig(sequencer=SequencerConfig(poll_s=0.1))) as other,
        run_node("moved", chain=other.ready.l2_url) as node,
    ):
        await until(node, lambda s: s.chain_reachable)
        (channel,) = await node.channels()
        assert (channel.state, channel.channel_id) == ("foreign", done.receipt.channel_id)
        checks = {item.name: item for item in node.snapshot().checklist}
        assert "reset" in checks["chain"].detail
