"""The rollup's bench measures today's contracts: it deploys them as the tests do, and proves a frame wrong there."""

from __future__ import annotations

from pathlib import Path

from bench.rollup_gas import worst_proof


def test_the_worst_frames_proof_is_measured_on_todays_contracts_and_stays_within_its_bound(tmp_path: Path) -> None:
    measured = worst_proof(tmp_path)

    assert measured.unit == "gas"
    assert measured.met
