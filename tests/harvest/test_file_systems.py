"""A home on a network's disk, or on one without locks, links or sockets, works or is refused in one line."""

from __future__ import annotations

import errno
import os
import pty
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import cast

import pytest

from app.control.server import serve_control
from app.home import Home, HomeError
from chain.errors import IdlewattError
from chain.file_systems import network_type
from node.api import NodeApi
from node.store.database import Database
from node.store.sqlite_errors import store_error
from node.store.store import Store
from tests.patience import PATIENCE_S
from wallet.files import write_new_private_file

MOUNTED = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
40 22 0:40 / /home rw,relatime - nfs4 server:/export/home rw,vers=4.2
41 40 8:2 / /home/ann/scratch rw - ext4 /dev/sdb1 rw
42 22 0:42 / /mnt/two\\040words rw - cifs //server/share rw
43 22 0:43 / /over rw - nfs server:/old rw
44 43 8:3 / /over rw - xfs /dev/sdc1 rw
garbage
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/root/idlewatt", ""),
        ("/home/ann/.local/share/idlewatt", "nfs4"),
        ("/home/ann/scratch/idlewatt", ""),
        ("/homeless", ""),
        ("/mnt/two words/idlewatt", "cifs"),
        ("/over/idlewatt", ""),
    ],
)
def test_a_home_on_a_networks_disk_is_known_as_one(path: str, kind: str, tmp_path: Path) -> None:
    """Homes on clusters are on NFS, where SQLite's log and locks behave otherwise (charmbracelet/crush#3461)."""
    (tmp_path / "mountinfo").write_text(MOUNTED)
    assert network_type(Path(path), tmp_path / "mountinfo") == kind
    assert network_type(Path(path), tmp_path / "missing") == ""


async def test_a_database_on_a_networks_disk_shares_no_memory(tmp_path: Path) -> None:
    """A write-ahead log maps a file that every process shares: on NFS it was refused, or worse (Sonarr/Sonarr#2797)."""
    (tmp_path / "mountinfo").write_text("22 1 0:1 / / rw - nfs4 server:/ rw\n")
    file, beside = tmp_path / "node.db", tmp_path / "node.db-shm"

    async def remembered(**options: Path) -> str:
        database = await Database.open(file, **options)
        try:
            ((before,),) = await database.rows("SELECT count(*) FROM settings")
            await database.write_statement("INSERT INTO settings VALUES (?, ?)", (f"word {before}", "kept"))
            assert beside.exists() is not bool(options)
        finally:
            await database.close()
        return before

    assert await remembered() == 0
    assert await remembered(mounts=tmp_path / "mountinfo") == 1
    assert await remembered() == 2


def test_a_home_whose_disk_has_no_locks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NFS without its lock service answers "No locks available"; two nodes on one home could spend money twice."""

    def no_locks(_descriptor: int, _operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)
    with pytest.raises(HomeError) as refused, Home(tmp_path).prepare().locked():
        pass
    assert refused.value.code == "home_unusable"
    assert "No locks available" in refused.value.message


@pytest.mark.parametrize("code", [sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_IOERR_LOCK, sqlite3.SQLITE_IOERR_SHMMAP])
def test_a_database_that_cannot_be_locked_blames_the_file_system(code: int) -> None:
    """ "locking protocol (15)" and "disk I/O error" sent people to look for a broken disk
    (charmbracelet/crush#3461)."""
    error = sqlite3.OperationalError("locking protocol")
    error.sqlite_errorcode = code
    said = store_error(error, Path("/home/ann/node.db")).line()
    assert "lock" in said
    assert "/home/ann/node.db" in said


async def test_a_disk_without_hard_links_keeps_keys_and_a_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FAT, some FUSE and some network file systems have no hard links: "Operation not permitted"."""

    def no_links(*_paths: object, **_options: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    write_new_private_file(tmp_path / "key", b"secret")
    assert (tmp_path / "key").read_bytes() == b"secret"
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        write_new_private_file(tmp_path / "key", b"other")
    assert (tmp_path / "key").read_bytes() == b"secret"
    async with await Store.open(tmp_path / "node.db") as store:
        await store.save_setting("word", "kept")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["key", "node.db"]


@pytest.mark.parametrize(
    ("redirect", "environment", "word"),
    [("</dev/null", {}, "input"), ("2>/dev/null", {}, ""), ("", {"TERM": "dumb"}, "dumb")],
)
def test_the_app_is_not_drawn_where_it_cannot_be_used(
    redirect: str, environment: dict[str, str], word: str, tmp_path: Path
) -> None:
    """`app 2>log` left a blank screen and drew into the log; without keys it could only be killed from outside."""
    main, side = pty.openpty()
    try:
        process = subprocess.Popen(
            ["/bin/sh", "-c", f'exec "$@" {redirect}', "sh", sys.executable, "-m", "app.cli", "--home", str(tmp_path)],
            env={"PATH": os.environ["PATH"], "TERM": "xterm", **environment},
            stdin=side,
            stdout=side,
            stderr=side,
            start_new_session=True,
        )
        os.close(side)
        assert process.wait(PATIENCE_S) == 2
        try:
            said = os.read(main, 65_536).decode()
        except OSError:  # nothing was said, and nobody is there to say it
            said = ""
    finally:
        os.close(main)
    assert len(said.splitlines()) == bool(word)
    assert word in said


async def test_a_disk_that_holds_no_sockets_is_one_line(tmp_path: Path) -> None:
    """FAT and some network file systems have no sockets; a deep TMPDIR makes a path too long for one."""
    deep = tmp_path / ("d" * 100) / "node.sock"
    with pytest.raises(IdlewattError) as refused:
        async with serve_control(cast("NodeApi", None), deep):
            pass
    assert refused.value.code == "home_unusable"
    assert str(deep) in refused.value.message


def test_a_deep_home_without_a_temporary_folder_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unix sockets' paths end at 107 bytes; the place for longer homes may be missing too."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    home = Home(tmp_path / ("d" * 100)).prepare()
    with pytest.raises(HomeError) as refused:
        _ = home.control_socket
    assert "TMPDIR" in refused.value.fix
