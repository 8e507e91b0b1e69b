"""Why no jobs: what is counted, under which reason, and that the counts outlive a restart."""

from __future__ import annotations

import asyncio
import logging
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.provider.health import HealthVerdict
from node.provider.rejection_log import KEPT_DAYS, RejectionLog
from node.provider.rejections import REASONS, known, offline_reason, views
from node.session.provider_rules import BUYER_REFUSALS
from node.store.rejections import DAY_MS
from node.store.sqlite_errors import StoreError
from node.store.store import Store
from node.values import Health, HealthItem, Phase
from tests.patience import PATIENCE_S

GROUPS = {"price", "model", "context", "slots", "stake", "reputation", "relay"}
amounts = st.dictionaries(st.sampled_from(sorted(REASONS)), st.integers(0, 1_000), max_size=8)


@settings(max_examples=80)
@given(today=amounts, before=amounts)
def test_every_reason_is_shown_once_with_its_fix_requests_before_time(today, before):
    week = {reason: today.get(reason, 0) + before.get(reason, 0) for reason in {*today, *before}}
    shown = views(today, week)
    assert {view.reason for view in shown} == {reason for reason, amount in week.items() if amount}
    assert [view.unit == "seconds" for view in shown] == sorted(view.unit == "seconds" for view in shown)
    for view in shown:
        assert view.count == today.get(view.reason, 0) <= view.week_count == week[view.reason]
        assert view.fix
        assert view.title
        assert view.group


@given(code=st.text(max_size=30))
@settings(max_examples=50)
def test_nobody_can_make_the_list_grow(code):
    assert known(code) in REASONS
    assert known(code) == code or known(code) == "other"


def test_every_group_that_a_provider_may_be_passed_over_for_has_a_reason():
    assert {about.group for about in REASONS.values()} >= GROUPS
    assert REASONS.keys() >= BUYER_REFUSALS


def test_every_code_that_a_provider_refuses_with_has_a_reason():
    sources = [Path(f"node/{name}.py").read_text() for name in ("session/provider_rules", "provider/admission")]
    refused = set(re.findall(r'return "(\w+)", "', "".join(sources))) | set(re.findall(r'code="(\w+)"', sources[1]))
    assert {"price_changed", "unpaid", "too_many_requests"} <= refused <= REASONS.keys()


def verdict(phase: Phase, **failed: bool) -> HealthVerdict:
    items = (HealthItem(name=name, health=Health.FAIL if bad else Health.OK, detail="") for name, bad in failed.items())
    return HealthVerdict(phase=phase, why="", fix="", checklist=tuple(items))


@pytest.mark.parametrize(
    ("said", "free", "reason"),
    [
        (verdict(Phase.DEGRADED, wallet=False, relay=True, chain=True), 2, "offline_relay"),
        (verdict(Phase.DEGRADED, chain=True), 2, "offline_chain"),
        (verdict(Phase.DEGRADED, engine=True), 0, "offline_engine"),
        (verdict(Phase.DEGRADED, wallet=True), 2, "offline_wallet"),
        (verdict(Phase.DEGRADED, backup=True), 2, "offline_other"),
        (verdict(Phase.SERVING), 0, "slots_taken"),
        (verdict(Phase.SERVING), 1, ""),
        (verdict(Phase.IDLE), 2, ""),
        (verdict(Phase.OFF, relay=True), 0, ""),
        (verdict(Phase.PAUSED), 0, "offline_paused"),
    ],
)
def test_time_offline_counts_by_its_cause_and_only_while_jobs_are_wanted(said, free, reason):
    assert offline_reason(said, free) == reason


@pytest.fixture
async def store(tmp_path):
    async with await Store.open(tmp_path / "node.db") as opened:
        yield opened


@pytest.fixture
def clock():
    return {"ms": 100 * DAY_MS + 5_000}


