from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from chain.errors import UsageError
from node.models.catalog import lookup
from node.models.hub import client, messages
from node.models.hub.hub_error import HubError
from node.models.naming import ChoiceError, HubFile
from node.models.pull import ORIGIN_FILE, Spec, Speed, origins_of, parse_spec, pulling, search
from node.values.models import PullChosen, PullDone, PullEvent, PullProgress
from tests.node.models.fake_hub import Hub, running
from tests.patience import PATIENCE_S

REPO = "some/Thing-7B-GGUF"
FILE = "thing-7b-Q4_K_M.gguf"
TOKEN = "hf_a_token_that_nobody_may_read"


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


@asynccontextmanager
async def stalled(hub: Hub, models: Path, at_bytes: int) -> AsyncIterator[Path]:
    """A pull under way whose server went silent after so many bytes; yields the file that they are in."""
    hub.stalls_after = at_bytes
    async with pulling(REPO, models) as events:
        async with asyncio.timeout(PATIENCE_S):
            await anext(events)
            reading = asyncio.ensure_future(anext(events))
            while not (parts := list((models / REPO).glob("*.part"))) or parts[0].stat().st_size < at_bytes:
                await asyncio.sleep(0.02)
            await reading
        yield parts[0]
    hub.stalls_after = None


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


async def starts_of(hub: Hub) -> list[int]:
    return [int(asked.removeprefix("bytes=").rstrip("-") or 0) for _, asked in hub.requests]


async def test_a_server_without_ranges_starts_over_and_the_file_is_right(hub: Hub, tmp_path: Path):
    hub.breaks_after, hub.knows_ranges = [200_000], False
    await pulled(REPO, tmp_path)
    assert (tmp_path / REPO / FILE).read_bytes() == hub.files[REPO][FILE]


async def test_a_pull_that_was_left_goes_on_in_the_next_one(hub: Hub, tmp_path: Path):
    async with stalled(hub, tmp_path, 200_000) as part:
        pass
    kept = part.stat().st_size
    assert kept >= 200_000
    await pulled(REPO, tmp_path)
    assert (await starts_of(hub))[-1] == kept
    assert [path.suffix for path in (tmp_path / REPO).iterdir() if path.name.startswith("thing")] == [".gguf"]
    assert (tmp_path / REPO / FILE).read_bytes() == hub.files[REPO][FILE]


async def test_what_is_here_already_is_checked_and_not_downloaded_again(hub: Hub, tmp_path: Path):
    await pulled(REPO, tmp_path)
    before = len(hub.requests)
    events = await pulled(REPO, tmp_path)
    assert isinstance(events[-1], PullDone)
    assert len(hub.requests) == before


async def test_a_wrong_hash_is_refused_and_the_bad_file_removed(hub: Hub, tmp_path: Path):
    hub.digests[FILE] = "0" * 64
    with pytest.raises(HubError, match="SHA-256 differs") as refused:
        await pulled(REPO, tmp_path)
    assert refused.value.code == "wrong_hash"
    assert list((tmp_path / REPO).iterdir()) == []


