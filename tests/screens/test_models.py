"""Models: looking, searching, pulling, measuring, renting out, deleting."""

import asyncio

import pytest

from node.values import IdlewattError, PullProgress
from screens.dialogs import Form, Picker, Reveal
from screens.models.content import bench_text, fit_short, mark, pull_text, quantization_choices
from tests.patience import PATIENCE_S
from tests.screens.fake_node import FakeNode, hub_models, model_view
from tests.screens.support import NARROW, WIDE, make_app, seen, until, until_seen, until_told, write


async def test_every_model_shows_where_it_is_and_how_it_fits():
    async with make_app(first_mode="models").run_test(size=WIDE) as pilot:
        await until_seen(pilot, "▶ demo", "24k, 4 slots", "ollama", "needs 41.2 GiB")
        await until_seen(pilot, "rented out now", "275 tok/s, one stream")


async def test_a_home_without_models_says_what_to_do():
    node = FakeNode()
    node.model_views = ()
    async with make_app(node, first_mode="models").run_test(size=NARROW) as pilot:
        await until_seen(pilot, "/ searches the Hugging Face hub")


async def test_enter_shows_a_model_in_full_with_what_was_measured():
    node = FakeNode()
    async with make_app(node, first_mode="models").run_test(size=NARROW) as pilot:
        await until_seen(pilot, "Qwen3-8B")
        await pilot.press("j", "enter")
        await until_seen(pilot, "apache-2.0", "Measured 1 h 0 min ago", "77.3")
        assert ("model_detail", "Qwen3-8B-Instruct-Q4_K_M") in node.calls
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(pilot.app.screen, Reveal))


async def test_a_model_that_cannot_be_used_says_why_instead():
    node = FakeNode()
    async with make_app(node, first_mode="models").run_test(size=NARROW, notifications=True) as pilot:
        await until_seen(pilot, "half-a-file")
        await pilot.press("G", "o")
        await until_told(pilot, "is truncated")
        assert not isinstance(pilot.app.screen, Form)


async def test_a_search_leads_to_a_quantization_and_a_pull_with_its_progress():
    node = FakeNode()
    node.hold = asyncio.Event()
    async with make_app(node, first_mode="models").run_test(size=NARROW, notifications=True) as pilot:
        await until_seen(pilot, "demo")
        await pilot.press("slash")
        await until(pilot, lambda: isinstance(pilot.app.screen, Form))
        await write(pilot, "qwen3")
        await pilot.press("enter")
        await until_seen(pilot, "someone/Qwen3-4B-GGUF", "1.2 M downloads", "gated")
        await pilot.press("enter")
        await until_seen(pilot, "Q4_K_M  suggested")
        await pilot.press("down", "enter")
        await until_seen(pilot, "Qwen3-4B-Q4_K_M", "43%", "58 s left", "esc stops")
        assert ("search_models", "qwen3") in node.calls
        assert ("pull_model", "someone/Qwen3-4B-GGUF:Q2_K") in node.calls
        node.hold.set()
        await until_told(pilot, "is here, its SHA-256 checked")
        await until(pilot, lambda: "esc stops" not in seen(pilot.app))


async def test_escape_stops_a_pull_and_another_one_waits_for_that():
    node = FakeNode()
    node.hold = asyncio.Event()
    async with make_app(node, first_mode="models").run_test(size=NARROW, notifications=True) as pilot:
        await until_seen(pilot, "demo")
        await pilot.press("p")
        await until(pilot, lambda: isinstance(pilot.app.screen, Form))
        await write(pilot, "no-slash")
        await pilot.press("enter")
        await until_seen(pilot, "Write it as OWNER/NAME.")
        await write(pilot, "a/b:Q8_0")
        await pilot.press("enter")
        await until_seen(pilot, "43%")
        await pilot.press("p")
        await until_told(pilot, "esc stops it")
        await pilot.press("escape")
        await until_told(pilot, "goes on from there")
        await asyncio.wait_for(node.left_early.wait(), PATIENCE_S)
        await until(pilot, lambda: "43%" not in seen(pilot.app))


async def test_a_pull_that_fails_says_the_one_line():
    node = FakeNode()
    node.errors["pull_model"] = IdlewattError("The hub has no a/b.", fix="Check the spelling.")
    async with make_app(node, first_mode="models").run_test(size=NARROW, notifications=True) as pilot:
        await until_seen(pilot, "demo")
        await pilot.press("p")
        await until(pilot, lambda: isinstance(pilot.app.screen, Form))
        await write(pilot, "a/b")
        await pilot.press("enter")
        await until_told(pilot, "The hub has no a/b. Check the spelling.")


