"""A node whose machine is wanted: it stops renting out, its engine is gone, and it comes back by itself."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from node.hardware.rules import AvailabilityRules
from node.local.limits import NodeLimits
from node.local.node import LocalNode
from node.machine.timing import MachineTiming
from node.provider.limits import ProviderLimits
from node.values import ChatDelta, ChatDone, Phase
from tests.node.conftest import PASSPHRASE, RunNode
from tests.node.helpers import ask, turn, until
from tests.patience import PATIENCE_S

WANTED = f"game{os.getpid()}"
"""Other test processes pause for a program of their own: processes are seen by all of the machine."""


def workers() -> set[int]:
    """The engine processes of this process."""
    found = set()
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "node.engine.worker" in child.cmdline():
                found.add(child.pid)
    return found


@contextlib.contextmanager
def program(tmp_path: Path, name: str = WANTED):
    """A real process of that name."""
    path = tmp_path / name
    path.unlink(missing_ok=True)
    path.symlink_to("/bin/sleep")
    # Not a child of ours: what this node starts is not somebody else's.
    script = f"setsid {path} 3600 >/dev/null 2>&1 & echo $!"
    started = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    process = psutil.Process(int(started.stdout))
    try:
        yield
    finally:
        process.kill()
        psutil.wait_procs([process], timeout=PATIENCE_S)


@pytest.fixture
def limits() -> NodeLimits:
    """Nodes that look often, and let a slow machine finish its answers."""
    machine = MachineTiming(devices_s=0.2, rules_s=0.1)
    return NodeLimits(machine=machine, provider=ProviderLimits(drain_s=PATIENCE_S))


@pytest.fixture
async def seller(run_node: RunNode, relay, devnet) -> AsyncIterator[LocalNode]:
    rules = AvailabilityRules(pause_for=(WANTED,), resume_after_s=0.0)
    async with run_node("seller", relay=relay.url, chain=devnet.l2_url, availability=rules) as node:
        await node.create_wallet("main", PASSPHRASE)
        yield node


@pytest.fixture
async def buyer(run_node: RunNode, relay, devnet) -> AsyncIterator[LocalNode]:
    async with run_node("buyer", relay=relay.url, chain=devnet.l2_url) as node:
        await node.create_wallet("main", PASSPHRASE)
        await node.faucet("main")
        yield node


async def test_a_program_that_wants_the_machine_gets_it_after_the_answer_and_gives_it_back(seller, buyer, tmp_path):
    await seller.go_online()
    before = [psutil.Process(pid) for pid in workers()]
    assert before
    assert len(await buyer.market()) == 1

    with contextlib.ExitStack() as game:
        events = []
        async with buyer.chat(turn("tell me a long story", max_tokens=200)) as stream:
            async for event in stream:
                events.append(event)
                if len([one for one in events if isinstance(one, ChatDelta)]) == 1 and isinstance(event, ChatDelta):
                    game.enter_context(program(tmp_path))
                    await until(seller, lambda snapshot: snapshot.phase is Phase.PAUSED)
        # What was being answered is answered to its end, and paid.
        assert isinstance(events[-1], ChatDone), events[-1]

        _gone, alive = await asyncio.to_thread(psutil.wait_procs, before, timeout=PATIENCE_S)
        assert not alive
        snapshot = seller.snapshot()
        assert snapshot.phase is Phase.PAUSED
        assert WANTED in snapshot.why
        assert "--always-available" in snapshot.fix
        assert (snapshot.pause.kind, snapshot.provider.free_slots) == ("program", 0)
        await until(seller, lambda _: not seller._provider.offers.published)
        await _offers(buyer, 0)

    await until(seller, lambda snapshot: snapshot.phase is Phase.IDLE)
    assert seller.snapshot().pause is None
    assert workers()
    await _offers(buyer, 1)
    assert isinstance((await ask(buyer, turn()))[-1], ChatDone)


async def _offers(buyer: LocalNode, count: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while len(await buyer.market()) != count:
            buyer._buyer.offer_reader.forget()
            await asyncio.sleep(0.05)


async def test_a_machine_that_is_wanted_already_loads_nothing_until_it_is_free(seller, tmp_path):
    with program(tmp_path):
        await until(seller, lambda snapshot: snapshot.pause is not None)
        await seller.go_online()
        assert seller.snapshot().phase is Phase.PAUSED
        assert not workers()
    await until(seller, lambda snapshot: snapshot.phase is Phase.IDLE)
    assert workers()


async def test_going_offline_while_paused_ends_it(seller, tmp_path):
    await seller.go_online()
    with program(tmp_path):
        await until(seller, lambda snapshot: snapshot.phase is Phase.PAUSED)
        await seller.go_offline()
        assert seller.snapshot().phase is Phase.OFF
    await until(seller, lambda snapshot: snapshot.pause is None)
    assert seller.snapshot().phase is Phase.OFF
    assert not workers()


async def test_a_model_that_is_gone_when_the_machine_is_free_again_is_told_of(seller, tmp_path):
    await seller.go_online()
    with program(tmp_path):
        await until(seller, lambda snapshot: snapshot.phase is Phase.PAUSED)
        await until(seller, lambda _: not workers())
        (tmp_path / "seller" / "models" / "tiny.gguf").unlink()
    await until(seller, lambda snapshot: snapshot.phase is Phase.DEGRADED)
    assert "tiny" in seller.snapshot().why
