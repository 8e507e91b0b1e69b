from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from node.models.catalog import lookup
from node.models.pull import origins_of, pulling
from node.models.views import PullChosen, PullDone, PullEvent, PullProgress
from tests.node.models.fake_hub import Hub, running

REPO = "some/Thing-7B-GGUF"
FILE = "thing-7b-Q4_K_M.gguf"


@pytest.fixture(autouse=True)
def own_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No token and no cache of whoever runs the tests."""
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "HF_HUB_CACHE", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_DOWNLOAD_TIMEOUT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HOME", str(tmp_path / "user"))


@pytest.fixture
async def hub(monkeypatch: pytest.MonkeyPatch, tiny_model: Path) -> AsyncIterator[Hub]:
    content = tiny_model.read_bytes()
    files = {FILE: content, "thing-7b-Q8_0.gguf": content + b"\0" * 100, "README.md": b"hello", "mmproj-F16.gguf": b"x"}
    async with running(Hub(files={REPO: files})) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


async def pulled(spec: str, models: Path) -> list[PullEvent]:
    async with pulling(spec, models) as events:
        return [event async for event in events]


async def test_a_pull_chooses_a_quantization_says_so_and_the_model_can_be_named(hub: Hub, tmp_path: Path):
    events = await pulled(REPO, tmp_path)
    chosen, done = events[0], events[-1]
    assert isinstance(chosen, PullChosen)
    assert (chosen.quantization, chosen.others, chosen.licence) == ("Q4_K_M", ("Q8_0",), "apache-2.0")
    assert isinstance(done, PullDone)
    path = Path(done.path)
    assert path == tmp_path / REPO / FILE
    assert path.read_bytes() == hub.files[REPO][FILE]
    assert lookup(done.model, tmp_path).path == lookup(REPO, tmp_path).path == lookup(path.stem, tmp_path).path == path
    assert origins_of(path.parent)[FILE].repo == REPO
    assert [event for event in events if isinstance(event, PullProgress)][-1].done_bytes == chosen.size_bytes


async def test_a_broken_transfer_goes_on_where_it_broke(hub: Hub, tmp_path: Path):
    hub.breaks_after = [200_000, 50_000]
    events = await pulled(f"{REPO}:q4_k_m", tmp_path)
    assert isinstance(events[-1], PullDone)
    starts = [int(asked.removeprefix("bytes=").rstrip("-") or 0) for _, asked in hub.requests]
    assert starts[0] == 0 < starts[1] < starts[2]
    assert (tmp_path / REPO / FILE).read_bytes() == hub.files[REPO][FILE]
