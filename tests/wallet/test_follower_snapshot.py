"""A wallet that follows L1 from a snapshot is where a whole replay leads, also where its snapshot is no good."""

from __future__ import annotations

from pathlib import Path

import pytest

from chain.replay import deployment_id
from chain.snapshot import Snapshot
from tests.villains.arena import PARAMS, arena, transfer
from tests.villains.fixtures import template as template
from wallet.rollup_follower import RollupFollower


@pytest.mark.parametrize("is_good", [True, False])
async def test_a_follower_begins_with_a_snapshot(template: Path, tmp_path: Path, is_good: bool) -> None:
    async with arena(template, tmp_path / "arena") as where:
        await where.pass_time(PARAMS.challenge_window_s + 1)
        await where.operator.finalize()
        snapshot = Snapshot(deployment_id(where.deployment), 3, where.sequencer.state)
        content = b"".join(snapshot.chunks())
        file = tmp_path / "snapshot"
        file.write_bytes(content if is_good else content[:-1])
        await where.sequencer.post(transfer(where.sequencer.state, where.deployment))
        follower = RollupFollower(where.prover, str(file))

        seen = [replayed.posted.batch_id async for replayed in follower.follow()]
        await where.sequencer.post(transfer(where.sequencer.state, where.deployment))
        seen += [replayed.posted.batch_id async for replayed in follower.follow()]

        assert seen == ([3, 4] if is_good else [0, 1, 2, 3, 4])
        assert (follower.began_at, follower.batch_count, follower.restarts) == (3 if is_good else 0, 5, 0)
        assert follower.state.root() == where.sequencer.state.root()
