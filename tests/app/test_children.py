"""Children never outlive us, however we end."""

import asyncio
import subprocess
import sys

import psutil
import pytest

from app.children import ChildError, child
from tests.patience import PATIENCE_S

PARENT = """
import asyncio, sys
from pathlib import Path
from app.children import child

async def main():
    log = Path(sys.argv[1])
    arguments = ["relay", "--home", sys.argv[1] + "/relay", "--port", "0"]
    async with child("relay", arguments, log_path=log / "relay.log") as relay:
        print(relay.process.pid, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_a_child_is_ready_before_we_go_on_and_gone_after_we_are_done(tmp_path):
    arguments = ["relay", "--home", str(tmp_path / "relay"), "--port", "0"]
    async with child("relay", arguments, log_path=tmp_path / "relay.log") as relay:
        assert str(relay.ready["relay"]).startswith("ws://127.0.0.1:")
        process = psutil.Process(relay.process.pid)
    assert not process.is_running()


async def test_a_child_that_does_not_start_says_why(tmp_path):
    arguments = ["relay", "--home", str(tmp_path / "relay"), "--port", "0"]
    async with child("relay", arguments, log_path=tmp_path / "relay.log"):
        with pytest.raises(ChildError, match="already running"):
            async with child("relay", arguments, log_path=tmp_path / "second.log"):
                pass


async def test_a_child_that_ends_by_itself_is_noticed(tmp_path):
    arguments = ["relay", "--home", str(tmp_path / "relay"), "--port", "0"]
    async with child("relay", arguments, log_path=tmp_path / "relay.log") as relay:
        relay.process.kill()
        error = await asyncio.wait_for(relay.ended(), PATIENCE_S)
    assert "ended unexpectedly" in error.message


def test_killing_the_parent_outright_ends_the_child(tmp_path):
    with subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE, text=True) as parent:
        process = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    process.wait(timeout=PATIENCE_S)
