"""kill -9 at any moment: nothing acknowledged is lost, nothing is posted twice. Real processes, a real EVM as L1."""

import asyncio
import random
import sys
from pathlib import Path

import msgspec
import pytest

from chain.codec import decode_batch, is_inbox_body
from chain.l1.bridge import NO_INDEX_HINT
from chain.l1.connection import L1Signer, checksum
from chain.l1.deploy import DeployParams, deploy
from chain.l1.embedded.evm import EmbeddedEvm
from chain.l1.embedded.server import L1Server
from chain.l1.rollup_l1 import JsonRpcRollupL1
from chain.replay import rebuild_state
from chain.sequencer import Sequencer
from chain.signing import address_of
from chain.state import GENESIS_ROOT
from chain.txs import CreateAccount, tx_id
from tests.chain.sequencer.killable import CONFIG
from tests.chain.support import key, owner

FUNDS_NANO = 10**9
ROOT = Path(__file__).parents[3]


@pytest.fixture
async def rollup(tmp_path):
    balances = {address_of(key(0)): 10**24}
    server = L1Server(lambda: EmbeddedEvm(tmp_path / "l1.db", chain_id=1337, genesis_balances_wei=balances))
    await server.start("127.0.0.1", 0)
    params = DeployParams(
        l2_chain_id=7001,
        genesis_root=GENESIS_ROOT,
        challenge_window_s=60,
        force_delay_s=20,
        takeover_delay_s=40,
        freeze_delay_s=120,
        close_delay_s=5,
        unstake_delay_s=60,
        reveal_delay_blocks=10,
    )
    deployment = await deploy(server.url, key(0), params)
    l1 = JsonRpcRollupL1(server.url, deployment, key(0))
    yield server, deployment, l1
    await l1.aclose()
    await server.aclose()


async def deposit(l1: JsonRpcRollupL1, to: bytes, hint: int = NO_INDEX_HINT) -> None:
    deployment = await l1.deployment()
    signer = L1Signer.of_key(l1.connection, key(0))
    asset = l1.connection.contract("TestUSD", deployment.asset_address)
    inbox = l1.connection.contract("Inbox", deployment.inbox_address)
    units = FUNDS_NANO * 10**9
    await signer.send(asset.functions.mint(checksum(signer.address), units))
    await signer.send(asset.functions.approve(checksum(deployment.inbox_address), units))
    await signer.send(inbox.functions.deposit(checksum(to), hint, FUNDS_NANO))


async def run_and_kill(arguments: list[str], at_least: int) -> list[str]:
    """Run a sequencer until it acknowledged some transactions and then a moment longer; returns all it acknowledged."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.chain.sequencer.killable", *arguments, stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    assert process.stdout is not None
    lines: list[bytes] = []
    try:
        async with asyncio.timeout(120):
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
        await deposit(l1, owner(1), hint=1)
        sequencer.poke()
        async with asyncio.timeout(60):
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


async def transactions_on_l1(l1: JsonRpcRollupL1) -> list[str]:
    found: list[str] = []
    for batch_id in range(await l1.batch_count()):
        [posted] = await l1.batches(batch_id, 1)
        for frame in decode_batch(posted.blob).frames:
            body = b"" if is_inbox_body(frame.body) else frame.body
            while body:
                size = {1: 21, 2: 85}[body[0]]
                found.append("0x" + tx_id(body[:size]).hex())
                body = body[size:]
    return found
