"""A rollup on a served EVM, for tests that end processes or cut lines."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from chain.codec import decode_batch, is_inbox_body
from chain.l1.bridge import NO_INDEX_HINT
from chain.l1.connection import L1Signer, checksum
from chain.l1.deploy import DeployParams, deploy
from chain.l1.embedded.evm import EmbeddedEvm
from chain.l1.embedded.server import L1Server
from chain.l1.protocol import Deployment
from chain.l1.rollup_l1 import JsonRpcRollupL1
from chain.signing import address_of
from chain.state import GENESIS_ROOT
from chain.txs import TX_SIZES, tx_id
from tests.chain.support import key

FUNDS_NANO = 10**9


class RealL1(NamedTuple):
    """An L1, what is deployed on it, and the operator's client of it."""

    server: L1Server
    deployment: Deployment
    l1: JsonRpcRollupL1


@asynccontextmanager
async def real_l1(folder: Path) -> AsyncIterator[RealL1]:
    """A rollup deployed on an EVM of its own, by ``key(0)``."""
    balances = {address_of(key(0)): 10**24}
    server = L1Server(lambda: EmbeddedEvm(folder / "l1.db", chain_id=1337, genesis_balances_wei=balances))
    await server.start("127.0.0.1", 0)
    try:
        params = DeployParams(
            l2_chain_id=7001,
            genesis_root=GENESIS_ROOT,
            challenge_window_s=60,
            force_delay_s=20,
            takeover_delay_s=40,
            freeze_delay_s=120,
            close_delay_s=90,
            unstake_delay_s=90,
            reveal_delay_blocks=10,
        )
        deployment = await deploy(server.url, key(0), params)
        l1 = JsonRpcRollupL1(server.url, deployment, key(0))
        try:
            yield RealL1(server, deployment, l1)
        finally:
            await l1.aclose()
    finally:
        await server.aclose()


async def deposit(l1: JsonRpcRollupL1, to: bytes, hint: int = NO_INDEX_HINT) -> None:
    """Mint and deposit ``FUNDS_NANO``."""
    deployment = await l1.deployment()
    signer = L1Signer.of_key(l1.connection, key(0))
    asset = l1.connection.contract("TestUSD", deployment.asset_address)
    inbox = l1.connection.contract("Inbox", deployment.inbox_address)
    units = FUNDS_NANO * 10**9
    await signer.send(asset.functions.mint(checksum(signer.address), units))
    await signer.send(asset.functions.approve(checksum(deployment.inbox_address), units))
    await signer.send(inbox.functions.deposit(checksum(to), hint, FUNDS_NANO))


async def transactions_on_l1(l1: JsonRpcRollupL1) -> list[str]:
    """The hashes of all transactions that stand in batches, in their order."""
    found: list[str] = []
    for batch_id in range(await l1.batch_count()):
        [posted] = await l1.batches(batch_id, 1)
        for frame in decode_batch(posted.blob).frames:
            body = b"" if is_inbox_body(frame.body) else frame.body
            while body:
                size = TX_SIZES[body[0]]
                found.append("0x" + tx_id(body[:size]).hex())
                body = body[size:]
    return found
