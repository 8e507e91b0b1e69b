"""Whoever starts from a snapshot is where a replay of everything would have led, or replays everything."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from chain.l1.rollup_l1 import JsonRpcRollupL1
from chain.replay import deployment_id
from chain.rpc.snapshots import MAX_FOR_CLIENT, SnapshotDownloads
from chain.sequencer.snapshots import write_durably
from chain.snapshot import Snapshot, SnapshotError
from chain.snapshot_source import SNAPSHOT_PATH, NoSnapshotError, SnapshotLimits, load_snapshot, start_from
from chain.watchtower import Watchtower
from chain.watchtower.open import open_watchtower
from tests.chain.l1.capped import Caps, capped
from tests.patience import PATIENCE_S
from tests.villains.arena import PARAMS, Arena, arena, transfer
from tests.villains.fixtures import template as template

QUICK = SnapshotLimits(patience_s=0.3)


@pytest.fixture
async def where(template: Path, tmp_path: Path) -> AsyncIterator[Arena]:
    """A rollup of three final batches, and one that is not."""
    async with arena(template, tmp_path / "arena") as opened:
        await opened.pass_time(PARAMS.challenge_window_s + 1)
        await opened.operator.finalize()
        yield opened


def snapshot_of(where: Arena, *, batches: int = 3, deployment: bytes | None = None) -> bytes:
    identity = deployment or deployment_id(where.deployment)
    return b"".join(Snapshot(identity, batches, where.sequencer.state).chunks())


@asynccontextmanager
async def serving(body: AsyncIterator[bytes] | bytes, status: int = 200) -> AsyncIterator[str]:
    """A server with these bytes, or with as many as a generator gives."""

    async def handle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=status)
        await response.prepare(request)
        if isinstance(body, bytes):
            await response.write(body)
        else:
            async for chunk in body:
                await response.write(chunk)
        return response

    async with listening(handle) as url:
        yield url


@asynccontextmanager
async def listening(handle) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get(SNAPSHOT_PATH, handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}{SNAPSHOT_PATH}"
    finally:
        await runner.cleanup()


async def refusal(place: str, l1: JsonRpcRollupL1, **options) -> SnapshotError:
    with pytest.raises(SnapshotError) as refused:
        await load_snapshot(place, l1, limits=QUICK, **options)
    assert "\n" not in refused.value.line()
    return refused.value


async def test_a_watchtower_goes_on_where_the_snapshot_ends(where: Arena, tmp_path: Path) -> None:
    file = tmp_path / "snapshot"
    file.write_bytes(snapshot_of(where))
    posted = await where.sequencer.post(transfer(where.sequencer.state, where.deployment))
    events = []

    async with open_watchtower(
        where.server.url, where.deployment.rollup_address, snapshot=str(file), on_event=events.append
    ) as tower:
        await tower.settle()

    assert tower.view().verified_batches == 4
    assert tower.view().state_root == "0x" + posted.post_root.hex()
    assert [event.kind for event in events] == ["snapshot", "verified"]


async def test_a_pruned_l1_is_enough_with_a_snapshot(where: Arena) -> None:
    async with serving(snapshot_of(where)) as url:
        posted = await where.sequencer.post(transfer(where.sequencer.state, where.deployment))
        async with (
            capped(where.server.url, Caps(prunes_below=posted.l1_block)) as l1_url,
            open_watchtower(l1_url, where.deployment.rollup_address, snapshot=url) as tower,
        ):
            await tower.settle()

    assert tower.view().verified_batches == 4


async def test_what_is_not_the_posted_state_is_refused(where: Arena, tmp_path: Path) -> None:
    file, l1 = tmp_path / "snapshot", where.prover
    good = snapshot_of(where)
    await where.sequencer.post(transfer(where.sequencer.state, where.deployment))
    for content, why in (
        (snapshot_of(where, batches=3), "another than the one that was posted"),
        (snapshot_of(where, batches=2), "another than the one that was posted"),
        (snapshot_of(where, batches=4), "3 are final"),
        (snapshot_of(where, batches=2**63), "3 are final"),
        (snapshot_of(where, batches=3, deployment=b"\x01" * 32), "another rollup"),
        (good[:-1], "cut off"),
        (good + b"\0", "goes on"),
        (b"", "cut off"),
        (b"<html>", "no snapshot"),
    ):
        file.write_bytes(content)
        assert why in (await refusal(str(file), l1)).message
    assert "can't be read" in (await refusal(str(tmp_path / "nothing"), l1)).message
    file.write_bytes(snapshot_of(where, batches=4))
    assert (await load_snapshot(str(file), l1, must_be_final=False)).next_batch == 4


async def test_a_server_that_never_ends_or_never_begins_costs_bounded_time(where: Arena) -> None:
    good = snapshot_of(where)

    async def endless() -> AsyncIterator[bytes]:
        yield good
        while True:
            yield bytes(1 << 16)

    async def silent() -> AsyncIterator[bytes]:
        yield good[:-1]
        await asyncio.Event().wait()

    async def never() -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    for body, why in ((endless(), "goes on"), (silent(), "in time"), (never(), "in time")):
        async with asyncio.timeout(PATIENCE_S), serving(body) as url:
            assert why in (await refusal(url, where.prover)).message
    async with serving(b"", status=500) as url:
        assert "HTTP 500" in (await refusal(url, where.prover)).message
    async with serving(b"", status=404) as url:
        assert isinstance(await refusal(url, where.prover), NoSnapshotError)
    assert "can't be read" in (await refusal("http://127.0.0.1:1/snapshot", where.prover)).message


async def test_with_a_bad_snapshot_everything_is_replayed_and_one_line_says_so(where: Arena) -> None:
    async with serving(snapshot_of(where, deployment=b"\x01" * 32)) as url:
        start, text = await start_from(url, where.prover)

    assert start is None
    assert text.startswith("Not from the snapshot, but from the first batch on.")
    assert "\n" not in text
    async with serving(b"", status=404) as url:
        assert await start_from(url, where.prover) == (None, "")
    assert await start_from(None, where.prover) == (None, "")


async def test_an_l1_that_lost_the_snapshots_batches_is_read_from_the_first_on(
    where: Arena, template: Path, tmp_path: Path
) -> None:
    posted = await where.sequencer.post(transfer(where.sequencer.state, where.deployment))
    file = tmp_path / "snapshot"
    file.write_bytes(snapshot_of(where, batches=4))
    start = await load_snapshot(str(file), where.prover, must_be_final=False)
    async with arena(template, tmp_path / "earlier") as earlier:
        tower = Watchtower(earlier.prover, start=start)
        await tower.settle()

    assert posted.batch_id == 3
    assert tower.view().verified_batches == 3
    assert tower.view().state_root != "0x" + posted.post_root.hex()


async def test_downloads_are_few_for_each_client(tmp_path: Path) -> None:
    file = tmp_path / "snapshot"
    file.write_bytes(bytes(32 << 20))
    downloads = SnapshotDownloads(file, max_downloads=3)

    async def handle(request: web.Request) -> web.StreamResponse:
        return await downloads.handle(request, request.headers["Client"])

    async with listening(handle) as url, aiohttp.ClientSession() as session:
        running = [await session.get(url, headers={"Client": "a"}) for _ in range(MAX_FOR_CLIENT)]
        async with session.get(url, headers={"Client": "a"}) as third:
            assert third.status == 429
        running.append(await session.get(url, headers={"Client": "b"}))
        async with session.get(url, headers={"Client": "c"}) as fourth:
            assert fourth.status == 429
        for response in running:
            assert response.content_length == 32 << 20
            response.close()
        file.unlink()
        async with asyncio.timeout(PATIENCE_S):
            while (await _status(session, url)) == 429:
                await asyncio.sleep(0)
        assert await _status(session, url) == 404


async def _status(session: aiohttp.ClientSession, url: str) -> int:
    async with session.get(url, headers={"Client": "a"}) as response:
        return response.status


def test_a_writer_that_is_killed_leaves_the_whole_file_of_before(tmp_path: Path) -> None:
    path = tmp_path / "snapshot"
    write_durably(path, [b"one", b"whole"])
    script = textwrap.dedent(f"""
        import time
        from pathlib import Path
        from chain.sequencer.snapshots import write_durably
        def chunks():
            yield bytes(1 << 20)
            print("half", flush=True)
            time.sleep(600)
        write_durably(Path({str(path)!r}), chunks())
    """)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"half\n"
        os.kill(process.pid, signal.SIGKILL)
        process.wait(PATIENCE_S)

    assert path.read_bytes() == b"onewhole"
    write_durably(path, [b"next"])
    assert [entry.name for entry in tmp_path.iterdir()] == ["snapshot"]
