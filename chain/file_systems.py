"""Folders that may not be what they seem: of a network, whose file system shares no memory, or of nobody."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from typing import Final

MOUNTS: Final = Path("/proc/self/mountinfo")
NETWORK: Final = frozenset(
    {
        "9p", "afs", "beegfs", "ceph", "cifs", "fuse.glusterfs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs", "gpfs",
        "lustre", "nfs", "nfs4", "ocfs2", "smb3", "smbfs", "virtiofs", "vboxsf",
    }
)  # fmt: skip
"""Where another machine may have the same file open."""
NO_LINKS: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV})
"""What a file system says that has no hard links, as FAT and some of a network have none."""
_ESCAPED: Final = re.compile(r"\\([0-7]{3})")


def expanded(path: str | os.PathLike[str]) -> Path:
    """A path with its ``~`` resolved; as it is where the system knows no such user, or no home folder of this one."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def network_type(path: Path, mounts: Path = MOUNTS) -> str:
    """The type of the network's file system that holds a path, such as ``nfs4``; empty for a disk of this machine.

    Empty as well where the system doesn't tell, as outside Linux (see proc_pid_mountinfo(5)).

    Args:
        path: It may be missing: then its nearest parent counts.
        mounts: What is mounted where.
    """
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        place = Path(os.path.realpath(path))
    except OSError:
        return ""
    found = (-1, "")
    for line in lines:
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) < 5 or not after:
            continue
        point = Path(_ESCAPED.sub(lambda code: chr(int(code[1], 8)), fields[4]))
        # A later mount on the same point hides the earlier one.
        if place.is_relative_to(point) and len(point.parts) >= found[0]:
            found = (len(point.parts), after.split(" ", 1)[0])
    return found[1] if found[1] in NETWORK else ""


def sqlite_locking(path: Path, mounts: Path = MOUNTS) -> str:
    """SQLite's ``locking_mode`` for a database that only one process opens at a time.

    A write-ahead log needs memory that every process shares, which a network's file system lacks. In exclusive mode it
    does without (https://www.sqlite.org/wal.html, "Use of WAL Without Shared-Memory").
    """
    return "EXCLUSIVE" if network_type(path, mounts) else "NORMAL"
