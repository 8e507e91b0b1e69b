"""Publishing the offer: what the log says of attempts that fail."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

from node.provider.offer_publisher import OfferPublisher
from node.rollup.monitor import RollupMonitor
from node.runtime.clock import NodeClock
from node.runtime.settings import NodeSettings
from node.store.store import Store
from tests.patience import PATIENCE_S


async def test_attempts_that_fail_in_the_same_way_are_logged_once(tmp_path, caplog):
    attempts = []
    third = asyncio.Event()

    def terms():
        attempts.append(1)
        publisher.look_again()
        if len(attempts) == 3:
            third.set()
        return SimpleNamespace(), SimpleNamespace()

    async with await Store.open(tmp_path / "node.db") as store:
        publisher = OfferPublisher(
            NodeSettings(),
            SimpleNamespace(),
            RollupMonitor(None, store, on_change=lambda: None, on_reset=lambda: None),
            SimpleNamespace(),
            transport_key=bytes(32),
            terms=terms,
            is_online=lambda: True,
            on_change=lambda: None,
            clock=NodeClock(lambda: None, lambda: 0),
        )
        task = asyncio.create_task(publisher.publish(SimpleNamespace(node_id=bytes(32))))
        async with asyncio.timeout(PATIENCE_S):
            await third.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    logged = [record.getMessage() for record in caplog.records if "offer_not_published" in record.getMessage()]
    assert len(logged) == 1
    assert "No chain is set" in logged[0]
    assert not publisher.published
