"""The small parts of the node: slots, events, logs, jobs, deadlines."""

from __future__ import annotations

import asyncio
import logging

import pytest

from node.buyer.session import ResponseTimeouts
from node.runtime.events import MAX_WAITING, EventBus
from node.runtime.jobs import JobRegistry, ended
from node.runtime.log_ring import LogRing
from node.runtime.relay_connection import RelayConnection
from node.store.store import Store
from node.values import JobStage, JobView, LogLine, NodeChanged, Notice


async def test_changes_coalesce_and_lines_are_bounded_for_a_slow_reader():
    bus = EventBus()
    bus.changed("jobs")
    async with bus.subscribe() as events:
        for _ in range(1_000):
            bus.changed("jobs")
            bus.notice("warning", "again")
        bus.changed("phase")
        got = [await anext(events) for _ in range(MAX_WAITING + 2)]
    assert sum(isinstance(event, Notice) for event in got) == MAX_WAITING
    assert got[-2:] == [NodeChanged(what="jobs"), NodeChanged(what="phase")]
    bus.changed("jobs")


async def test_the_log_ring_keeps_the_newest_lines_harmless():
    told: list[LogLine] = []
    ring = LogRing(told.append)
    logger = logging.getLogger("node.runtime.test")
    with ring.attached():
        logger.info("first")
        logger.warning("evil \x1b[31m%s", "[/x]\u202e")
        ring.handle(logging.makeLogRecord({"msg": "%d", "args": ("no number",), "levelno": logging.ERROR}))
        logger.debug("too fine")
        logger.critical("last")
    logger.info("unheard")
    await asyncio.sleep(0)
    lines = ring.newest(10)
    assert [line.level for line in lines] == ["info", "warning", "error", "critical"]
    assert "\x1b" not in lines[1].text
    assert "\u202e" not in lines[1].text
    assert ring.newest(1)[0].text == "last"
    assert ring.newest(0) == ()
    assert told == list(lines)


def job(**changes) -> JobView:
    values = {
        "job_id": "j1",
        "role": "buyer",
        "model": "demo",
        "peer": "0x" + "11" * 20,
        "stage": JobStage.STREAMING,
        "channel_id": 1,
        "input_tokens": 3,
        "output_tokens": 4,
        "tokens_per_s": 9.0,
        "amount_nano": 5,
        "exposure_nano": 0,
        "credit_window_nano": 0,
        "started_ms": 1_000,
        "finished_ms": None,
    }
    return JobView(**(values | changes))


async def test_jobs_are_remembered_across_restarts(tmp_path):
    changes = []
    async with await Store.open(tmp_path / "node.db") as store:
        book = JobRegistry(store, lambda: changes.append(1))
        book.update(job())
        book.update(job(output_tokens=9))
        book.sample()
        assert book.history == (9.0,)
        await book.finish(ended(job(), code="cancelled", error="\x1b[31mstop"), bytes(20), "cancelled")
        book.update(job(job_id="j2"))
        book.drop(job(job_id="j2"))
        book.drop(None)
        assert book.active == ()
        assert book.recent[0].error == "stop"
        again = JobRegistry(store, lambda: None)
        await again.load()
        assert [(j.job_id, j.stage) for j in again.recent] == [("j1", JobStage.CANCELLED)]
    # A store that refuses costs the history of a job, never the node.
    await book.finish(ended(job(job_id="j3")), bytes(20), "stop")
    assert book.recent[0].job_id == "j3"
    assert changes


def test_deadlines_follow_the_advertised_speed():
    fast, slow = ResponseTimeouts.for_speed(100.0, 10.0, 4_000), ResponseTimeouts.for_speed(2.0, 10.0, 4_000)
    assert slow.next_token_s > fast.next_token_s >= 20
    assert slow.first_token_s > fast.first_token_s
    assert ResponseTimeouts.for_speed(0.0, 0.0, 0).next_token_s > 20


async def test_a_node_without_a_relay_says_so():
    relay = RelayConnection(None, lambda: None)
    await relay.run()
    assert relay.view().state == "off"
    with pytest.raises(Exception, match="No relay is set"):
        await relay.client()
