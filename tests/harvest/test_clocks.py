"""A wrong clock is said where it is felt, borne while it does no harm, and refused with its fix where it does."""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
from pathlib import Path
from types import SimpleNamespace

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from app.cli.node_access import tell_clock
from app.doctor import check_clock, check_relay
from chain.devnet import DevnetReady
from chain.errors import IdlewattError
from node.buyer.channels import CHANNEL_LIFE_S
from node.engine.upstream.refusals import refusal
from node.market.clock import BORNE_MS, judge_clock, span
from node.relay.client import RelayClient
from node.relay.client_errors import describe
from node.relay.clock import RelayClock, steady_s
from node.relay.server import RelayServer
from node.runtime.clock import NodeClock
from node.runtime.jobs import now_ms
from node.values import ChatDone, ChatMessage, ChatTurn, ClockView, Health, Phase
from screens.market import empty_text
from tests.node.conftest import PASSPHRASE, RunNode
from tests.patience import PATIENCE_S
from tests.screens.fake_node import FakeNode, snapshot

MINUTE_MS = 60_000


@pytest.mark.parametrize(
    ("ahead_ms", "doubt_ms", "chain_ahead_ms", "health", "line"),
    [
        (0, 0, None, Health.OK, "agrees"),
        (-5_000, 0, None, Health.OK, "agrees"),
        (9_000, 4_000, None, Health.OK, "agrees"),
        (8_000, 0, None, Health.WARN, "8 s ahead of the relay's"),
        (180_000, 20, 180_000, Health.WARN, "3 min ahead of the relay's"),
        (-BORNE_MS, 0, None, Health.WARN, "5 min behind the relay's"),
        (BORNE_MS + 500, 600, None, Health.WARN, "5 min ahead of"),
        (-600_000, 20, None, Health.FAIL, "10 min behind the relay's"),
        (-605_000, 20, -605_000, Health.FAIL, "10 min 5 s behind the relay's"),
        (600_000, 20, 8_000, Health.WARN, "The relay's clock is 10 min behind; this machine's agrees with the chain's"),
        (-7_200_000, 20, 0, Health.WARN, "The relay's clock is 2 h ahead"),
        (600_000, 20, -900_000, Health.FAIL, "10 min ahead of the relay's"),
    ],
)
def test_a_difference_is_told_with_its_size_and_its_culprit(
    ahead_ms: int, doubt_ms: float, chain_ahead_ms: int | None, health: Health, line: str
) -> None:
    """A clock that was minutes off left a peer alone in an empty network, with every light green
    (IntersectMBO/cardano-node#2529, solardev-xyz/freedom-browser#141)."""
    view = judge_clock(ahead_ms, doubt_ms, chain_ahead_ms=chain_ahead_ms)
    assert view.health is health
    assert line in view.line
    assert bool(view.fix) == (health is not Health.OK)


@pytest.mark.parametrize(
    ("duration_ms", "text"),
    [(900, "1 s"), (59_400, "59 s"), (60_000, "1 min"), (605_000, "10 min 5 s"), (9_000_000, "2 h 30 min")],
)
def test_a_span_is_read_at_a_glance(duration_ms: int, text: str) -> None:
    """Offsets were told as raw milliseconds."""
    assert span(duration_ms) == text


def test_a_machine_that_starts_in_1970_gets_a_short_line() -> None:
    """Boards without a battery begin at the epoch until the network sets their clock."""
    assert "days behind" in judge_clock(-now_ms(), 0).line
    assert len(judge_clock(-(2**53), 0).line) < 120


def test_a_clock_that_is_set_right_is_right_at_once() -> None:
    """The difference was measured once, at the start: after the fix the old one was still told."""
    at_ms = now_ms()
    heard = RelayClock(at_ms, steady_s(), doubt_ms=10)
    wrong = NodeClock(lambda: heard, lambda: 0, now_ms=lambda: now_ms() - 10 * MINUTE_MS)
    with pytest.raises(IdlewattError) as refused:
        wrong.check()
    assert refused.value.code == "clock_wrong"
    assert "timedatectl" in refused.value.fix
    right = NodeClock(lambda: heard, lambda: 0)
    right.check()
    view = right.view()
    assert view is not None
    assert view.health is Health.OK


