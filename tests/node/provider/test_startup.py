"""Going offline while a model still loads: nobody waits for what is not wanted any more."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator

import pytest

from chain.errors import IdlewattError
from node.local.node import LocalNode
from node.values import ChatDone, Phase
from tests.node.conftest import PASSPHRASE, Pair
from tests.node.engine.upstream.hostile import MODEL, Upstream, listing, refusing, upstream
from tests.node.helpers import ask, turn, until
from tests.patience import PATIENCE_S


@pytest.fixture
async def waiting(run_node, relay, devnet) -> AsyncIterator[tuple[LocalNode, Upstream]]:
    """A node with a wallet, and a server that still loads its model and says to come back in an hour."""
    async with (
        upstream() as server,
        run_node("seller", relay=relay.url, chain=devnet.l2_url, upstream=server.url, model=MODEL) as seller,
    ):
        server.models = refusing(503, "Loading model", **{"Retry-After": "3600"})
        await seller.create_wallet("main", PASSPHRASE)
        yield seller, server


async def refusal(going: asyncio.Task[None]) -> IdlewattError:
    with pytest.raises(IdlewattError) as refused:
        async with asyncio.timeout(PATIENCE_S):
            await going
    return refused.value


async def test_a_server_that_still_loads_is_given_up_at_once_when_the_node_goes_offline(waiting):
    seller, server = waiting
    going = asyncio.create_task(seller.go_online())
    also = asyncio.create_task(seller.go_online("another"))
    await until(seller, lambda snapshot: "It is waited for." in snapshot.why)
    async with asyncio.timeout(PATIENCE_S):
        await seller.go_offline()
    for start in (going, also):
        error = await refusal(start)
        assert (error.code, bool(error.fix)) == ("cancelled", True)
    assert seller.snapshot().phase is Phase.OFF
    server.models = listing(MODEL)
    await seller.go_online()
    assert seller.snapshot().phase is Phase.IDLE


async def test_a_model_that_comes_back_from_a_pause_is_given_up_at_once_too(waiting):
    seller, server = waiting
    server.models = listing(MODEL)
    await seller.go_online()
    provider = seller._provider
    await provider.pause("Somebody is here.")
    server.models = refusing(503, "Loading model", **{"Retry-After": "3600"})
    resuming = asyncio.create_task(provider.resume())
    await until(seller, lambda snapshot: "It is waited for." in snapshot.why)
    async with asyncio.timeout(PATIENCE_S):
        await seller.go_offline()
        await resuming
    assert (seller.snapshot().phase, provider.engine_state) == (Phase.OFF, "none")


async def test_a_worker_that_hangs_while_it_loads_is_ended_at_once(pair: Pair):
    provider = pair.seller._provider
    await pair.seller.go_offline()
    going = asyncio.create_task(pair.seller.go_online())
    async with asyncio.timeout(PATIENCE_S):
        while provider._engine is None or provider._engine.worker_pid is None:
            await asyncio.sleep(0.001)
        pid = provider._engine.worker_pid
        os.kill(pid, signal.SIGSTOP)
        await pair.seller.go_offline()
    assert (await refusal(going)).code == "cancelled"
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    await pair.seller.go_online()
    assert isinstance((await ask(pair.buyer, turn()))[-1], ChatDone)


async def test_who_waits_for_the_start_may_be_cancelled_and_nothing_stays_behind(waiting):
    seller, server = waiting
    relay = seller._provider.relay
    going = asyncio.create_task(seller.go_online())
    await until(seller, lambda snapshot: "It is waited for." in snapshot.why)
    going.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await going
    assert going.cancelled()
    assert seller.snapshot().phase is Phase.OFF
    server.models = listing(MODEL)
    await seller.go_online()
    assert relay.is_online
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "provider"][1:]


async def test_a_start_that_is_given_up_while_its_offer_waits_leaves_the_relay(run_node, relay, devnet, monkeypatch):
    async with run_node("seller", relay=relay.url, chain=devnet.l2_url) as seller:
        await seller.create_wallet("main", PASSPHRASE)
        provider = seller._provider
        monkeypatch.setattr(provider.offers, "_terms", lambda: None)  # so that the first offer never comes
        going = asyncio.create_task(seller.go_online())
        await until(seller, lambda _: provider.relay.is_online)
        await seller.go_offline()
        assert (await refusal(going)).code == "cancelled"
        assert (provider.relay.is_online, provider.engine_state) == (False, "none")
