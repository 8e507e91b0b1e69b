"""Every attack of the table is stopped, on the embedded L1 with the real contracts, and the page says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.pages import ROOT, table_under
from tests.villains.attacks import attacks

ATTACKS = attacks()


@pytest.mark.parametrize("name", ATTACKS)
async def test_an_attack_gains_nothing_that_the_table_does_not_say(name, template: Path, tmp_path: Path):
    _, fight = ATTACKS[name]

    result = await fight(template, tmp_path)

    row = _rows()[name]
    assert row[4] == result.stopped_by
    assert row[6] == result.gained


def test_the_printed_table_is_about_these_attacks():
    rows = _rows()

    assert list(rows) == list(ATTACKS)
    for name, (attack, _) in ATTACKS.items():
        assert rows[name][1:4] == [attack.who, attack.does, attack.before]


def _rows() -> dict[str, list[str]]:
    return {row[0].strip("`"): row for row in table_under(ROOT / "docs" / "rollup.md", "| Attack |")}
