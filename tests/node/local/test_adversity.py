"""What goes wrong on the way: cancellations, crashes, lost relays and hostile peers never cost more than they may."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import asynccontextmanager, suppress

import psutil
import pytest

from chain.errors import IdlewattError
from node.buyer.deposit import ChannelNeed
from node.buyer.limits import BuyerLimits
from node.local.limits import NodeLimits
from node.provider.limits import ProviderLimits
from node.relay.circuit import CircuitClosedError, NodeId
from node.relay.server import RelayServer
from node.session import messages as m
from node.session.terms import bill_nano, window_nano
from node.values import (
    ChatDelta,
    ChatDone,
    ChatFailed,
    ChatMessage,
    JobStage,
    Phase,
    Sampling,
    WalletState,
)
from tests.node.conftest import PASSPHRASE, PRICES, Pair
from tests.node.helpers import ask, balances, rejected, turn, until
from tests.patience import PATIENCE_S
from wallet.vouchers import sign_voucher

LONG = {"max_tokens": 400, "sampling": Sampling(temperature=1.5, seed=7, top_k=0, min_p=0.0)}


def provider_jobs(snapshot):
    return [job for job in snapshot.recent_jobs if job.role == "provider"]


async def held_nano(seller) -> int:
    return sum(channel.spent_nano for channel in await seller.channels())


async def signed_nano(buyer) -> int:
    return sum(channel.spent_nano for channel in await buyer.channels())


async def some_of(buyer, stop_after: int, meanwhile, **changes):
    """Ask a long question, and do something once a few deltas came; returns all events."""
    events = []
    deltas = 0
    async with buyer.chat(turn(**(LONG | changes))) as stream:
        async for event in stream:
            events.append(event)
            deltas += isinstance(event, ChatDelta)
            if deltas == stop_after and isinstance(event, ChatDelta):
                await meanwhile()
    return events


async def test_leaving_a_chat_pays_for_what_came_and_nothing_else(pair: Pair):
    deltas = 0
    async with pair.buyer.chat(turn(**LONG)) as stream:
        async for event in stream:
            deltas += isinstance(event, ChatDelta)
            if deltas == 3:
                break
    job = pair.buyer.snapshot().recent_jobs[0]
    assert (job.stage, job.role) == (JobStage.CANCELLED, "buyer")
    assert job.output_tokens < 400
    assert job.amount_nano == bill_nano(PRICES, job.input_tokens, job.output_tokens)
    assert await signed_nano(pair.buyer) == job.amount_nano == await held_nano(pair.seller)


def engine_workers() -> list[psutil.Process]:
    found = []
    for child in psutil.Process().children(recursive=True):
        # A child that has ended says no more how it began.
        with suppress(psutil.NoSuchProcess):
            if "node.engine.worker" in " ".join(child.cmdline()):
                found.append(child)
    return found


async def test_a_crashed_engine_fails_the_request_clearly_and_the_next_one_works(pair: Pair):
    events = []
    # Some hundred tokens take a fast engine no time: on a busy machine an answer may end before its engine does.
    while not (events and isinstance(events[-1], ChatFailed) and any(isinstance(e, ChatDelta) for e in events)):
        await until(pair.seller, lambda snapshot: snapshot.phase is Phase.IDLE)
        signed, held, workers = await signed_nano(pair.buyer), await held_nano(pair.seller), engine_workers()

        async def kill_workers(workers=workers):
            for worker in workers:
                with suppress(psutil.NoSuchProcess):
                    worker.kill()

        events = await some_of(pair.buyer, 1, kill_workers)
    assert events[-1].code == "engine_crashed"
    tokens = [e for e in events if isinstance(e, ChatDelta)][-1].output_tokens
    assert events[-1].cost_nano > 0
    assert events[-1].cost_nano == await signed_nano(pair.buyer) - signed == await held_nano(pair.seller) - held
    assert pair.buyer.snapshot().recent_jobs[0].output_tokens == tokens

    await until(pair.seller, lambda snapshot: snapshot.phase is Phase.IDLE)
    events = await ask(pair.buyer, turn())
    assert isinstance(events[-1], ChatDone), events[-1]


async def test_a_relay_that_restarts_mid_stream_loses_no_money_and_service_returns(pair: Pair):
    port = pair.relay.port

    async def stop_relay():
        await pair.relay.close()

    events = await some_of(pair.buyer, 3, stop_relay)
    cost = events[-1].cost_nano
    if isinstance(events[-1], ChatFailed):
        assert events[-1].message
    assert cost == await signed_nano(pair.buyer)
    async with RelayServer(port=port):
        await until(pair.seller, lambda s: s.phase is Phase.IDLE and s.relay.state == "online", 40)
        await until(pair.buyer, lambda s: s.relay.state == "online", 40)
        events = await ask(pair.buyer, turn())
        assert isinstance(events[-1], ChatDone), events[-1]
        # The voucher that the cut swallowed came along with the next request.
        assert await held_nano(pair.seller) == await signed_nano(pair.buyer) == cost + events[-1].cost_nano


@asynccontextmanager
async def hostile(pair: Pair):
    """A buyer with real money and a real channel, whose messages the test writes itself."""
    buyer = pair.buyer._buyer
    market = await buyer.offer_reader.read(mine=None, fresh=True)
    (offer,) = market.offers.values()
    need = ChannelNeed(
        provider=offer.provider,
        ceiling_nano=1_000_000,
        output_tokens=0,
        least_nano=0,
        min_deposit_nano=offer.min_deposit_nano,
        max_spend_nano=None,
    )

    async def silent(text: str) -> None:
        pass

    async with buyer.channels.reserve(need, silent) as channel:
        link = await buyer.connections.open_link(offer)
        try:
            yield link, offer, channel, buyer
        finally:
            await link.close()


def asking(offer, channel, **changes) -> m.Ask:
    values = {
        "request_id": secrets.token_hex(8),
        "channel_id": channel.channel_id,
        "model_sha256": offer.model_sha256,
        "messages": (ChatMessage("user", "hello"),),
        "max_tokens": 400,
        "prices": offer.prices,
        "max_cost_nano": 5_000_000,
        "sampling": LONG["sampling"],
    }
    return m.Ask(**(values | changes))


async def answers(link):
    """Everything the provider says until it ends the session."""
    said = []
    try:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                said.append(await link.receive())
    except IdlewattError:
        return said


@pytest.mark.parametrize("limits", [NodeLimits(provider=ProviderLimits(payment_timeout_s=0.2))])
async def test_a_buyer_that_never_pays_gets_one_window_and_no_more(pair: Pair):
    async with hostile(pair) as (link, offer, channel, _):
        await link.send(asking(offer, channel))
        said = await answers(link)
    assert isinstance(said[-1], m.Fault)
    assert said[-1].code == "unpaid"
    quote = said[0]
    delivered = sum(message.tokens for message in said if isinstance(message, m.Delta))
    assert 0 < bill_nano(PRICES, quote.input_tokens, delivered) <= window_nano(PRICES, quote.input_tokens, 64)
    assert await held_nano(pair.seller) == 0
    snapshot = await until(pair.seller, lambda s: provider_jobs(s))
    job = provider_jobs(snapshot)[0]
    assert (job.stage, job.error_code, job.amount_nano) == (JobStage.FAILED, "unpaid", 0)
    assert job.exposure_nano <= job.credit_window_nano


async def test_a_buyer_that_dies_after_paying_leaves_a_voucher_that_the_provider_redeems(pair: Pair, devnet):
    (before,) = await balances(devnet.l2_url, pair.seller)
    async with hostile(pair) as (link, offer, channel, buyer):
        await link.send(asking(offer, channel))
        while not isinstance(await link.receive(), m.Delta):
            pass
        voucher = await buyer.channels.sign(channel, 500_000)
        await link.send(m.Pay(voucher=voucher))
        await until(pair.seller, lambda s: any(job.amount_nano for job in s.active_jobs))
    await until(pair.seller, lambda s: provider_jobs(s))
    assert await held_nano(pair.seller) == 500_000
    await pair.seller.go_offline()
    assert await balances(devnet.l2_url, pair.seller) == [before + 500_000]
    assert pair.seller.snapshot().phase is Phase.OFF


@pytest.mark.parametrize(
    ("forge", "code"),
    [
        (lambda channel, domain: sign_voucher(channel.key, domain, channel.channel_id + 1, 1_000), "foreign_voucher"),
        (lambda channel, domain: sign_voucher(channel.key, domain, channel.channel_id, 2**63), "over_deposit"),
    ],
)
async def test_a_voucher_that_is_worth_nothing_ends_the_session(pair: Pair, forge, code):
    async with hostile(pair) as (link, offer, channel, buyer):
        await link.send(asking(offer, channel))
        while not isinstance(await link.receive(), m.Delta):
            pass
        domain = (await buyer._chain.rollup()).domain
        await link.send(m.Pay(voucher=forge(channel, domain)))
        said = await answers(link)
    faults = [message for message in said if isinstance(message, m.Fault)]
    assert [fault.code for fault in faults] == [code]
    assert await held_nano(pair.seller) == 0


async def test_a_channel_that_pays_somebody_else_or_nobody_is_refused(pair: Pair):
    async with hostile(pair) as (link, offer, channel, buyer):
        await link.send(asking(offer, channel, channel_id=4_000_000))
        said = await answers(link)
        assert [message.code for message in said] == ["unknown_channel"]
        # The same channel can't serve two requests at once.
        first, second = await buyer.connections.open_link(offer), await buyer.connections.open_link(offer)
        await first.send(asking(offer, channel))
        assert isinstance(await first.receive(), m.Quote)
        await second.send(asking(offer, channel))
        assert [message.code for message in await answers(second)] == ["channel_busy"]
        await first.close()
    assert (await rejected(pair.seller, "unknown_channel")).count == 1
    assert (await rejected(pair.seller, "channel_busy")).fix


async def babble(circuit, frames):
    for frame in frames:
        await circuit.send(frame)
    while True:
        await circuit.receive()
        await circuit.send(secrets.token_bytes(500))


async def test_garbage_on_the_wire_ends_that_session_only(pair: Pair):
    buyer = pair.buyer._buyer
    market = await buyer.offer_reader.read(mine=None, fresh=True)
    (offer,) = market.offers.values()
    client = await buyer.connections._relay.client()
    for frames in ([b""], [b"\x01" * 33], [secrets.token_bytes(400)], [b"\x02" + bytes(32), b"x"]):
        circuit = await client.connect(NodeId(offer.node_id))
        with pytest.raises(CircuitClosedError):
            await asyncio.wait_for(babble(circuit, frames), PATIENCE_S)
    link = await buyer.connections.open_link(offer)
    await link._circuit.send(link._channel.seal(b"\x00not msgpack at all"))
    said = await answers(link)
    assert [message.code for message in said] == ["protocol"]
    assert isinstance((await ask(pair.buyer, turn()))[-1], ChatDone)


async def test_a_node_with_nothing_says_what_is_missing_and_recovers_by_itself(run_node, relay, devnet):
    port = relay.port
    await relay.close()
    async with run_node("lonely", relay=f"ws://127.0.0.1:{port}", chain=devnet.l2_url) as node:
        snapshot = node.snapshot()
        assert (snapshot.phase, snapshot.wallets[0].state) == (Phase.OFF, WalletState.NONE)
        assert snapshot.fix
        with pytest.raises(IdlewattError) as refused:
            await node.go_online()
        assert refused.value.code == "no_wallet"
        await node.create_wallet("main", PASSPHRASE)
        with pytest.raises(IdlewattError) as refused:
            await node.go_online("no-such-model")
        assert refused.value.code == "unknown_model"
        online = asyncio.create_task(node.go_online())
        snapshot = await until(node, lambda s: s.phase is Phase.DEGRADED)
        assert "relay" in snapshot.why
        async with RelayServer(port=port):
            snapshot = await until(node, lambda s: s.phase is Phase.IDLE, 40)
            await online
            assert snapshot.checklist
            await node.go_offline()


async def test_without_relay_or_chain_every_call_fails_with_its_fix(run_node):
    async with run_node("offline") as node:
        await node.create_wallet("main", PASSPHRASE)
        events = await ask(node, turn())
        assert isinstance(events[-1], ChatFailed)
        assert events[-1].fix
        for call in (node.market(), node.money("main"), node.faucet("main"), node.withdraw("main", None)):
            with pytest.raises(IdlewattError) as refused:
                await call
            assert refused.value.fix
        assert (await node.chain()).reachable is False
        assert await node.channels() == ()


@pytest.mark.parametrize("limits", [NodeLimits(provider=ProviderLimits(drain_s=600.0))])
async def test_who_has_asked_nothing_does_not_hold_up_going_offline(pair: Pair):
    async with hostile(pair) as (link, offer, _channel, buyer):
        client = await buyer.connections._relay.client()
        silent = await client.connect(NodeId(offer.node_id), timeout_s=10)
        await until(pair.seller, lambda _: pair.seller._provider.sessions.handshakes == 1)
        async with asyncio.timeout(PATIENCE_S):
            await pair.seller.go_offline()
            (refused,) = await answers(link)
        assert refused.code == "provider_stopping"
        await silent.close()


@pytest.mark.parametrize("limits", [NodeLimits(provider=ProviderLimits(last_redeem_s=0.0))])
async def test_a_chain_that_never_answers_does_not_hold_up_going_offline(pair: Pair):
    done = (await ask(pair.buyer, turn()))[-1]
    assert isinstance(done, ChatDone), done
    await pair.seller.go_offline()
    (channel,) = await pair.seller.channels()
    assert (channel.spent_nano, channel.redeemed_nano) == (done.cost_nano, 0)
    await pair.seller.redeem(channel.channel_id)
    (channel,) = await pair.seller.channels()
    assert channel.redeemed_nano == done.cost_nano


async def test_both_sides_go_on_after_a_restart(run_node, relay, devnet):
    urls = {"relay": relay.url, "chain": devnet.l2_url}
    async with run_node("seller", **urls) as seller:
        await seller.create_wallet("main", PASSPHRASE)
        await seller.go_online()
        async with run_node("buyer", **urls) as buyer:
            await buyer.create_wallet("main", PASSPHRASE)
            await buyer.faucet("main")
            first = (await ask(buyer, turn()))[-1]
            assert isinstance(first, ChatDone), first
        async with run_node("buyer", **urls) as buyer:
            assert buyer.snapshot().wallets[0].state is WalletState.LOCKED
            # The channel's hot key is on disk: a locked wallet still spends what it has put there.
            second = (await ask(buyer, turn("again")))[-1]
            assert isinstance(second, ChatDone), second
            assert second.receipt.channel_id == first.receipt.channel_id
            assert second.receipt.sequence == first.receipt.sequence + 1
            assert [job.receipt is not None for job in buyer.snapshot().recent_jobs] == [True, True]
    async with run_node("seller", **urls) as seller:
        await seller.unlock("main", PASSPHRASE)
        await until(seller, lambda s: s.chain_reachable)
        (channel,) = await seller.channels()
        paid = first.cost_nano + second.cost_nano
        assert (channel.spent_nano, channel.redeemed_nano) == (paid, paid)


@pytest.mark.parametrize("limits", [NodeLimits(buyer=BuyerLimits(settle_pauses_s=(0.0, 0.0)))])
async def test_a_voucher_that_a_broken_session_swallowed_is_handed_in_later(pair: Pair):
    async with hostile(pair) as (link, offer, channel, buyer):
        await link.close()
        await buyer.channels.sign(channel, 700_000)
        record = await buyer.channels._store.buyer_channel(channel.channel_id)
        assert await held_nano(pair.seller) == 0
        buyer.settlement.settle_later(offer, record)
        await asyncio.gather(*buyer.settlement._settling)
    assert await held_nano(pair.seller) == 700_000
    # With the provider gone it gives up quietly: the next request carries the voucher.
    await pair.seller.go_offline()
    buyer.settlement.settle_later(offer, record)
    await asyncio.gather(*buyer.settlement._settling)


async def test_a_locked_wallet_still_redeems_what_it_earned(pair: Pair, devnet):
    (before,) = await balances(devnet.l2_url, pair.seller)
    done = (await ask(pair.buyer, turn()))[-1]
    pair.seller._wallet.forget()
    assert pair.seller.snapshot().wallets[0].state is WalletState.LOCKED
    assert await pair.seller.redeem(done.receipt.channel_id)
    assert await balances(devnet.l2_url, pair.seller) == [before + done.cost_nano]
    with pytest.raises(IdlewattError) as refused:
        await pair.seller.redeem(done.receipt.channel_id)
    assert refused.value.code == "nothing_to_redeem"
    # A provider that can't sign receipts is not rentable, and says why.
    await until(pair.seller, lambda s: s.phase is Phase.DEGRADED)
    assert "locked" in pair.seller.snapshot().why


async def test_a_disk_that_refuses_a_voucher_ends_the_request_without_signing_more(pair: Pair, monkeypatch):
    async def refuse(*args, **kwargs):
        raise IdlewattError("The disk is full.", code="disk_full", fix="Free some space.")

    monkeypatch.setattr(pair.buyer._store, "raise_signed", refuse)
    events = await ask(pair.buyer, turn())
    assert isinstance(events[-1], ChatFailed)
    assert (events[-1].code, events[-1].fix) == ("disk_full", "Free some space.")
    assert await signed_nano(pair.buyer) == 0 == await held_nano(pair.seller)
