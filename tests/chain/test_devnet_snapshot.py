"""A devnet offers its last final state, and whoever joins from it needs little of L1: an embedded one, and anvil."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from chain.client import RollupClient
from chain.devnet import Devnet, DevnetConfig, OtherL1
from chain.devnet.config import DevnetParams
from chain.signing import parse_address, sign_digest
from chain.snapshot_source import SNAPSHOT_PATH
from chain.txs import Withdraw
from chain.views import Inclusion, WatchEvent
from chain.watchtower.open import open_watchtower
from tests.chain.anvil_process import anvil
from tests.chain.l1.capped import Caps, capped
from tests.chain.test_devnet import ALICE, ALICE_KEY, BOB, QUICK, funded
from tests.patience import PATIENCE_S


@pytest.mark.parametrize("kind", ["embedded", "anvil"])
async def test_a_watchtower_joins_from_what_the_devnet_offers(tmp_path: Path, kind: str) -> None:
    async with AsyncExitStack() as stack:
        other = None
        if kind == "anvil":
            other = OtherL1(url=await stack.enter_async_context(anvil()), use_dev_account=True)
        config = DevnetConfig(sequencer=QUICK, snapshot_every_s=0.05)
        devnet = await stack.enter_async_context(
            Devnet(tmp_path, params=DevnetParams.with_window(2), config=config, other_l1=other)
        )
        client = await stack.enter_async_context(RollupClient(devnet.ready.l2_url))
        await client.faucet(ALICE)
        account, domain = await funded(client, ALICE), await client.domain()
        withdraw = Withdraw(account.index, 3_000_000_000, 1_000, BOB)
        raw = withdraw.encode(sign_digest(ALICE_KEY, withdraw.digest(domain, account.nonce)))
        await client.wait_for((await client.submit(raw)).l2_tx, Inclusion.FINAL, timeout_s=PATIENCE_S)
        offered = devnet.ready.l2_url + SNAPSHOT_PATH
        await _until_offered(offered)
        events: list[WatchEvent] = []

        url = await stack.enter_async_context(capped(devnet.ready.l1_url, Caps(max_blocks=2, max_logs=1)))
        rollup = parse_address(devnet.ready.rollup_address)
        async with open_watchtower(url, rollup, snapshot=offered, on_event=events.append) as tower:
            await tower.settle()
            seen = tower.view()

        assert events[0].kind == "snapshot"
        assert events[0].text.startswith("Starting from a snapshot")
        assert seen.verified_batches > sum(event.kind == "verified" for event in events)
        assert seen.disputes == ()
        session = await stack.enter_async_context(aiohttp.ClientSession())
        async with session.get(offered, headers={"Origin": "http://evil.example"}) as refused:
            assert refused.status == 403


async def _until_offered(url: str) -> None:
    async with asyncio.timeout(PATIENCE_S), aiohttp.ClientSession() as session:
        while True:
            async with session.get(url) as response:
                if response.status == 200:
                    return
            await asyncio.sleep(0.02)
