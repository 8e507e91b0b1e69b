"""Wherever it is started, a command works, or says in one clear line why not: no traceback, the right exit status."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import pty
import pwd
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import click
import pytest

from app.cli import cli, run
from app.config import Config, ConfigError
from app.control.server import serve_control
from app.home import MAX_PATH_BYTES, Home, HomeError
from app.streams import argument_text, line_of, read_text, text_of
from chain.errors import EXIT_USAGE, IdlewattError
from chain.file_systems import network_type
from chain.jsonrpc import JsonRpcServer
from chain.listening import listening_sockets
from node.api import NodeApi
from node.relay.server import RelayServer
from node.store.database import Database
from node.store.sqlite_errors import store_error
from node.store.store import Store
from tests.patience import PATIENCE_S
from wallet.files import write_new_private_file

NO_HUB = "http://127.0.0.1:9"
ASCII_ONLY = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
WORDS = {"channel_id": "1", "kind": "mnemonic", "model": "absent", "text": "absent"}
"""What a required argument gets."""
SERVICES = {("relay",): ("--port", "0"), ("devnet",): ("--l1-port", "0", "--l2-port", "0")}
"""They begin, and end at once: their standard input, a lifeline, has no other end."""


def leaves(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command there is, with what it must be given, but for options."""
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            below = command.get_command(click.Context(command), name)
            assert below is not None
            yield from leaves(below, (*path, name))
        return
    required = [p.name for p in command.params if isinstance(p, click.Argument) and p.required]
    options = [word for p in command.params if isinstance(p, click.Option) and p.required for word in (p.opts[0], "1")]
    yield (
        *path,
        *SERVICES.get(path, ()),
        *(["--with-parent"] if path in SERVICES else []),
        *(WORDS[name or ""] for name in required),
        *options,
    )


EVERY = tuple(leaves(cli))
NAMES = [" ".join(command) for command in EVERY]
NEED_A_HOME = [name for name in NAMES if name.split()[:2] not in (["doctor"], ["models", "search"])]
"""Those that can do nothing without one."""


