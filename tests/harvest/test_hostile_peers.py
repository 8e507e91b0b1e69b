"""Peers that gain from what a protocol leaves open: by drawing things out, and by work that nobody pays."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from node.buyer.limits import BuyerLimits
from node.local.limits import NodeLimits
from node.values import ChatFailed
from tests.node.conftest import PASSPHRASE
from tests.node.engine.upstream.hostile import MODEL, refusing, upstream
from tests.node.helpers import ask, turn
from tests.patience import PATIENCE_S

DRAWN_OUT_S = 1.5


@pytest.mark.parametrize("limits", [NodeLimits(buyer=BuyerLimits(busy_wait_s=2.5))])
async def test_a_busy_provider_that_draws_its_answers_out_is_not_asked_for_ever(run_node, relay, devnet) -> None:
    """Only the named pauses counted: a provider that said "busy, 1 s" after half a minute was asked sixty times."""
    calls = 0

    async def chat(request: web.Request, body: dict[str, object]) -> web.StreamResponse:
        nonlocal calls
        calls += 1
        await asyncio.sleep(DRAWN_OUT_S)
        return await refusing(429, **{"Retry-After": "1"})(request, body)

    urls = {"relay": relay.url, "chain": devnet.l2_url}
    async with (
        upstream() as server,
        run_node("seller", **urls, upstream=server.url, model=MODEL) as seller,
        run_node("buyer", **urls) as buyer,
    ):
        await seller.create_wallet("main", PASSPHRASE)
        await buyer.create_wallet("main", PASSPHRASE)
        await asyncio.gather(seller.go_online(), buyer.faucet("main"))
        server.chat = chat
        async with asyncio.timeout(PATIENCE_S):
            failed = (await ask(buyer, turn()))[-1]
    assert isinstance(failed, ChatFailed)
    assert (failed.code, failed.cost_nano, calls) == ("engine_busy", 0, 2)
