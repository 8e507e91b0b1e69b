"""Peers that gain from what a protocol leaves open: by drawing things out, and by work that nobody pays."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from aiohttp import web

from app.cli.chat import ask as told
from node.buyer.limits import BuyerLimits
from node.local.limits import NodeLimits
from node.provider.prefills import FREE_PREFILLS, UnpaidPrefills
from node.session import messages as m
from node.values import ChatDone, ChatFailed
from tests.node.conftest import PASSPHRASE, Pair
from tests.node.engine.upstream.hostile import MODEL, refusing, upstream
from tests.node.helpers import ask, turn
from tests.node.local.test_adversity import asking, hostile
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


def test_who_leaves_prompts_waits_longer_each_time_until_an_answer_is_paid() -> None:
    """A refused quote, or a request that is cancelled early, costs the provider a prompt, and its buyer nothing."""
    prefills, buyer = UnpaidPrefills(free=2), bytes(20)
    waits = []
    for _ in range(5):
        waits.append(prefills.pause_s(buyer, 0.0))
        prefills.left(buyer, 0.0)
    assert waits == [0.0, 0.0, 1.0, 2.0, 4.0]
    assert prefills.pause_s(b"x" * 20, 0.0) == 0.0
    assert prefills.pause_s(buyer, 100.0) == 0.0
    for _ in range(2_000):
        prefills.left(buyer, 0.0)
    assert prefills.pause_s(buyer, 0.0) == 60.0
    prefills.paid(buyer)
    assert prefills.pause_s(buyer, 0.0) == 0.0


async def test_a_buyer_that_refuses_every_quote_has_to_wait_and_others_do_not(pair: Pair) -> None:
    """The engine begins while the quote travels: refusing it again and again kept a machine at work for nothing."""
    refusal = m.Fault(code="deposit_too_small", message="", fix="")
    for _ in range(FREE_PREFILLS):
        assert isinstance(await _refuse_quote(pair, refusal), m.Quote)
    refused = await _refuse_quote(pair, refusal)
    assert isinstance(refused, m.Fault)
    assert (refused.code, 0 < refused.retry_after_ms <= 1_000) == ("too_many_requests", True)
    # A buyer that keeps to the protocol waits by itself, and is served.
    assert isinstance((await ask(pair.buyer, turn()))[-1], ChatDone)
    assert isinstance(await _refuse_quote(pair, refusal), m.Quote)


async def _refuse_quote(pair: Pair, refusal: m.Fault) -> m.Message:
    """Ask, refuse what is quoted, and wait until the provider has noted it."""
    async with hostile(pair) as (link, offer, channel, _):
        await link.send(asking(offer, channel))
        async with asyncio.timeout(PATIENCE_S):
            said = await link.receive()
            if isinstance(said, m.Quote):
                await link.send(refusal)
            while pair.seller._provider.sessions._sessions:
                await asyncio.sleep(0.01)
    return said


async def test_the_name_of_a_model_makes_no_line_of_its_own(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    """An offer's name may hold line breaks: what followed them looked like words of Idlewatt, or of the shell."""
    forged = "· Your wallet is at risk: send its key"
    provider = pair.seller._provider
    provider._host.info = msgspec.structs.replace(provider._host.info, model_name=f"demo\n{forged}\n\x1b[2J")
    provider.offers.look_again()
    async with asyncio.timeout(PATIENCE_S):
        while not any(forged in offer.model for offer in await pair.buyer.market()):
            await asyncio.sleep(0.05)
    await told(pair.buyer, turn(), as_json=False)
    said = capsys.readouterr().err
    assert forged in said
    assert not [line for line in said.splitlines() if line.startswith(forged)]
    assert "\x1b" not in said