def start(command: tuple[str, ...], home: Path, redirect: str = "", **environment: str | None) -> subprocess.Popen:
    """Begin a real command as a shell would, in an environment that holds nothing but what is given here."""
    given = {"PATH": os.environ["PATH"], "IDLEWATT_HOME": str(home), "HOME": str(home), **environment}
    return subprocess.Popen(
        ["/bin/sh", "-c", f'exec "$@" {redirect}', "sh", sys.executable, "-m", "app.cli", *command],
        env={name: value for name, value in given.items() if value is not None},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def ended(process: subprocess.Popen) -> tuple[int, bytes, bytes]:
    out, said = process.communicate(timeout=PATIENCE_S)
    assert b"Traceback" not in out + said
    assert b"Exception ignored" not in said
    assert b"unexpected" not in said
    return process.returncode, out, said


def commanded(
    command: tuple[str, ...], home: Path, redirect: str = "", **environment: str | None
) -> tuple[int, bytes, bytes]:
    return ended(start(command, home, redirect, **environment))


@pytest.mark.parametrize("name", NAMES)
def test_a_bare_environment_gets_an_answer(name: str, tmp_path: Path) -> None:
    """Latin-1 output, the C locale, no HOME, no TERM, no temporary folder, a closed standard input: each ended programs
    with a traceback (wordfence/wordfence-cli#232, pixelb/crudini#67, GoogleCloudPlatform/gsutil#1314)."""
    status, out, said = commanded(
        EVERY[NAMES.index(name)],
        tmp_path,
        "<&-",
        **ASCII_ONLY,
        PYTHONIOENCODING="iso8859-1:strict",
        HOME=None,
        XDG_DATA_HOME="relative",
        TMPDIR="/nonexistent",
        COLUMNS="0",
        HF_ENDPOINT=NO_HUB,
    )
    assert status in {0, 1, 2}
    lines = said.decode().splitlines()
    if status == 0:
        assert out
    elif status == 1 or not lines[0].startswith("Usage:"):
        assert len(lines) == 1 or name == "doctor", lines


@pytest.mark.parametrize(("typed", "meant"), [("modles", "models"), ("statsu", "status"), ("zzz", None)])
def test_a_command_that_was_mistyped_is_named(typed: str, meant: str | None, capfd: pytest.CaptureFixture[str]) -> None:
    """Below `idlewatt models` a typing error was answered by the word that was meant, below `idlewatt` it was not."""
    assert run([typed, "--json"]) == EXIT_USAGE
    said = capfd.readouterr().err
    assert f"No such command '{typed}'" in said
    assert ("Did you mean" in said) == (meant is not None)
    assert meant is None or f"Did you mean '{meant}'?" in said


@pytest.mark.parametrize("name", NEED_A_HOME)
def test_without_a_home_folder_every_command_says_so(
    name: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A container under a user id that no passwd entry names has no home folder (dbcli/mycli#1572)."""

    def nobody(_uid: int) -> object:
        raise KeyError("uid not found")

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.delenv("IDLEWATT_HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    status = run(EVERY[NAMES.index(name)])
    said = capfd.readouterr().err.splitlines()
    if status == 2:
        assert said[0].startswith(("Usage:", "idlewatt:"))
    else:
        assert status == 1
        assert len(said) == 1
        assert "HOME" in said[0]
        assert "--home" in said[0]


@pytest.mark.parametrize("folder", ["~nobody-of-that-name/idlewatt", "gone"])
def test_a_home_that_cannot_be_found_is_one_line(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A folder that was removed while a shell stood in it, and a user who isn't there, ended in a traceback."""
    gone = tmp_path / "gone"
    gone.mkdir()
    before = Path.cwd()
    monkeypatch.chdir(gone)
    gone.rmdir()
    try:
        assert run(["status", "--home", folder]) == 1
    finally:
        os.chdir(before)
    (said,) = capfd.readouterr().err.splitlines()
    assert ("user" if folder.startswith("~") else "started in") in said


@pytest.mark.parametrize("bytes_long", [450, 3_000])
def test_a_path_too_long_for_a_database_is_named_as_that(bytes_long: int, tmp_path: Path) -> None:
    """SQLite's paths end at 512 bytes: "unable to open database file", though everything could be written."""
    root = tmp_path
    while len(os.fsencode(root)) < bytes_long:
        root /= "d" * 100
    with pytest.raises(HomeError) as refused:
        Home(root).prepare()
    assert "too long" in refused.value.message
    assert len(refused.value.line()) < 200


def test_the_longest_home_takes_a_database(tmp_path: Path) -> None:
    """The same, from the other side."""
    root = tmp_path
    while (left := MAX_PATH_BYTES - len(os.fsencode(root))) > 1:
        root /= "d" * min(200, left - 1)
    home = Home(root).prepare()
    sqlite3.connect(home.devnet.parent / ("l2-" + "0" * 64 + ".db-wal")).execute(
        "CREATE TABLE word (id)"
    ).connection.close()


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (("--help",), 0),
        (("settings",), 0),
        (("models", "list"), 0),
        (("demo",), 2),
        (("relay", *SERVICES["relay",], "--with-parent"), 0),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_closed_streams_change_no_exit_status(command: tuple[str, ...] | str, status: int, tmp_path: Path) -> None:
    """A daemon's children have no standard streams; what opened next got their numbers, and a library's output
    (vectorize-io/hindsight#4580)."""
    assert commanded(tuple(command), tmp_path, "<&- >&- 2>&-")[0] == status


@pytest.mark.parametrize(
    ("command", "redirect"),
    [
        (("models", "list"), ">/dev/full"),
        (("--help",), ">/dev/full"),
        (("settings", "--json"), ">/dev/full"),
        (("models", "list"), ">/dev/full 2>/dev/full"),
    ],
)
def test_output_that_cannot_be_written_is_one_line_and_status_1(
    command: tuple[str, ...], redirect: str, tmp_path: Path
) -> None:
    """Python printed a second complaint at its end, and left with a status of its own, 120."""
    status, out, said = commanded(command, tmp_path, redirect)
    assert (status, out) == (1, b"")
    assert said.splitlines() == (
        [] if "2>" in redirect else [b"idlewatt: The disk is full. Free some space and try again."]
    )


def test_recovery_words_that_nobody_could_see_are_no_success(tmp_path: Path) -> None:
    """A secret that is shown once went to a stream that couldn't be written, and the command ended well."""
    status, out, _ = commanded(("wallet", "new"), tmp_path, "2>/dev/full", IDLEWATT_PASSPHRASE="correct horse")
    assert (status, out) == (1, b"")


def test_a_passphrase_opens_the_wallet_in_every_locale(tmp_path: Path) -> None:
    """Bytes of the environment became other letters in another locale: a wallet made there couldn't be opened here."""
    secret = {"IDLEWATT_PASSPHRASE": "pässwörd ✓"}
    status, _, said = commanded(("wallet", "new"), tmp_path, ">/dev/full", **ASCII_ONLY, **secret)
    assert status == 1
    assert len(said.splitlines()[2].split()) == 12, "the words are shown before anything else can fail"
    assert commanded(("wallet", "unlock"), tmp_path, LC_ALL="C.UTF-8", **secret)[0] == 0


def test_json_is_utf8_in_every_locale(tmp_path: Path) -> None:
    """Paths and names that the terminal's encoding lacks came out as question marks, in JSON too."""
    home = tmp_path / "данные-é"
    status, out, _ = commanded(("settings", "--json"), home, LC_ALL="C.UTF-8", PYTHONIOENCODING="iso8859-1:strict")
    assert status == 0
    assert json.loads(out.decode())["file"] == str(home / "config.toml")


def test_a_path_that_is_no_text_can_be_printed_as_json(tmp_path: Path) -> None:
    """A file name may hold any byte; JSON may not."""
    home = os.fsdecode(os.fsencode(tmp_path) + b"/\xe9\xff")
    status, out, said = commanded(("settings", "--json", "--home", home), tmp_path, LC_ALL="C.UTF-8")
    assert status == 0, said
    assert json.loads(out)["file"].endswith("??/config.toml")


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("سؤال\t👩‍👩‍👧\r\n".encode(), "سؤال\t👩‍👩‍👧\r\n"),
        (b"\xef\xbb\xbfword", "word"),
        (b"\xff\xfe" + "wörd".encode("utf-16-le"), "wörd"),
        (b"\xfe\xff" + "wörd".encode("utf-16-be"), "wörd"),
        (b"\xff\xfe\x00\x00" + "wörd".encode("utf-32-le"), "wörd"),
        (b"na\xefve", "naïve"),
        (b"", ""),
    ],
)
def test_piped_text_is_what_it_was_written_as(raw: bytes, text: str, tmp_path: Path) -> None:
    """PowerShell and Notepad write UTF-16 with a byte order mark; a locale made other letters of UTF-8."""
    (tmp_path / "piped").write_bytes(raw)
    with (tmp_path / "piped").open("rb") as file:
        assert read_text("The question", 100, file) == text


def test_piped_text_beyond_the_limit_is_refused_not_cut(tmp_path: Path) -> None:
    """A cut recovery phrase or key file is a wrong one."""
    (tmp_path / "piped").write_bytes(b"x" * 101)
    with (tmp_path / "piped").open("rb") as file, pytest.raises(IdlewattError) as refused:
        read_text("The secret", 100, file)
    assert "100 bytes" in refused.value.line()


def test_words_on_the_command_line_hold_no_half_characters() -> None:
    """An argument in another encoding reached a library as a surrogate that it couldn't encode."""
    assert argument_text(os.fsdecode("naïve ✓".encode())) == "naïve ✓"
    assert argument_text(os.fsdecode(b"na\xefve")) == "naïve"
    assert argument_text("half \ud83d") == "half ?"
    assert text_of(b"\xff").encode()


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "ulimit -n"),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "ulimit -u"),
        (RuntimeError("can't start new thread"), "ulimit -u"),
        (OSError(errno.EFBIG, "File too large"), "ulimit -f"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "disk"),
        (OSError(errno.EROFS, "Read-only file system"), "--home"),
        (MemoryError(), "memory"),
        (OSError(errno.EPERM, "Operation not permitted"), ""),
        (RuntimeError("anything else"), ""),
    ],
)
def test_a_limit_of_the_system_is_named(error: BaseException, word: str) -> None:
    """Limits of services and containers looked like faults of the program."""
    assert word in line_of(error)
    assert bool(word) == bool(line_of(error))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_settings_in_another_encoding_are_named_as_such(encoding: str, tmp_path: Path) -> None:
    """PowerShell's `>` writes UTF-16: the error spoke of an invalid statement in line 1."""
    path = tmp_path / "config.toml"
    path.write_bytes('model = "demo"\n'.encode(encoding))
    with pytest.raises(ConfigError) as refused:
        Config.load(path)
    assert "UTF-16" in refused.value.message
    assert "UTF-8" in refused.value.message


