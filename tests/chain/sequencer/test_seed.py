"""A sequencer that joins from a snapshot is where one that executed every batch is."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from chain.replay import deployment_id
from chain.sequencer.snapshots import SnapshotKeeper, write_durably
from chain.snapshot import Snapshot
from tests.chain.sequencer.conftest import until
from tests.chain.sequencer.transfers import transfer, two_accounts
from tests.chain.support import owner


@pytest.fixture
async def snapshot(start, l1, tmp_path):
    """Two final batches in a snapshot, and one batch more on L1."""
    file = tmp_path / "snapshot"
    async with start() as first:
        await two_accounts(first, l1)
        await first.flush()
        await first.submit(transfer(0))
        await first.flush()
        l1.now_s += 10
        await until(lambda: first.ledger.final.count == len(l1.posted))
        keeper = SnapshotKeeper(first.ledger, file, every_s=60)
        assert await keeper.write_if_new()
        assert not await keeper.write_if_new()
        await first.submit(transfer(1))
        await first.flush()
    return file


async def test_a_joining_sequencer_begins_with_the_snapshot_and_adopts_the_rest(
    start, quick, l1, snapshot, monkeypatch
):
    read, asked = l1.batches, []

    async def noting(first, limit):
        asked.append(first)
        return await read(first, limit)

    monkeypatch.setattr(l1, "batches", noting)
    config = replace(quick, snapshot=str(snapshot))
    async with start(config, l1.by(owner(5)), "second.db") as second:
        assert second.head.state.root() == l1.posted[-1].post_root
        assert second.ledger.final.count >= len(l1.posted) - 1
        assert min(asked) == len(l1.posted) - 2, "nothing before the snapshot's last batch is read"
        assert await second.ledger.store.batch_count() == len(l1.posted)
    async with start(config, l1.by(owner(5)), "second.db") as again:
        assert again.head.state.root() == l1.posted[-1].post_root


async def test_it_leads_from_there(start, quick, l1, snapshot):
    l1.leads = None
    async with start(replace(quick, snapshot=str(snapshot)), l1.by(owner(5)), "second.db") as second:
        await second.submit(transfer(2))
        await second.flush()

        assert l1.posted[-1].submitter == owner(5)
        assert l1.posted[-1].post_root == second.head.state.root()
        l1.now_s += 10
        await until(lambda: second.ledger.final.count == len(l1.posted))
        assert second.ledger.final.state.root() == l1.posted[-1].post_root


async def test_a_wrong_snapshot_changes_nothing(start, quick, l1, snapshot, tmp_path):
    async with start() as first:
        state = first.ledger.final.state
        wrong = Snapshot(deployment_id(first.deployment), 1, state)
    write_durably(tmp_path / "wrong", wrong.chunks())

    async with start(replace(quick, snapshot=str(tmp_path / "wrong")), l1.by(owner(5)), "second.db") as second:
        assert second.head.state.root() == l1.posted[-1].post_root
        assert await second.ledger.store.batch(0) is not None
