"""kill -9 at any moment: nothing acknowledged is lost, nothing is posted twice. Real processes, a real EVM as L1."""

import asyncio
import random
import sys
from pathlib import Path

import msgspec
import pytest

from chain.sequencer import Sequencer
from chain.txs import CreateAccount, tx_id
from tests.chain.sequencer.killable import CONFIG
from tests.chain.sequencer.real_l1 import FUNDS_NANO, deposit, real_l1, transactions_on_l1
from tests.chain.support import owner, rebuild_state
from tests.patience import PATIENCE_S

ROOT = Path(__file__).parents[3]


@pytest.fixture
async def rollup(tmp_path):
    async with real_l1(tmp_path) as served:
        yield served


async def run_and_kill(arguments: list[str], at_least: int) -> list[str]:
    """Run a sequencer until it acknowledged some transactions and then a moment longer; returns all it acknowledged."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.chain.sequencer.killable", *arguments, stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    assert process.stdout is not None
    lines: list[bytes] = []
    try:
        async with asyncio.timeout(PATIENCE_S):
            while len(lines) < at_least:
                line = await process.stdout.readline()
                assert line, "the sequencer ended by itself"
                lines.append(line)
    finally:
        process.kill()
        rest = await process.stdout.read()
        await process.wait()
    lines += [line for line in rest.splitlines(keepends=True) if line.endswith(b"\n")]
    return [line.decode().strip() for line in lines]


async def test_a_killed_sequencer_loses_nothing_acknowledged_and_posts_nothing_twice(rollup, tmp_path):
    server, deployment, l1 = rollup
    database = tmp_path / "l2.db"
    async with Sequencer(l1, database, config=CONFIG) as sequencer:
        assert await sequencer.create_account(owner(1)) == 1
        assert await sequencer.create_account(owner(2)) == 2
        # A machine that takes longer to post them than the force delay would see the deposit make the account instead.
        await sequencer.flush()
        await deposit(l1, owner(1), hint=1)
        sequencer.poke()
        async with asyncio.timeout(PATIENCE_S):
            while not sequencer.queries.account(owner(1)).balance_nano:
                await asyncio.sleep(0.01)
    acknowledged: list[str] = []
    encoded = msgspec.json.encode(deployment).decode()
    nonce = 0
    for _ in range(3):
        arguments = [str(database), server.url, encoded, str(nonce)]
        acknowledged += await run_and_kill(arguments, at_least=random.randint(5, 120))
        async with Sequencer(l1, database, config=CONFIG) as sequencer:
            nonce = sequencer.queries.account(owner(1)).nonce
            for l2_tx in acknowledged:
                assert await sequencer.queries.transaction(bytes.fromhex(l2_tx[2:])) is not None
    assert nonce >= len(acknowledged) > 0
    async with Sequencer(l1, database, config=CONFIG) as sequencer:
        await sequencer.flush()
        head = sequencer.head.state
        assert (await rebuild_state(l1)).root() == head.root()
        assert head.account(2).balance_nano == nonce
        assert head.account(1).balance_nano == FUNDS_NANO - nonce
    on_l1 = await transactions_on_l1(l1)
    assert len(on_l1) == len(set(on_l1)) == nonce + 2
    assert set(acknowledged) <= set(on_l1)
    assert "0x" + tx_id(CreateAccount(owner(1)).encode()).hex() in on_l1
