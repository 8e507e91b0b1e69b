"""Starting from a snapshot instead of from the first batch: read from a file or a server, and held against L1.

Whatever is wrong with one costs bounded time and memory, and no more than that: the caller replays from L1 instead.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import ClassVar, Final

import aiohttp
import msgspec

from chain.errors import ErrorCode
from chain.l1.protocol import RollupL1
from chain.replay import Replayer, deployment_id, rules_of
from chain.snapshot import CHUNK_BYTES, MAX_LEAF_BYTES, MAX_LEAVES, SnapshotError, SnapshotHeader, SnapshotReader

SNAPSHOT_PATH: Final = "/snapshot"
"""Where a rollup's RPC server offers one."""
NOT_FOUND: Final = 404


class SnapshotLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How much a snapshot may take."""

    max_leaves: int = MAX_LEAVES
    least_bytes_per_s: int = 256 * 1024
    """A server that is slower is given up."""
    patience_s: float = 30.0
    """For the header, and beyond the time that the bytes may take."""


class NoSnapshotError(SnapshotError):
    """The server offers none."""

    default_code: ClassVar[ErrorCode] = "no_snapshot"


async def load_snapshot(
    place: str, l1: RollupL1, *, must_be_final: bool = True, limits: SnapshotLimits | None = None
) -> Replayer:
    """A replayer that goes on after a snapshot's batches.

    Args:
        place: A file's path, or the URL of one.
        l1: The rollup's contracts, which say what is true.
        must_be_final: Whether only a state is taken that nobody can dispute any more.
        limits: How much it may take.

    Raises:
        SnapshotError: ``bad_snapshot`` if it can't be used, ``no_snapshot`` if a server offers none.
        ChainUnavailableError: If L1 does not answer.
    """
    limits = limits or SnapshotLimits()
    reader = SnapshotReader(max_leaves=limits.max_leaves)
    chunks = _from_url(place) if place.startswith(("http://", "https://")) else _from_file(Path(place))
    try:
        async with aclosing(chunks), asyncio.timeout(limits.patience_s) as deadline:
            async for chunk in chunks:
                header = reader.header
                reader.feed(chunk)
                if header is None and reader.header is not None:
                    await _check(reader.header, l1, must_be_final=must_be_final)
                    # Only now is it known how long it may be.
                    seconds = reader.header.leaf_count * MAX_LEAF_BYTES / limits.least_bytes_per_s
                    deadline.reschedule(asyncio.get_running_loop().time() + limits.patience_s + seconds)
    except TimeoutError:
        raise SnapshotError("The snapshot didn't come in time.") from None
    except (OSError, aiohttp.ClientError) as error:
        raise SnapshotError("The snapshot can't be read.", fix="Check the file or the address.") from error
    # Off the loop: a million leaves take seconds to hash.
    state = await asyncio.to_thread(reader.finish)
    assert reader.header is not None
    return Replayer(rules_of(await l1.deployment()), state=state, next_batch=reader.header.batch_count)


async def _check(header: SnapshotHeader, l1: RollupL1, *, must_be_final: bool) -> None:
    """Hold what a snapshot says of itself against L1, before its leaves are read."""
    deployment = await l1.deployment()
    if header.deployment != deployment_id(deployment):
        raise SnapshotError("The snapshot is of another rollup.")
    standing = await (l1.final_count() if must_be_final else l1.batch_count())
    if header.batch_count > standing:
        what = "final" if must_be_final else "posted"
        raise SnapshotError(f"The snapshot is of {header.batch_count} batches; {standing} are {what} on L1.")
    if await l1.post_root(header.batch_count - 1) != header.root:
        raise SnapshotError("The snapshot's root is another than the one that was posted on L1.")


async def _from_file(path: Path) -> AsyncGenerator[bytes, None]:
    with await asyncio.to_thread(path.open, "rb") as file:
        while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
            yield chunk


async def _from_url(url: str) -> AsyncGenerator[bytes, None]:
    # The caller's deadline is the only one: how long it takes depends on how much comes.
    timeout = aiohttp.ClientTimeout(total=None, connect=10.0)
    async with (
        aiohttp.ClientSession(timeout=timeout, auto_decompress=False) as session,
        session.get(url, allow_redirects=False) as response,
    ):
        if response.status == NOT_FOUND:
            raise NoSnapshotError("The server offers no snapshot.")
        if response.status != 200:
            raise SnapshotError(f"The server gives no snapshot (HTTP {response.status}).")
        async for chunk in response.content.iter_chunked(CHUNK_BYTES):
            yield chunk


async def start_from(place: str | None, l1: RollupL1) -> tuple[Replayer | None, str]:
    """A replayer after a snapshot, or ``None`` where everything is to be replayed; and one line about which, and why.

    Args:
        place: A file, a URL, or nothing.
        l1: The rollup's contracts.

    Raises:
        ChainUnavailableError: If L1 does not answer.
    """
    if place is None:
        return None, ""
    try:
        replayer = await load_snapshot(place, l1)
    except NoSnapshotError:
        return None, ""
    except SnapshotError as error:
        return None, f"Not from the snapshot, but from the first batch on. {error.message}"
    return replayer, f"Starting from a snapshot after batch {replayer.next_batch - 1}; its root is the one on L1."