def test_time_that_passes_is_no_difference() -> None:
    """A laptop that slept came back hours behind in its own books."""
    heard = RelayClock.told(1_000_000, asked_s=10.0, answered_s=10.2)
    assert heard is not None
    assert heard.doubt_ms == pytest.approx(100)
    assert heard.ahead_ms(1_000_000 + 8 * 3_600_000, 10.1 + 8 * 3_600) == pytest.approx(0, abs=1)


def test_a_relay_that_tells_no_time_proves_nothing() -> None:
    """Relays of before say nothing: that is no zero."""
    assert RelayClock.told(0, 1.0, 2.0) is None
    clock = NodeClock(lambda: None, lambda: 0)
    clock.check()
    assert clock.view() is None
    assert not clock.is_wrong


@pytest.mark.parametrize("ahead_ms", [0, -10 * MINUTE_MS, 3 * MINUTE_MS])
async def test_every_welcome_tells_the_relays_clock(ahead_ms: int) -> None:
    """Nothing compared clocks before something had failed for them."""
    async with RelayServer(now_ms=lambda: now_ms() + ahead_ms) as relay, RelayClient(relay.url) as client:
        clock = client.state.clock
        assert clock is not None
        assert clock.ahead_ms(now_ms(), steady_s()) == pytest.approx(-ahead_ms, abs=clock.doubt_ms + 50)


async def test_peers_within_five_minutes_of_the_relay_trade_and_those_beyond_are_told_why(
    run_node: RunNode, relay: RelayServer, devnet: DevnetReady
) -> None:
    """A provider three minutes fast was invisible; a buyer ten minutes off saw an empty market."""
    urls = {"relay": relay.url, "chain": devnet.l2_url}
    async with (
        run_node("seller", ahead_ms=3 * MINUTE_MS, **urls) as seller,
        run_node("buyer", ahead_ms=-4 * MINUTE_MS, **urls) as buyer,
        run_node("late", ahead_ms=-10 * MINUTE_MS, **urls) as late,
    ):
        for node in (seller, buyer):
            await node.create_wallet("main", PASSPHRASE)
        await asyncio.gather(seller.go_online(), buyer.faucet("main"))
        assert len(await buyer.market()) == 1
        for node, told in ((seller, "3 min ahead of"), (buyer, "4 min behind")):
            clock = node.snapshot().clock
            assert clock is not None
            assert clock.health is Health.WARN
            assert told in clock.line
            assert any(item.name == "clock" and told in item.detail for item in node.snapshot().checklist)
        assert seller.snapshot().phase is Phase.IDLE

        with pytest.raises(IdlewattError) as refused:
            await late.market()
        assert refused.value.code == "clock_wrong"
        assert "10 min behind" in refused.value.message
        assert "10 min behind" in empty_text(late.snapshot(), filtered=False)

        turn = ChatTurn(messages=(ChatMessage("user", "hello"),), model="", offer_id="", max_tokens=2)
        async with buyer.chat(turn) as events:
            assert any([isinstance(event, ChatDone) async for event in events])
        (channel,) = await buyer.channels()
        chain = await buyer.chain()
        assert chain.chain_time_s is not None
        # By this machine's own clock it would end four minutes sooner.
        assert abs(channel.expiry_s - CHANNEL_LIFE_S - chain.chain_time_s) < 60
        assert buyer.snapshot().chain_ahead_ms == pytest.approx(-4 * MINUTE_MS, abs=MINUTE_MS)


async def test_a_provider_beyond_five_minutes_is_not_green(
    run_node: RunNode, relay: RelayServer, devnet: DevnetReady
) -> None:
    """The offer was published and ignored by everybody, while the dashboard said: rentable now."""
    urls = {"relay": relay.url, "chain": devnet.l2_url}
    async with run_node("seller", ahead_ms=7 * MINUTE_MS, **urls) as seller, seller.subscribe() as events:
        await seller.create_wallet("main", PASSPHRASE)
        going = asyncio.create_task(seller.go_online())
        async with asyncio.timeout(PATIENCE_S):
            while seller.snapshot().phase is not Phase.DEGRADED:
                await anext(events)
        assert "7 min ahead of the relay's" in seller.snapshot().why
        assert "timedatectl" in seller.snapshot().fix
        assert seller.snapshot().checklist
        going.cancel()
        await asyncio.gather(going, return_exceptions=True)