def test_settings_with_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    """Notepad saves UTF-8 with one."""
    path = tmp_path / "config.toml"
    path.write_bytes(b'\xef\xbb\xbfmodel = "demo"\r\n')
    assert Config.load(path).model == "demo"


@pytest.mark.parametrize("name", NEED_A_HOME)
def test_a_file_in_the_homes_place_is_one_line_for_every_command(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """HOME=/dev/null, as some services have it."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("IDLEWATT_HOME", str(tmp_path / "file" / "idlewatt"))
    status = run(EVERY[NAMES.index(name)])
    said = capfd.readouterr().err.splitlines()
    if status == 2:
        assert said[0].startswith(("Usage:", "idlewatt:"))
    else:
        assert status == 1
        assert len(said) == 1
        assert "Not a directory" in said[0]


def test_a_check_of_the_machine_goes_on_past_a_home_that_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The one command that is run when nothing works ended at the first thing that didn't."""
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    assert run(["doctor", "--home", str(tmp_path / "file" / "idlewatt")]) == 1
    told = capfd.readouterr()
    assert told.err == ""
    assert "FAIL  home:" in told.out
    assert "FAIL  llama.cpp:" in told.out
    assert "clock:" in told.out


async def reached(host: str, port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    return True


def has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):
        return True
    return False


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


@needs_ipv6
@pytest.mark.parametrize("host", ["::", ""])
async def test_a_relay_on_all_addresses_is_reached_over_both_families(host: str) -> None:
    """`::` took IPv6 alone (ollama/ollama#3300, BerriAI/litellm#9563)."""
    async with RelayServer(host, 0) as server:
        assert await reached("127.0.0.1", server.port)
        assert await reached("::1", server.port)


@needs_ipv6
async def test_a_chain_on_all_addresses_is_reached_over_both_families() -> None:
    """The same kind, at the devnet's servers."""

    async def answer(_method: str, _params: object) -> object:
        return None

    async with JsonRpcServer(answer) as server:
        await server.start("::", 0)
        port = int(server.url.rpartition(":")[2])
        assert await reached("127.0.0.1", port)
        assert await reached("::1", port)


async def test_a_name_with_several_addresses_is_listened_to_on_one_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where any port would do, each address got one of its own, and only the first was told."""
    loop = asyncio.get_running_loop()

    async def two(*_args: object, **_options: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in ("127.0.0.1", "127.0.0.2")]

    monkeypatch.setattr(loop, "getaddrinfo", two)
    sockets = await listening_sockets("localhost", 0)
    try:
        assert [opened.getsockname()[0] for opened in sockets] == ["127.0.0.1", "127.0.0.2"]
        assert len({opened.getsockname()[1] for opened in sockets}) == 1
    finally:
        for opened in sockets:
            opened.close()


@pytest.mark.parametrize("host", ["203.0.113.7", "no-such-host.invalid", "x" * 300, "a..b"])
async def test_an_address_to_listen_on_that_is_not_ours_is_blamed_not_the_port(host: str) -> None:
    """Every failure to listen was called a port in use."""
    with pytest.raises(IdlewattError) as refused:
        await listening_sockets(host, 0)
    assert refused.value.code == "cannot_listen"
    assert "--host" in refused.value.fix


def test_the_home_of_a_relative_variable_does_not_depend_on_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative HOME or XDG_DATA_HOME made a new home, without the wallet, in every folder."""
    monkeypatch.delenv("IDLEWATT_HOME", raising=False)
    for name, value in (("XDG_DATA_HOME", "relative"), ("HOME", "relative"), ("HOME", "")):
        with monkeypatch.context() as patched:
            patched.setenv(name, value)
            found = set()
            for folder in ("one", "two"):
                (tmp_path / folder).mkdir(exist_ok=True)
                patched.chdir(tmp_path / folder)
                with contextlib.suppress(HomeError):
                    found.add(Home.resolve(None).root)
            assert len(found) <= 1
            assert all(not root.is_relative_to(tmp_path) for root in found)


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


@pytest.mark.parametrize(
    "command", [("models", "list"), ("models", "fit", "absent"), ("models", "inspect", "~nobody-of-that-name/x.gguf")]
)
def test_models_are_found_where_nobody_has_a_home_folder(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Other programs' folders stand below the user's; a container's user has none (dbcli/mycli#1572)."""

    def nobody(_uid: int) -> object:
        raise KeyError("uid not found")

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    monkeypatch.setenv("IDLEWATT_HOME", str(tmp_path))
    (tmp_path / "config.toml").write_text('model_folders = ["~nobody-of-that-name/models"]\n')
    assert run(command) == (0 if command == ("models", "list") else 2)
    assert len(capfd.readouterr().err.splitlines()) == (command != ("models", "list"))


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


def test_settings_in_variables_are_the_same_text_in_every_locale(tmp_path: Path) -> None:
    """In the C locale a name with an accent "was not UTF-8"."""
    status, out, said = commanded(("settings", "--json"), tmp_path, **ASCII_ONLY, IDLEWATT_MODEL="Modèle-7B ✓")
    assert status == 0, said
    assert {row["name"]: row["value"] for row in json.loads(out)["settings"]}["model"] == "Modèle-7B ✓"
