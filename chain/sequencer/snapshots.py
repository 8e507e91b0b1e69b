"""Keeps a snapshot of the last final state in a file, for whoever joins later."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from chain.logs import get_logger
from chain.replay import deployment_id
from chain.sequencer.ledger import SequencerLedger
from chain.snapshot import HEADER_BYTES, Snapshot, SnapshotError, SnapshotReader

log = get_logger(__name__)

FIRST_LOOK_S = 5.0


class SnapshotKeeper:
    """Writes a snapshot now and then, where there is something new to write.

    Args:
        ledger: Whose final state.
        path: The file; there is always a whole one in it, or none.
        every_s: How often it is looked whether more is final.
    """

    def __init__(self, ledger: SequencerLedger, path: Path, *, every_s: float) -> None:
        self._ledger = ledger
        self.path = path
        self._every_s = every_s
        self._written = -1

    async def run(self) -> None:
        """Write until cancelled; a disk that refuses is told and tried again."""
        self._written = await asyncio.to_thread(_batch_count_of, self.path)
        while True:
            try:
                await self.write_if_new()
            except OSError as error:
                log.warning("snapshot_not_written", path=str(self.path), error=str(error))
            # The first one comes soon after something is final.
            await asyncio.sleep(self._every_s if self._written >= 0 else min(self._every_s, FIRST_LOOK_S))

    async def write_if_new(self) -> bool:
        """Write the final state if more batches are final than at the last time; returns whether it was written.

        Raises:
            OSError: If the disk refuses; the file before it is still there.
        """
        final = self._ledger.final
        if final.count == 0 or final.count == self._written:
            return False
        # Taken on the loop, where nothing else moves it; written off it.
        snapshot = Snapshot(deployment_id(self._ledger.deployment), final.count, final.state)
        await asyncio.to_thread(write_durably, self.path, snapshot.chunks())
        self._written = snapshot.header.batch_count
        log.info("snapshot_written", batches=self._written, leaves=snapshot.header.leaf_count)
        return True


def write_durably(path: Path, chunks: Iterable[bytes]) -> None:
    """Write a file so that a crash at any moment leaves the whole of the old one or of the new one.

    Raises:
        OSError: If the disk refuses.
    """
    for left_over in path.parent.glob(f".{path.name}.*"):
        left_over.unlink(missing_ok=True)
    descriptor, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.writelines(chunks)
            stream.flush()
            os.fsync(stream.fileno())
        Path(scratch).replace(path)
    except BaseException:
        Path(scratch).unlink(missing_ok=True)
        raise


def _batch_count_of(path: Path) -> int:
    """How many batches a snapshot is of; -1 where there is none that can be used."""
    reader = SnapshotReader()
    try:
        with path.open("rb") as stream:
            reader.feed(stream.read(HEADER_BYTES))
    except (OSError, SnapshotError):
        return -1
    return reader.header.batch_count if reader.header is not None else -1
