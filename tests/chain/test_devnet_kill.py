"""A devnet that is killed loses nothing that it said: same genesis, balances and batches, whatever the moment."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from chain.client import RollupClient
from chain.devnet import DevnetReady
from chain.devnet.faucet import L1_GRANT_NANO, L2_GRANT_NANO
from chain.l1.bridge import Bridge
from chain.l1.connection import L1Connection
from tests.patience import PATIENCE_S

PEOPLE = [bytes([number]) * 20 for number in range(1, 5)]


@asynccontextmanager
async def devnet(home: Path, ending: signal.Signals) -> AsyncIterator[DevnetReady]:
    """A devnet process that ends by a signal, or is killed where the test fails."""
    command = [sys.executable, "-m", "tests.chain.devnet_process", str(home), "3600"]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), PATIENCE_S)
        yield msgspec.json.decode(line, type=DevnetReady)
        process.send_signal(ending)
        assert await asyncio.wait_for(process.wait(), PATIENCE_S) == (0 if ending is signal.SIGTERM else -ending)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def genesis(ready: DevnetReady) -> bytes:
    connection = L1Connection(ready.l1_url)
    block = await connection.web3.eth.get_block(0)
    await connection.aclose()
    return bytes(block["hash"])


async def l1_balance_nano(ready: DevnetReady, address: bytes) -> int:
    inbox, asset = (bytes.fromhex(text[2:]) for text in (ready.inbox_address, ready.asset_address))
    bridge = Bridge(ready.l1_url, inbox_address=inbox, asset_address=asset)
    balance = await bridge.asset_balance_nano(address)
    await bridge.aclose()
    return balance


async def test_kill_9_resumes_the_same_chain(tmp_path: Path) -> None:
    async with devnet(tmp_path, signal.SIGKILL) as first, RollupClient(first.l2_url) as client:
        first_genesis = await genesis(first)
        for person in PEOPLE[:2]:
            await client.faucet(person)
        await client.create_account(PEOPLE[2])
        await client.flush()
        batches = await client.batches()
        # Not awaited to its end: the kill comes while the last grant is on its way.
        last = asyncio.create_task(client.faucet(PEOPLE[3]))
        await asyncio.sleep(0)
    last.cancel()
    await asyncio.gather(last, return_exceptions=True)

    async with devnet(tmp_path, signal.SIGTERM) as second, RollupClient(second.l2_url) as client:
        assert not second.is_new
        assert second.deployment == first.deployment
        assert await genesis(second) == first_genesis
        await client.flush()
        for person in PEOPLE[:2]:
            account = await client.account(person)
            assert account is not None
            assert account.balance_nano == L2_GRANT_NANO
            assert await l1_balance_nano(second, person) == L1_GRANT_NANO
        assert await client.account(PEOPLE[2]) is not None
        kept = {batch.batch_id: batch.l1_tx for batch in await client.batches(100)}
        assert {batch.batch_id: batch.l1_tx for batch in batches}.items() <= kept.items()
        await client.faucet(PEOPLE[3])


async def test_kill_9_before_it_is_ready_leaves_a_home_that_starts(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.chain.devnet_process", str(tmp_path), "3600"]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL)
    async with asyncio.timeout(PATIENCE_S):
        while not (tmp_path / "l1.db").exists():
            await asyncio.sleep(0.005)
    process.kill()
    await process.wait()

    async with devnet(tmp_path, signal.SIGTERM) as ready, RollupClient(ready.l2_url) as client:
        assert (await client.info()).has_faucet
