"""The benchmark of joining builds a rollup that a watchtower takes for one that grew."""

from __future__ import annotations

import pytest

from bench import rollup_join


async def test_a_rollup_whose_old_batches_were_written_into_storage_is_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollup_join, "RECORDS", 3)

    joined = await rollup_join.join(batches=1_000, posted=2, leaves=500)

    assert (joined.batches, joined.leaves) == (1_000, 500)
    assert 0 < joined.snapshot_mib < 1
