"""What `status` and the headline say is so at that moment."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from app.cli.status import first_look, has_looked
from chain.devnet import DevnetReady
from node.provider.health import judge
from node.relay.server import RelayServer
from node.values import ChatDone, ChatMessage, ChatTurn, Phase
from tests.node.conftest import PASSPHRASE, Pair, RunNode
from tests.node.provider.test_health import GOOD
from tests.patience import PATIENCE_S


async def test_a_node_at_rest_is_looked_at_before_it_is_told_of(
    run_node: RunNode, relay: RelayServer, devnet: DevnetReady
) -> None:
    """`status` without a running node told "connecting" and "balance unknown" of all that was well."""
    async with run_node("resting", relay=relay.url, chain=devnet.l2_url) as node:
        await node.create_wallet("main", PASSPHRASE)
        await first_look(node, PATIENCE_S)
        snapshot = node.snapshot()
        assert snapshot.relay.state == "online"
        assert snapshot.chain_reachable
        assert snapshot.wallets[0].balance_nano == 0
        assert snapshot.energy is not None
        assert snapshot.clock is not None


async def test_what_is_out_of_reach_is_not_waited_for(run_node: RunNode) -> None:
    """The look ends as soon as it is known that there is nothing to see."""
    async with run_node("lonely", relay="ws://127.0.0.1:9", chain="http://127.0.0.1:9") as node:
        await first_look(node, PATIENCE_S)
        assert has_looked(node.snapshot())
        assert node.snapshot().relay.error
    async with run_node("nowhere") as node:
        await first_look(node, PATIENCE_S)
        assert has_looked(node.snapshot())


async def test_a_look_that_takes_long_while_nothing_is_told_ends_with_what_is_seen(
    run_node: RunNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy machine `status` ended with a crash report: each look began by waiting for an event, and none came."""
    looks = iter([False] * 4)
    monkeypatch.setattr("app.cli.status.has_looked", lambda _snapshot: next(looks, True))
    async with run_node("quiet") as node:
        await first_look(node, PATIENCE_S)
    assert next(looks, None) is None


@pytest.mark.parametrize(
    ("active", "free", "waiting", "why"),
    [
        (1, 3, 0, "Serving 1 request; 3 of 4 slots free."),
        (1, 4, 0, "1 request being paid for; 4 of 4 slots free."),
        (3, 2, 0, "Serving 2 requests, 1 being paid for; 2 of 4 slots free."),
        (6, 0, 2, "Serving 4 requests, 2 waiting; 0 of 4 slots free."),
        (7, 0, 2, "Serving 4 requests, 2 waiting, 1 being paid for; 0 of 4 slots free."),
    ],
)
def test_the_headline_tells_running_waiting_and_paying_requests_apart(
    active: int, free: int, waiting: int, why: str
) -> None:
    """ "Serving 1 request; 4 of 4 slots free": the slot was free again, the request not yet paid for."""
    facts = msgspec.structs.replace(GOOD, slots=4, active_jobs=active, free_slots=free, waiting=waiting)
    assert judge(facts).why == why


async def test_no_headline_of_a_real_answer_serves_with_every_slot_free(pair: Pair) -> None:
    """The same, through a whole answer."""
    heard: set[str] = set()

    async def listen() -> None:
        async with pair.seller.subscribe() as events:
            async for _ in events:
                snapshot = pair.seller.snapshot()
                if snapshot.phase is Phase.SERVING:
                    heard.add(snapshot.why)

    listening = asyncio.create_task(listen())
    await asyncio.sleep(0)
    turn = ChatTurn(messages=(ChatMessage("user", "hello"),), model="", offer_id="", max_tokens=64)
    async with asyncio.timeout(PATIENCE_S), pair.buyer.chat(turn) as events:
        assert any([isinstance(event, ChatDone) async for event in events])
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    assert heard
    assert not [why for why in heard if why.startswith("Serving") and "2 of 2 slots free" in why]
