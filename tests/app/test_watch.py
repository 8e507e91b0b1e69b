"""``idlewatt watch`` and ``idlewatt devnet --villain``: exit statuses, lines, and what they refuse."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from app.cli import run
from chain.villains import VILLAINS
from tests.patience import PATIENCE_S
from tests.villains.arena import arena, transfer
from tests.villains.fixtures import template

__all__ = ["template"]

ROLLUP = "0x" + "12" * 20
Serve = Callable[[str | None], list[str]]


@pytest.fixture
def serve(template: Path, tmp_path: Path) -> Iterator[Serve]:
    """Serves an L1, with a villain's lie on it if one is named, from a thread; returns the options that lead there."""
    with ExitStack() as stack:

        def start(villain: str | None) -> list[str]:
            return stack.enter_context(_served(template, tmp_path / "l1", villain))

        yield start


@contextmanager
def _served(template: Path, folder: Path, villain: str | None) -> Iterator[list[str]]:
    options: list[str] = []
    loop, stop, is_up = asyncio.new_event_loop(), asyncio.Event(), threading.Event()

    async def main() -> None:
        async with arena(template, folder, VILLAINS[villain] if villain else None) as where:
            await where.sequencer.post(transfer(where.sequencer.state, where.deployment))
            options.extend(["--l1", where.server.url, "--rollup", "0x" + where.deployment.rollup_address.hex()])
            is_up.set()
            await stop.wait()

    def work() -> None:
        try:
            loop.run_until_complete(main())
        finally:
            is_up.set()
            loop.close()

    thread = threading.Thread(target=work)
    thread.start()
    assert is_up.wait(PATIENCE_S)
    try:
        yield options
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(PATIENCE_S)


def test_a_right_rollup_checks_out_from_l1_alone(serve: Serve, tmp_path, capsys):
    assert run(["watch", "--home", str(tmp_path / "home"), "--once", *serve(None)]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Watching 0x")
    assert [line.split()[2] for line in lines[1:]] == ["verified"] * 4


def test_a_snapshot_that_is_none_costs_one_line_and_everything_is_replayed(serve: Serve, tmp_path, capsys):
    (tmp_path / "file").write_bytes(b"<html>")
    options = ["--once", "--snapshot", str(tmp_path / "file"), *serve(None)]

    assert run(["watch", "--home", str(tmp_path / "home"), *options]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert "Not from the snapshot, but from the first batch on. This is no snapshot." in lines[0]
    assert [line.split()[2] for line in lines[2:]] == ["verified"] * 4


def test_a_wrong_batch_is_told_as_json_lines_and_fails_the_check(serve: Serve, tmp_path, capsys):
    assert run(["watch", "--home", str(tmp_path / "home"), "--once", "--json", *serve("mint")]) == 1

    shown = capsys.readouterr()
    found = json.loads(shown.out.splitlines()[-1])
    assert (found["kind"], found["dispute"]["batch_id"], found["dispute"]["code"]) == ("found", 3, 8)
    assert "Batch 3 is wrong at frame" in shown.err


def test_proving_needs_a_wallet_and_ether(serve: Serve, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("IDLEWATT_PASSPHRASE", "words")
    home, options = str(tmp_path / "home"), serve("mint")
    assert run(["watch", "--home", home, "--prove", *options]) == 1
    assert "no wallet yet" in capsys.readouterr().err

    assert run(["wallet", "new", "--home", home]) == 0
    assert run(["watch", "--home", home, "--prove", *options]) == 1

    assert "holds 0.000000 ether on this L1" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--l1", "http://127.0.0.1:1"],
        ["--l1", "localhost", "--rollup", ROLLUP],
        ["--l1", "http://127.0.0.1:1", "--rollup", "0x12"],
        ["--freeze"],
        ["--once", "--prove"],
        ["--l1", "http://127.0.0.1:1", "--rollup", ROLLUP, "--snapshot", "file", "--no-snapshot"],
    ],
)
def test_what_can_not_be_watched_is_wrong_usage(options, tmp_path):
    assert run(["watch", "--home", str(tmp_path), *options]) == 2


def test_an_l1_that_is_not_there_is_one_line(tmp_path, capsys):
    options = ["--l1", "http://127.0.0.1:1", "--rollup", ROLLUP]

    assert run(["watch", "--home", str(tmp_path), *options]) == 1

    assert "The L1 can't be reached" in capsys.readouterr().err


def test_a_snapshot_for_a_new_devnet_is_wrong_usage(tmp_path, capsys):
    assert run(["devnet", "--home", str(tmp_path), "--snapshot", "file"]) == 2
    assert "--rollup" in capsys.readouterr().err


def test_an_unknown_villain_is_wrong_usage(tmp_path, capsys):
    assert run(["devnet", "--home", str(tmp_path), "--villain", "nobody"]) == 2
    assert "bad-signature" in capsys.readouterr().err
