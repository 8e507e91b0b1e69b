from __future__ import annotations

from pathlib import Path

import msgspec

from node.engine.benchmark import HISTORY_FILE, history, keep, known_speed, measure, summary
from node.values.models import BenchRow, BenchView
from tests.node.engine.helpers import engine_of


def measured(*, at_ms: int) -> BenchView:
    row = BenchRow(streams=1, prompt_tokens_per_s=200.0, decode_tokens_per_s=1.0, ttft_ms=80.0)
    return BenchView(
        model="m", model_sha256="x", at_ms=at_ms, engine_build="b", backend="cpu", threads=2,
        context_length=1024, rows=(row,),
    )  # fmt: skip


async def test_a_measurement_has_a_row_for_each_number_of_streams(tiny_model: Path, tmp_path: Path):
    async with engine_of(tiny_model, tmp_path / "log", slots=4, context_length=256) as engine:
        rows = [row async for row in measure(engine, (1, 3), prompt_tokens=48, decode_s=0.3)]
        info = await engine.info()
    assert [row.streams for row in rows] == [1, 3]
    assert all(row.prompt_tokens_per_s > 0 and row.decode_tokens_per_s > 0 and row.ttft_ms > 0 for row in rows)
    assert known_speed(tmp_path, info) is None
    keep(tmp_path, summary("tiny", info, rows, threads=1))
    assert known_speed(tmp_path, info) == (rows[0].decode_tokens_per_s, rows[0].ttft_ms)
    other = msgspec.structs.replace(info, backend="cuda")
    assert known_speed(tmp_path, other) is None


def test_the_history_is_newest_first_bounded_and_survives_broken_lines(tmp_path: Path):
    for number in range(5):
        keep(tmp_path, measured(at_ms=number), max_entries=3)
    assert [entry.at_ms for entry in history(tmp_path, max_entries=3)] == [4, 3, 2]
    with (tmp_path / HISTORY_FILE).open("ab") as file:
        file.write(b"{half a line\n")
    assert [entry.at_ms for entry in history(tmp_path, max_entries=3)] == [4, 3]
    assert history(tmp_path / "nowhere") == ()
