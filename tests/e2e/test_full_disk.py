"""A disk that is full, or fills up, and a model larger than memory: one clear line each, and no money is lost."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import psutil
import pytest

from tests.e2e.conftest import Commands
from tests.e2e.test_separate_processes import nano, place
from tests.node.engine.tiny import CHATML, vocabulary, write_tiny
from tests.patience import PATIENCE_S

pytestmark = pytest.mark.e2e

QUESTION = "What is 17 + 25?"
DISK_BYTES = 16 * 1024 * 1024
ENTER = ("nsenter", "--user", "--mount", "--preserve-credentials")


@dataclass
class SmallDisk:
    """A file system of a few megabytes, seen only by commands with its ``prefix``: no rights are needed for it."""

    folder: Path
    prefix: tuple[str, ...]

    def inside(self, *argv: str) -> None:
        subprocess.run([*self.prefix, *argv], check=True, capture_output=True, timeout=PATIENCE_S)

    def fill(self) -> None:
        """Write until nothing fits any more."""
        program = (
            "import os, sys\n"
            "with open(sys.argv[1], 'wb', buffering=0) as file:\n"
            "    try:\n"
            "        for size in (65536, 4096, 1):\n"
            "            try:\n"
            "                while True: file.write(bytes(size))\n"
            "            except OSError: pass\n"
            "    finally: os.fsync(file.fileno())\n"
        )
        self.inside(sys.executable, "-c", program, str(self.folder / "filler"))

    def free(self) -> None:
        self.inside("rm", str(self.folder / "filler"))


@pytest.fixture
def small_disk(tmp_path) -> Iterator[SmallDisk]:
    folder = tmp_path / "small"
    folder.mkdir()
    mount = f"mount -t tmpfs -o size={DISK_BYTES} tmpfs '{folder}' && echo ready && exec cat"
    with subprocess.Popen(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as holder:
        try:
            if holder.stdout.readline() != "ready\n":
                pytest.skip("this system lets nobody but root make a small file system")
            # A working folder is inherited as it was outside, so it is entered again.
            within = ("sh", "-c", 'cd "$0" && exec "$@"', str(tmp_path))
            yield SmallDisk(folder, (*ENTER, "--target", str(holder.pid), *within))
        finally:
            holder.kill()


@pytest.fixture
def elsewhere(commands, small_disk) -> Commands:
    """Commands that see the small disk; their marks are found by the same sweep."""
    return Commands(commands.folder, small_disk.prefix, commands.mark, commands.services)


@pytest.fixture
def market(commands):
    """A chain, a relay and a seller on a disk with room."""
    commands.urls = commands.start("devnet", "--home", "iw/net", "--l1-port", "0", "--l2-port", "0")
    relay = commands.start("relay", "--home", "iw/relay", "--port", "0")["relay"]
    commands.reach = ["--relay", relay, "--chain", commands.urls["l2"]]
    return commands


def test_no_command_begins_on_a_full_disk(market, elsewhere, small_disk):
    elsewhere.run("wallet", "new", "--home", "small/home")
    small_disk.fill()
    for command in (
        ["serve", "--home", "small/home", *market.reach],
        ["chat", "--home", "small/home", *market.reach, QUESTION],
        ["wallet", "new", "--home", "small/another"],
        ["devnet", "--home", "small/net", "--l1-port", "0", "--l2-port", "0"],
        ["relay", "--home", "small/relay", "--port", "0"],
    ):
        said = elsewhere.refusal(*command)
        assert said.startswith("idlewatt: "), command
        assert "full" in said, command


def test_a_buyer_whose_disk_fills_up_in_an_answer_owes_what_it_wrote_down(market, elsewhere, small_disk):
    (market.folder / "iw" / "seller" / "models").mkdir(parents=True)
    write_tiny(market.folder / "iw" / "seller" / "models" / "talker.gguf", context=16_384, width=256, layers=4)
    market.run("wallet", "new", "--home", "iw/seller")
    rent = ["--model", "talker", "--context-length", "16384", "--slots", "1"]
    market.start("serve", "--home", "iw/seller", *market.reach, *rent)
    elsewhere.run("wallet", "new", "--home", "small/home")
    elsewhere.run("wallet", "faucet", "--home", "small/home", "--chain", market.urls["l2"])

    chat = elsewhere.begin("chat", "--home", "small/home", *market.reach, "--max-tokens", "12000", "Go on.")
    assert chat.stdout.read1(4096), chat.stderr.read()
    small_disk.fill()
    _said, told = chat.communicate(timeout=PATIENCE_S)

    assert chat.returncode == 1
    last = told.decode().splitlines()[-1]
    assert last.startswith("idlewatt: ")
    assert "full" in last
    assert "Traceback" not in told.decode()
    small_disk.free()
    (signed,) = elsewhere.facts("channels", "--home", "small/home", "list")["channels"]
    (held,) = market.facts("channels", "--home", "iw/seller", "list")["channels"]
    assert 0 < nano(held["spent_nano"]) <= nano(signed["spent_nano"])
    again = elsewhere.facts("chat", "--home", "small/home", *market.reach, "--max-tokens", "8", "Go on.")["done"]
    (paid,) = elsewhere.facts("channels", "--home", "small/home", "list")["channels"]
    assert nano(paid["spent_nano"]) == nano(signed["spent_nano"]) + nano(again["cost_nano"])


def test_a_seller_whose_disk_is_full_takes_no_more_work_than_it_can_write_down(market, elsewhere, small_disk):
    elsewhere.run("wallet", "new", "--home", "small/seller")
    elsewhere.start("serve", "--home", "small/seller", *market.reach)
    market.run("wallet", "new", "--home", "iw/buyer")
    market.run("wallet", "faucet", "--home", "iw/buyer", "--chain", market.urls["l2"])
    ask = ["chat", "--home", "iw/buyer", *market.reach, QUESTION]
    before = nano(market.facts(*ask)["done"]["cost_nano"])

    small_disk.fill()
    before += paid_until_refused(market, ask)
    small_disk.free()
    after = nano(market.facts(*ask)["done"]["cost_nano"])
    signed = market.facts("channels", "--home", "iw/buyer", "list")["channels"]
    held = elsewhere.facts("channels", "--home", "small/seller", "list")["channels"]
    spent = sum(nano(channel["spent_nano"]) for channel in signed)
    assert spent >= before + after
    assert sum(nano(channel["spent_nano"]) for channel in held) == spent
    for channel in held:
        elsewhere.run("channels", "redeem", "--home", "small/seller", str(channel["channel_id"]))
    shown = elsewhere.facts("wallet", "show", "--home", "small/seller", "--chain", market.urls["l2"])
    assert place(shown, "wallet") == spent
    assert "Traceback" not in (market.folder / "serve.err").read_text()


def paid_until_refused(market: Commands, ask: list[str]) -> int:
    """Ask until the disk's last reserve (SQLite writes over old pages first) is used up; returns what was paid."""
    paid_nano = 0
    for _ in range(20):
        asked = market.begin(*ask, "--json")
        answer, told = asked.communicate(timeout=PATIENCE_S)
        assert b"Traceback" not in told
        if asked.returncode:
            assert asked.returncode == 1
            assert told.decode().splitlines()[-1].startswith("idlewatt: ")
            return paid_nano
        paid_nano += nano(json.loads(answer)["done"]["cost_nano"])
    raise AssertionError("a full disk took everything")


def test_a_model_larger_than_memory_is_refused_before_it_is_read(market):
    path = market.folder / "huge.gguf"
    tensor_bytes = write_huge(path)
    market.run("wallet", "new", "--home", "iw/seller")
    said = market.refusal("serve", "--home", "iw/seller", *market.reach, "--model", str(path))
    assert "memory" in said
    assert f"{tensor_bytes / 1024**3:.1f} GiB" in said
    assert path.stat().st_blocks * 512 < 1024**2


def write_huge(path: Path) -> int:
    """A sparse file twice as large as this machine's memory whose header is honest; returns its tensors' bytes."""
    width = 4096
    rows = 2 * psutil.virtual_memory().total // (4 * width)
    tokens, merges = vocabulary()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("Huge test model")
    writer.add_context_length(512)
    writer.add_embedding_length(width)
    writer.add_block_count(1)
    writer.add_feed_forward_length(rows)
    writer.add_head_count(32)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_merges(merges)
    writer.add_chat_template(CHATML)
    writer.add_tensor_info("blk.0.ffn_gate.weight", (rows, width), np.dtype(np.float32), rows * width * 4)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    header_bytes = path.stat().st_size
    os.truncate(path, header_bytes + rows * width * 4 + 1024)
    return rows * width * 4