async def test_a_disk_without_room_is_told_before_and_a_full_one_keeps_what_arrived(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    # The child inherits the limit: writing past it fails as on a full disk.
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        with pytest.raises(HubError, match="is full") as full:
            await pulled(REPO, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert full.value.code == "disk_full"
    (part,) = (tmp_path / REPO).glob("*.part")
    assert part.stat().st_size == 200_000
    await pulled(REPO, tmp_path)
    assert (await starts_of(hub))[-1] == 200_000
    assert (tmp_path / REPO / FILE).read_bytes() == hub.files[REPO][FILE]


async def test_more_than_the_disk_holds_is_refused_before_a_byte_comes(tmp_path: Path):
    file = HubFile(path="huge-Q4_0.gguf", size_bytes=1 << 58, sha256="1" * 64)
    request = messages.Fetch(repo=REPO, commit="a" * 40, folder=bytes(tmp_path / "x"), files=(file,))
    async with client.fetching(request) as steps:
        with pytest.raises(HubError, match="GiB more are needed"):
            await anext(steps)


async def test_a_busy_hub_is_waited_for_and_a_hub_that_stays_busy_is_told(hub: Hub, tmp_path: Path):
    hub.statuses = [503, 429]
    assert isinstance((await pulled(REPO, tmp_path))[-1], PullDone)
    hub.api_status = 429
    with pytest.raises(HubError, match="asks for patience") as told:
        await pulled(REPO, tmp_path)
    assert told.value.code == "hub_rate_limited"


async def test_a_slow_server_is_left_after_its_time_and_what_came_is_kept(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "1")
    hub.stalls_after = 0
    hub.files[REPO] = {FILE: hub.files[REPO][FILE][:100_000]}
    async with pulling(REPO, tmp_path) as events:
        seen = [event async for event in _until_two_requests(events, hub)]
    assert seen
    starts = await starts_of(hub)
    assert starts[0] == 0 < starts[1]


async def _until_two_requests(events: AsyncIterator[PullEvent], hub: Hub) -> AsyncIterator[PullEvent]:
    async for event in events:
        yield event
        if len(hub.requests) > 1:
            hub.stalls_after = None


@pytest.mark.parametrize(
    ("status", "error", "code"),
    [
        (401, "GatedRepo", "gated_repo"),
        (403, "GatedRepo", "gated_repo"),
        (403, "", "gated_repo"),
        (404, "RepoNotFound", "unknown_repo"),
        (500, "", "hub_failed"),
    ],
)
async def test_a_refusal_is_told_with_the_fix_and_nothing_that_the_server_wrote(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, error: str, code: str
):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.api_status, hub.api_error = status, error
    with pytest.raises(HubError) as refused:
        await pulled(REPO, tmp_path)
    assert refused.value.code == code
    assert refused.value.fix
    assert TOKEN not in refused.value.line()
    assert "\x1b" not in refused.value.line()
    assert hub.tokens == {f"Bearer {TOKEN}"}


async def test_a_repository_that_is_not_there_and_a_hub_that_is_not_there(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with pytest.raises(HubError, match="has no some/other"):
        await pulled("some/other", tmp_path)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(HubError, match="can't be reached") as away:
        await pulled(REPO, tmp_path)
    assert away.value.code == "hub_unreachable"


async def test_hostile_listings_name_no_path_and_no_digest_that_is_used(hub: Hub, tmp_path: Path):
    evil = {"../../evil-Q4_0.gguf": b"GGUF"}
    hub.files["a/b"], hub.files["c/d"] = evil, {"x-Q4_0.gguf": b"GGUF"}
    with pytest.raises(HubError, match="a name that can't be used"):
        await pulled("a/b", tmp_path)
    hub.digests["x-Q4_0.gguf"] = "../../../etc/passwd"
    with pytest.raises(HubError, match="can't be checked"):
        await pulled("c/d", tmp_path)
    assert not list(tmp_path.rglob("*.gguf"))


async def test_a_search_is_sorted_bounded_and_harmless(hub: Hub):
    hub.files["other/Thing-small-GGUF"] = {"small-Q8_0.gguf": b"GGUF"}
    found = await search("Thing", limit=5)
    assert [model.repo for model in found] == ["other/Thing-small-GGUF", REPO]
    assert found[1].quantization == "Q4_K_M"
    assert found[1].size_bytes == len(hub.files[REPO][FILE])
    assert found[1].architecture == "llama"
    assert (hub.queries[0]["filter"], hub.queries[0]["limit"]) == (["gguf"], ["5"])
    with pytest.raises(UsageError):
        await search("  ")


@pytest.mark.parametrize(
    ("text", "repo", "wanted"),
    [
        ("a/b", "a/b", ""),
        (" a/b:q8_0 ", "a/b", "q8_0"),
        ("hf.co/a/b:Q4_K_M", "a/b", "Q4_K_M"),
        ("https://huggingface.co/a/b/blob/main/x/y-Q4_0.gguf", "a/b", "x/y-Q4_0.gguf"),
        ("https://huggingface.co/a/b/tree/main", "a/b", ""),
    ],
)
def test_a_repository_is_named_as_people_write_it(text: str, repo: str, wanted: str):
    assert parse_spec(text) == Spec(repo, wanted)


@pytest.mark.parametrize(
    "text", ["", "a", "/", "a/../b", "../..:x", "a/b\0", "a/b/c:Q4", "-a/b", "ä/b", "a" * 200 + "/b"]
)
def test_what_names_no_repository_is_wrong_usage(text: str):
    with pytest.raises(UsageError, match="names no repository"):
        parse_spec(text)


def test_speed_is_that_of_the_last_seconds_and_counts_nothing_that_was_here_before():
    now = iter([0.0, 1.0, 20.0, 21.0])
    speed = Speed(lambda: next(now))

    def step(done: int, fresh: int) -> PullProgress:
        return speed.progress(messages.Transferred(file="x", done_bytes=done, total_bytes=1000, fresh_bytes=fresh))

    assert (step(500, 0).bytes_per_s, step(600, 100).bytes_per_s) == (0.0, 100.0)
    step(700, 200)
    last = step(800, 300)
    assert last.bytes_per_s == 100.0
    assert last.eta_s == 2.0


async def test_no_quantization_by_that_name_lists_those_there_are(hub: Hub, tmp_path: Path):
    with pytest.raises(ChoiceError, match="there is Q4_K_M, Q8_0"):
        await pulled(f"{REPO}:Q2_K", tmp_path)


async def test_two_pulls_of_one_file_do_not_write_into_each_other(hub: Hub, tmp_path: Path):
    async with stalled(hub, tmp_path, 1):
        with pytest.raises(HubError, match="Another pull of this file is running"):
            await pulled(REPO, tmp_path)


@pytest.mark.parametrize("damaged", [b"{", b'{"\xff": 1}', b'{"a.gguf": {"x": ' + b"[" * 9_000])
def test_a_damaged_note_of_origins_is_no_note(tmp_path: Path, damaged: bytes):
    (tmp_path / ORIGIN_FILE).write_bytes(damaged)
    assert origins_of(tmp_path) == {}