async def test_a_relay_whose_clock_is_wrong_sets_nobody_elses(run_node: RunNode, devnet: DevnetReady) -> None:
    """Peers that adjusted their clocks by others' were led astray by one of them (MintcoinCommunity/
    Mintcoin-Desktop-Wallet#91). The chain's clock bears this machine out, and offers are read by its own."""
    async with RelayServer(now_ms=lambda: now_ms() - 40 * MINUTE_MS) as relay:
        urls = {"relay": relay.url, "chain": devnet.l2_url}
        async with run_node("seller", **urls) as seller, run_node("buyer", **urls) as buyer:
            await seller.create_wallet("main", PASSPHRASE)
            await seller.go_online()
            assert seller.snapshot().phase is Phase.IDLE
            assert len(await buyer.market()) == 1
            clock = buyer.snapshot().clock
            assert clock is not None
            assert clock.line.startswith("The relay's clock is 40 min behind")


def test_commands_say_on_stderr_where_clocks_differ(capsys: pytest.CaptureFixture[str]) -> None:
    """`market` printed an empty table and nothing else."""
    warned = ClockView(ahead_ms=180_000, health=Health.WARN, line="It is 3 min ahead.", fix="Set it.")
    tell_clock(FakeNode(snapshot(clock=warned)))
    tell_clock(FakeNode(snapshot()))
    assert capsys.readouterr().err == "· It is 3 min ahead. Set it.\n"


@pytest.mark.parametrize("date", ["x", "", f"Mon, 01 Jan {10**20} 00:00:00 GMT", "Mon, 01 Jan 2020 00:00:00 +9999999"])
async def test_a_relay_that_tells_no_real_date_costs_the_comparison_alone(date: str) -> None:
    """`doctor` ended with a crash report where something in the relay's place sent an impossible date."""

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(headers={"Date": date})

    app = web.Application()
    app.router.add_get("/healthz", answer)
    async with TestServer(app) as server:
        item, seconds = await check_relay(f"ws://127.0.0.1:{server.port}")
    assert item.health is Health.OK
    assert seconds is None
    assert "not compared" in check_clock(seconds, 0.0).detail


async def test_a_question_that_nobody_answers_says_where_clocks_differ(devnet: DevnetReady, tmp_path: Path) -> None:
    """An answer came with the warning; "Nobody rents anything out", for which a clock may be the reason, without."""

    async def command(*words: str) -> tuple[int | None, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "app.cli", *words, env=os.environ | environment,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        async with asyncio.timeout(PATIENCE_S):
            _, said = await process.communicate()
        return process.returncode, said.decode()

    async with RelayServer(now_ms=lambda: now_ms() - 3 * MINUTE_MS) as relay:
        environment = {
            "IDLEWATT_HOME": str(tmp_path), "IDLEWATT_PASSPHRASE": PASSPHRASE,
            "IDLEWATT_RELAY": relay.url, "IDLEWATT_CHAIN": devnet.l2_url,
        }  # fmt: skip
        assert (await command("wallet", "new"))[0] == 0
        status, said = await command("chat", "What is 17 + 25?")
    assert status == 1
    assert "idlewatt: Nobody rents anything out on this relay." in said
    assert "· This machine's clock is 3 min ahead of the relay's." in said


def test_a_date_to_try_again_at_is_by_the_clock_of_who_says_it() -> None:
    """`Retry-After` with a date was compared with this machine's clock: an hour's wait, or none."""
    date, later = "Mon, 30 Nov 2020 12:00:00 GMT", "Mon, 30 Nov 2020 12:00:07 GMT"
    assert refusal(429, retry_after=later, date=date).retry_after_s == 7
    assert refusal(429, retry_after="7", date="nonsense").retry_after_s == 7


@pytest.mark.parametrize(("code", "told"), [(9, "this machine's clock"), (10, "this machine's clock"), (18, "")])
def test_a_certificate_that_fails_by_its_date_names_the_clock(code: int, told: str) -> None:
    """Far enough off, a clock fails TLS before anything could compare it: "its certificate isn't valid"."""
    found = ssl.SSLCertVerificationError(1, "certificate verify failed")
    found.verify_code = code
    error = aiohttp.ClientConnectorCertificateError(SimpleNamespace(host="relay", port=443, ssl=True), found)
    assert told in describe(error)
    assert "certificate" in describe(error)