async def test_measuring_shows_each_step_and_then_the_table():
    node = FakeNode()
    async with make_app(node, first_mode="models").run_test(size=NARROW) as pilot:
        await until_seen(pilot, "Qwen3-8B")
        await pilot.press("j", "b")
        await until_seen(pilot, "Speed of Qwen3-8B", "writes tok/s", "77.3")
        assert ("bench_model", "Qwen3-8B-Instruct-Q4_K_M") in node.calls


async def test_fit_is_worked_out_for_what_was_asked():
    node = FakeNode()
    async with make_app(node, first_mode="models").run_test(size=NARROW) as pilot:
        await until_seen(pilot, "Qwen3-8B")
        await pilot.press("j", "f")
        await until(pilot, lambda: isinstance(pilot.app.screen, Form))
        await write(pilot, "lots", "#context")
        await pilot.press("enter", "enter")
        await until_seen(pilot, "must be a number from 64")
        await write(pilot, "24576", "#context")
        await pilot.press("enter", "enter")
        await until_seen(pilot, "fits with 24k context and 4 slots", "98304 tokens in all")
        assert ("model_fit", "Qwen3-8B-Instruct-Q4_K_M", 24_576, 4) in node.calls


async def test_renting_out_asks_for_the_price_with_this_model_chosen():
    node = FakeNode()
    async with make_app(node, first_mode="models").run_test(size=NARROW) as pilot:
        await until_seen(pilot, "Qwen3-8B")
        await pilot.press("j", "o")
        await until_seen(pilot, "Rent out this machine?", "Qwen3-8B-Instruct-Q4_K_M")
        pilot.app.screen.query_one("#yes").press()
        await until(pilot, lambda: any(call[0] == "go_online" for call in node.calls))
        assert node.called("go_online")[0][0] == "Qwen3-8B-Instruct-Q4_K_M"


async def test_deleting_asks_and_only_deletes_what_is_ours():
    node = FakeNode()
    async with make_app(node, first_mode="models").run_test(size=NARROW, notifications=True) as pilot:
        await until_seen(pilot, "Qwen3-8B")
        await pilot.press("d")
        await until_told(pilot, "demo is not ours to delete")
        await pilot.press("j", "d")
        await until_seen(pilot, "Delete this model?")
        await pilot.press("escape")
        await pilot.pause()
        assert not node.called("remove_model")
        await pilot.press("d")
        await until_seen(pilot, "Delete this model?")
        await pilot.press("enter")
        await until_told(pilot, "4.7 GiB are free again")
        await until(pilot, lambda: "Qwen3-8B" not in seen(pilot.app))


@pytest.mark.parametrize(
    ("changes", "shape"),
    [
        ({"problem": "broken"}, "✗"),
        ({"in_use": True, "offered": True}, "▶"),
        ({"in_use": True}, "◐"),
        ({}, "✓"),
        ({"fits": False}, "!"),
    ],
)
def test_a_models_state_has_a_shape_of_its_own(changes, shape):
    assert mark(model_view(**changes))[0] == shape


@pytest.mark.parametrize(
    ("fit", "short"),
    [
        ("fits with 24k context and 4 slots", "24k, 4 slots"),
        ("fits with 8k context; 4 slots share 20k", "8k; 4 slots share 20k"),
        ("fits with 4k context and 4 slots (up to 103k)", "4k, 4 slots (up to 103k)"),
        ("doesn't fit: needs 41.2 GiB and 22.9 GiB are free", "needs 41.2 GiB and 22.9 GiB"),
        ("doesn't fit with 32k context: it would with 8k and 1 slot", "only 8k, 1 slot"),
        ("", ""),
    ],
)
def test_the_column_keeps_what_matters_of_the_sentence(fit, short):
    assert fit_short(fit) == short


def test_progress_without_a_size_or_a_speed_is_no_division_by_zero():
    nothing = PullProgress(done_bytes=0, total_bytes=0, bytes_per_s=0.0, eta_s=None)
    assert "0%" in pull_text("x", nothing)
    assert "loading" in bench_text("x", [])


def test_the_suggested_quantization_comes_first_once():
    assert [choice.key for choice in quantization_choices(hub_models()[0])] == ["Q4_K_M", "Q2_K", "Q8_0"]
    assert Picker("x", [], "nothing").choices == ()