async def test_what_was_counted_outlives_a_restart_and_ages_out_of_the_week(store, clock):
    async def counted(*codes: str) -> dict[str, tuple[int, int]]:
        book = RejectionLog(store, lambda: None, clock_ms=lambda: clock["ms"])
        await book.load()
        for code in codes:
            book.add(code)
        task = asyncio.create_task(book.run(lambda: ""))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return {view.reason: (view.count, view.week_count) for view in book.view()}

    assert await counted("engine_busy", "engine_busy", "made_up") == {"engine_busy": (2, 2), "other": (1, 1)}
    assert (await counted("engine_busy"))["engine_busy"] == (3, 3)
    clock["ms"] += DAY_MS
    assert (await counted("engine_busy"))["engine_busy"] == (1, 4)
    clock["ms"] += 6 * DAY_MS
    assert await counted() == {"engine_busy": (0, 1)}
    clock["ms"] += (KEPT_DAYS + 1) * DAY_MS
    await counted("unpaid")
    assert [reason for _, reason, _ in await store.rejections()] == ["unpaid"]


async def test_parts_of_a_second_add_up(store, clock):
    changes = []
    book = RejectionLog(store, lambda: changes.append(1), clock_ms=lambda: clock["ms"])
    await book.load()
    for _ in range(10):
        book.passed("offline_relay", 0.25)
        book.passed("", 100.0)
    (view,) = book.view()
    assert (view.reason, view.count, view.unit) == ("offline_relay", 2, "seconds")
    assert len(changes) == 2


async def test_the_log_has_requests_and_the_two_ends_of_time_offline(store, clock, caplog):
    caplog.set_level(logging.INFO, "node.provider.rejection_log")
    book = RejectionLog(store, lambda: None, clock_ms=lambda: clock["ms"])
    await book.load()
    book.add("engine_busy")
    for reason in ("", "offline_chain", "offline_chain", "offline_relay", "slots_taken", "slots_taken", "", ""):
        book.passed(reason, 1.0)
    assert [record.getMessage() for record in caplog.records] == [
        "request_rejected reason=engine_busy",
        "offer_interrupted reason=offline_chain",
        "offer_interruption_ended reason=offline_chain",
        "offer_interrupted reason=offline_relay",
        "offer_interruption_ended reason=offline_relay",
    ]
    assert {view.reason: view.count for view in book.view()} == {
        "engine_busy": 1,
        "offline_chain": 2,
        "offline_relay": 1,
        "slots_taken": 2,
    }


async def test_the_time_offline_is_counted_and_written_down_as_it_passes(store):
    counted = asyncio.Event()
    book = RejectionLog(store, counted.set, tick_s=0.01, save_s=0.0)
    await book.load()
    task = asyncio.create_task(book.run(lambda: "offline_chain"))
    async with asyncio.timeout(PATIENCE_S):
        await counted.wait()
        while not await store.rejections():
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert {reason for _, reason, _ in await store.rejections()} == {"offline_chain"}


async def test_a_new_day_begins_at_nought(store, clock):
    book = RejectionLog(store, lambda: None, tick_s=0.01, clock_ms=lambda: clock["ms"])
    await book.load()
    book.add("engine_busy")
    task = asyncio.create_task(book.run(lambda: ""))
    clock["ms"] += DAY_MS
    async with asyncio.timeout(PATIENCE_S):
        while book.view()[0].count:
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert book.view()[0].week_count == 1


async def test_what_a_full_disk_refused_is_written_down_later(store, clock, monkeypatch):
    book = RejectionLog(store, lambda: None, clock_ms=lambda: clock["ms"])
    await book.load()
    book.add("engine_busy")

    async def full(*_args, **_more) -> None:
        raise StoreError("The disk is full.", code="disk_full")

    with monkeypatch.context() as broken:
        broken.setattr(store, "add_rejections", full)
        await book._save()
    assert await store.rejections() == []
    await book._save()
    assert await store.rejections() == [(100 * DAY_MS, "engine_busy", 1)]


async def test_an_amount_out_of_range_is_refused(store):
    with pytest.raises(StoreError) as raised:
        await store.add_rejections(0, {"engine_busy": -1})
    assert raised.value.code == "bad_record"
