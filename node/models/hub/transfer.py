"""Downloads one file so that nothing is lost when it breaks: resumed where it stopped, checked before it counts.

``huggingface_hub`` since 2.0 deletes what arrived when a download fails and never compares an LFS file with its
SHA-256, so only its session, its headers and its addresses are used here. Runs in the hub's child process; blocks.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from node.models.hub.hub_error import HubError, disk_error
from node.models.naming import HubFile

CHUNK_BYTES: Final = 1 << 20
ATTEMPTS: Final = 5
"""Connections in a row that may bring nothing before a transfer is given up."""
PAUSE_S: Final = 1.0


class RangeResponse(Protocol):
    """What a server said to a ranged request."""

    start: int
    """The offset of its first byte."""

    def chunks(self) -> Iterator[bytes]:
        """The bytes, as they come."""
        ...


OpenAt = Callable[[str, int], AbstractContextManager[RangeResponse]]
"""Asks for a file of the repository from an offset on; raises ``BrokenTransfer`` or ``HubError``."""


class BrokenTransferError(Exception):
    """The connection broke, or the server asked for patience; trying again may help."""

    def __init__(self, why: str, retry_after_s: float = PAUSE_S) -> None:
        super().__init__(why)
        self.why = why
        self.retry_after_s = retry_after_s


@dataclass(frozen=True)
class ProgressReport:
    """Where the progress of one file goes."""

    arrived: Callable[[int, bool], None]
    """Bytes that are there now, and whether they came over the network just now."""
    checking: Callable[[], None]


def partial_path(folder: Path, file: HubFile) -> Path:
    """Where a file lies until it is whole; another version of it has another digest, and so another place."""
    return folder / f"{file.path.rpartition('/')[2]}.{file.sha256[:16]}.part"


def fetch_file(file: HubFile, folder: Path, open_at: OpenAt, report: ProgressReport) -> Path:
    """Bring one file into ``folder``, whole and with the digest that the hub reports for it.

    Args:
        file: What the hub says about it.
        folder: Where it goes.
        open_at: Asks the server for it from an offset on.
        report: Where its progress goes.

    Raises:
        HubError: With what to do; what arrived stays for the next time, unless its digest is wrong.
    """
    target = folder / file.path.rpartition("/")[2]
    if target.is_file() and target.stat().st_size == file.size_bytes:
        report.checking()
        if _digest(target).hexdigest() == file.sha256:
            report.arrived(file.size_bytes, False)
            return target
    partial = partial_path(folder, file)
    with _telling_of_the_disk(folder), _alone(partial) as handle:
        kept = handle.seek(0, os.SEEK_END)
        digest = _resume(handle, file, open_at, report)
        if kept and digest != file.sha256:
            # What an earlier run left may be the damaged part: once more, all of it.
            handle.truncate(0)
            digest = _resume(handle, file, open_at, report)
        if digest != file.sha256:
            partial.unlink(missing_ok=True)
            raise HubError(
                f"What arrived as {target.name} is not what the hub describes: its SHA-256 differs. It was removed.",
                code="wrong_hash",
                fix="Pull again; if it stays so, the server or something on the way changes the file.",
            )
        os.fsync(handle.fileno())
        partial.replace(target)
    return target


def _resume(handle: BinaryIO, file: HubFile, open_at: OpenAt, report: ProgressReport) -> str:
    """Append what is missing; returns the SHA-256 of the whole."""
    have = handle.seek(0, os.SEEK_END)
    if have > file.size_bytes:
        have = 0
    if have:
        report.checking()
    digest = _start_over(handle, have)
    report.arrived(have, False)
    failures = 0
    while have < file.size_bytes:
        before = have
        try:
            with open_at(file.path, have) as answer:
                if answer.start != have:
                    have = before = answer.start
                    digest = _start_over(handle, have)
                    report.arrived(have, False)
                for chunk in answer.chunks():
                    have += len(chunk)
                    if have > file.size_bytes:
                        raise HubError(
                            f"The server sends more than the {file.size_bytes} bytes that the hub tells.",
                            code="wrong_hash",
                            fix="Pull again, or from another repository.",
                        )
                    _write(handle, chunk)
                    digest.update(chunk)
                    report.arrived(have, True)
            if have < file.size_bytes:
                raise BrokenTransferError("the server closed the connection early")
        except BrokenTransferError as broken:
            failures = 1 if have > before else failures + 1
            if failures >= ATTEMPTS:
                raise HubError(
                    f"The transfer broke off again and again ({broken.why}).",
                    code="transfer_broken",
                    fix="Pull again: what has arrived is kept, and the rest follows.",
                ) from None
            time.sleep(broken.retry_after_s)
    return digest.hexdigest()


def _start_over(handle: BinaryIO, have: int) -> hashlib._Hash:
    """Keep the first ``have`` bytes alone; returns their digest, to go on with."""
    handle.truncate(have)
    handle.seek(0)
    digest = hashlib.sha256()
    left = have
    while left and (chunk := handle.read(min(CHUNK_BYTES, left))):
        digest.update(chunk)
        left -= len(chunk)
    return digest


def _digest(path: Path) -> hashlib._Hash:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256")


@contextmanager
def _alone(partial: Path) -> Iterator[BinaryIO]:
    """The partial file, open and locked: two pulls of one file would write into each other."""
    descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "r+b", buffering=0) as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise HubError(
                "Another pull of this file is running.", code="pull_running", fix="Wait for it, or stop it."
            ) from None
        yield handle


def _write(handle: BinaryIO, data: bytes) -> None:
    """All of it: an unbuffered file may take less than it is given."""
    view = memoryview(data)
    while view:
        view = view[handle.write(view) :]


@contextmanager
def _telling_of_the_disk(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise disk_error(error, str(folder)) from None
