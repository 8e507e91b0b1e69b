"""Wherever it is started, a command works, or says in one clear line why not: no traceback, the right exit status."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pwd
import socket
import sqlite3
import sys
from pathlib import Path

import pytest

from app.cli import run
from app.config import Config, ConfigError
from app.home import MAX_PATH_BYTES, Home, HomeError
from chain.errors import EXIT_USAGE, IdlewattError
from chain.jsonrpc import JsonRpcServer
from chain.listening import listening_sockets
from node.relay.server import RelayServer
from tests.harvest.commands import ASCII_ONLY, EVERY, NAMES, NEED_A_HOME, NO_HUB, commanded


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


def test_settings_in_variables_are_the_same_text_in_every_locale(tmp_path: Path) -> None:
    """In the C locale a name with an accent "was not UTF-8"."""
    status, out, said = commanded(("settings", "--json"), tmp_path, **ASCII_ONLY, IDLEWATT_MODEL="Modèle-7B ✓")
    assert status == 0, said
    assert {row["name"]: row["value"] for row in json.loads(out)["settings"]}["model"] == "Modèle-7B ✓"
