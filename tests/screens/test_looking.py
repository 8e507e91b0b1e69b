"""Market, Jobs, Chain and Logs: finding, filtering, looking closer."""

import pytest

from node.values import Inclusion, LogLine, Phase, RelayView
from screens.chain import final_text
from screens.dialogs import Reveal
from screens.market import empty_text, matches
from tests.screens.fake_node import (
    NOW_MS,
    NOW_S,
    FakeNode,
    batch,
    chain_view,
    job,
    offer,
    offers,
    running_job,
    snapshot,
)
from tests.screens.support import NARROW, WIDE, make_app, seen, until, until_seen


async def test_a_filter_narrows_the_market_and_escape_clears_it():
    async with make_app(first_mode="market").run_test(size=NARROW) as pilot:
        await until_seen(pilot, "4 rentable now")
        await pilot.press("slash", *"70b")
        await until_seen(pilot, "1 of 4 rentable now", "Llama-3.3-70B")
        await pilot.press(*"xyz")
        await until_seen(pilot, "No offer matches.")
        await pilot.press("escape")
        await until_seen(pilot, "4 rentable now", "Qwen3-8B-Instruct")


async def test_enter_chats_with_the_offer_under_the_cursor():
    async with make_app(first_mode="market").run_test(size=NARROW) as pilot:
        await until_seen(pilot, "Mistral-Small-24B")
        await pilot.press("j", "enter")
        await until(pilot, lambda: pilot.app.current_mode == "chat")
        await until_seen(pilot, "Qwen3-8B-Instruct · spent")
        assert pilot.app.feed.chat_offer_id == "offer-2"


async def test_a_wide_market_explains_the_offer_under_the_cursor():
    async with make_app(first_mode="market").run_test(size=WIDE) as pilot:
        await until_seen(pilot, "Mistral-Small-24B")
        await pilot.press("j")
        await until_seen(pilot, "8.2 B parameters", "what is unspent comes back", "for another 4:00 min")


async def test_new_offers_appear_by_themselves():
    node = FakeNode()
    async with make_app(node, first_mode="market").run_test(size=NARROW) as pilot:
        await until_seen(pilot, "4 rentable now")
        node.offers = (*offers(), offer(5, model="a-new-one"))
        node.change("market")
        await until_seen(pilot, "a-new-one", "5 rentable now")


def test_an_empty_market_says_why():
    url = "ws://127.0.0.1:9000"
    lost = RelayView(url=url, state="reconnecting", rtt_ms=None, reconnects=1, error="The relay is gone.")
    assert "The relay is gone." in empty_text(snapshot(relay=lost), filtered=False)
    unset = empty_text(snapshot(relay=RelayView(url="", state="off", rtt_ms=None, reconnects=0)), filtered=False)
    assert "--relay ws://host:port" in unset
    assert "reconnects" not in unset
    assert "F3" in empty_text(snapshot(), filtered=False)
    assert "Esc" in empty_text(snapshot(), filtered=True)


def test_every_word_of_a_filter_must_be_found():
    assert matches(offer(2, model="Qwen3-8B"), "qwen q8_0")
    assert not matches(offer(2, model="Qwen3-8B"), "qwen q4")


async def test_a_job_is_shown_with_its_receipt():
    node = FakeNode(snapshot(active_jobs=(), recent_jobs=(job(1),)))
    async with make_app(node, first_mode="jobs").run_test(size=NARROW) as pilot:
        await until_seen(pilot, "0 running · 1 done")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, Reveal))
        await until_seen(pilot, "sold by this node", "$0.0000108", "Receipt, signed by the provider")
        await pilot.press("escape")
        node.change("jobs", active_jobs=(running_job(),))
        await until_seen(pilot, "1 running · 1 done")


async def test_a_failed_job_says_what_happened():
    async with make_app(first_mode="jobs").run_test(size=WIDE) as pilot:
        await until_seen(pilot, "cancelled")
        await pilot.press("G")
        await until_seen(pilot, "engine_crashed", "No receipt: one follows")


async def test_a_batch_is_shown_in_full_and_its_end_reads_the_chain_again():
    node = FakeNode()
    async with make_app(node, first_mode="chain").run_test(size=NARROW) as pilot:
        await until_seen(pilot, "in 1:35 min", "42 transactions")
        await pilot.press("enter")
        await until_seen(pilot, "Batch 5", "ends in 1:35 min")
        await pilot.press("escape")
        asked = len(node.called("chain"))
        pilot.app.feed.now_ms = lambda: NOW_MS + 95_000
        pilot.app.screen.tick()
        await until(pilot, lambda: len(node.called("chain")) > asked)


async def test_an_unreachable_chain_says_so():
    node = FakeNode()
    node.chain_state = chain_view(reachable=False, error="Nobody listens on port 8547.", batches=(), events=())
    async with make_app(node, first_mode="chain").run_test(size=NARROW) as pilot:
        await until_seen(pilot, "✗ Nobody listens on port 8547.", "r asks again", "No batch was posted yet")


def test_a_challenge_counts_down_on_the_chains_clock():
    assert final_text(batch(5, Inclusion.BATCHED), NOW_MS) == "in 1:35 min"
    assert final_text(batch(5, Inclusion.BATCHED), (NOW_S + 95) * 1000) == "window over"
    assert final_text(batch(1, Inclusion.FINAL), NOW_MS) == "final"


@pytest.mark.parametrize("keys", [("l",), ("slash", *"buyer", "enter")])
async def test_logs_are_filtered_by_level_and_by_search(keys):
    async with make_app(first_mode="logs").run_test(size=NARROW) as pilot:
        await until_seen(pilot, "offer published", "following · 6 lines")
        await pilot.press(*keys)
        await until(pilot, lambda: "offer published" not in seen(pilot.app))
        await until_seen(pilot, "a buyer paused")
        if "slash" in keys:
            await pilot.press("escape")
            await until_seen(pilot, "offer published")


async def test_new_lines_are_followed_until_the_reader_holds_still():
    node = FakeNode()
    async with make_app(node, first_mode="logs").run_test(size=NARROW) as pilot:
        await until_seen(pilot, "6 lines")
        for number in range(40):
            node.events.put_nowait(LogLine(at_ms=NOW_MS + number, level="info", source="x", text=f"line {number}"))
        await until_seen(pilot, "line 39")
        await pilot.press("g")
        await until_seen(pilot, "holding still", "connected to ws")
        node.events.put_nowait(LogLine(at_ms=NOW_MS + 99, level="info", source="x", text="the newest"))
        await until_seen(pilot, "47 lines")
        assert "the newest" not in seen(pilot.app)
        await pilot.press("G")
        await until_seen(pilot, "the newest", "following")


@pytest.mark.parametrize("mode", ["dashboard", "jobs"])
async def test_an_empty_list_of_jobs_names_f3_only_while_it_goes_online(mode):
    node = FakeNode(snapshot(active_jobs=(), recent_jobs=(), phase=Phase.OFF))
    async with make_app(node, first_mode=mode).run_test(size=NARROW) as pilot:
        await until_seen(pilot, "No jobs yet. Go online with F3")
        node.change("phase", phase=Phase.IDLE)
        await until_seen(pilot, "No jobs yet. Buyers bring them")
