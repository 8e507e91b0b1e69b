"""A served embedded L1 with the rollup on it, its clock in the test's hands."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest
from eth_account import Account

from chain.codec import BatchHeader, Frame, encode_batch
from chain.l1.bridge import Bridge
from chain.l1.connection import checksum
from chain.l1.deploy import DeployParams, deploy
from chain.l1.embedded.evm import EmbeddedEvm
from chain.l1.embedded.server import L1Server
from chain.l1.protocol import Deployment, PostedBatch
from chain.l1.rollup_l1 import JsonRpcRollupL1
from chain.signing import address_of, keccak256
from chain.state import GENESIS_ROOT

OPERATOR_KEY = keccak256(b"operator of the tests")
ALICE_KEY = keccak256(b"alice of the tests")
CHAIN_ID = 1337
WINDOW_S = 60
ETHER = 10**18
NANO = 10**9
FORCE_S, TAKEOVER_S, FREEZE_S, REVEAL_BLOCKS = 20, 40, 120, 3
PARAMS = DeployParams(
    l2_chain_id=4242,
    genesis_root=GENESIS_ROOT,
    challenge_window_s=WINDOW_S,
    force_delay_s=FORCE_S,
    takeover_delay_s=TAKEOVER_S,
    freeze_delay_s=FREEZE_S,
    close_delay_s=90,
    unstake_delay_s=90,
    reveal_delay_blocks=REVEAL_BLOCKS,
)
OPERATOR, ALICE, BOB = address_of(OPERATOR_KEY), address_of(ALICE_KEY), b"\xbb" * 20


@dataclass
class Clock:
    """Seconds as a test says."""

    now_s: float = field(default_factory=lambda: float(int(time.time())))

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def open_evm(folder: Path, clock: Clock) -> EmbeddedEvm:
    """The chain of a folder."""
    return EmbeddedEvm(
        folder / "l1.db",
        chain_id=CHAIN_ID,
        genesis_balances_wei={address_of(OPERATOR_KEY): 10**9 * ETHER, address_of(ALICE_KEY): ETHER},
        clock=clock,
    )


class Template(NamedTuple):
    """A chain with the rollup on it."""

    folder: Path
    deployment: Deployment


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    """Deployed once; each test that needs the rollup has a copy of its own."""
    folder = tmp_path_factory.mktemp("deployed")

    async def deployed() -> Deployment:
        server = L1Server(lambda: open_evm(folder, Clock()))
        await server.start("127.0.0.1", 0)
        try:
            return await deploy(server.url, OPERATOR_KEY, PARAMS)
        finally:
            await server.aclose()

    with ThreadPoolExecutor(1) as thread:
        return Template(folder, thread.submit(lambda: asyncio.run(deployed())).result())


@pytest.fixture
async def l1(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> AsyncIterator[L1Server]:
    if "deployment" in request.fixturenames:
        for file in request.getfixturevalue("template").folder.glob("l1.db*"):
            shutil.copy(file, tmp_path / file.name)
    server = L1Server(lambda: open_evm(tmp_path, clock))
    await server.start("127.0.0.1", 0)
    yield server
    await server.aclose()


@pytest.fixture
def deployment(l1: L1Server, template: Template) -> Deployment:
    return template.deployment


@pytest.fixture
async def rollup(l1: L1Server, deployment: Deployment) -> AsyncIterator[JsonRpcRollupL1]:
    rollup = JsonRpcRollupL1(l1.url, deployment, OPERATOR_KEY)
    yield rollup
    await rollup.aclose()


class Rpc:
    """Plain JSON-RPC, without any client library's kindness."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.session = session
        self.url = url

    async def __call__(self, method: str, *params: Any) -> Any:
        answer = await self.answer(method, *params)
        assert "error" not in answer, answer
        return answer["result"]

    async def error(self, method: str, *params: Any) -> dict[str, Any]:
        """The error that a call gets."""
        return dict((await self.answer(method, *params))["error"])

    async def answer(self, method: str, *params: Any) -> Any:
        request = {"jsonrpc": "2.0", "id": 7, "method": method, "params": list(params)}
        async with self.session.post(self.url, json=request) as response:
            assert response.status == 200
            return await response.json()


@pytest.fixture
async def rpc(l1: L1Server) -> AsyncIterator[Rpc]:
    async with aiohttp.ClientSession() as session:
        yield Rpc(session, l1.url)


def sign(fields: dict[str, Any]) -> bytes:
    """What a wallet does for Alice."""
    return bytes(Account.sign_transaction(fields, ALICE_KEY).raw_transaction)


@pytest.fixture
async def bridge(rollup: JsonRpcRollupL1, deployment: Deployment) -> AsyncIterator[Bridge]:
    """Alice's, who has ten dollars and one ether."""
    assert rollup.signer is not None
    asset = rollup.connection.contract("TestUSD", deployment.asset_address)
    await rollup.signer.send(asset.functions.mint(checksum(ALICE), 10 * NANO * NANO))
    url = rollup.connection._provider._url
    bridge = Bridge(url, inbox_address=deployment.inbox_address, asset_address=deployment.asset_address)
    yield bridge
    await bridge.aclose()


def make_batch(clock: Clock, root: bytes | None = None, inbox_to: int = 0, size: int = 100) -> tuple[bytes, bytes]:
    frame = Frame(post_root=root or secrets.token_bytes(32), body=secrets.token_bytes(size))
    return encode_batch(BatchHeader(l2_time_s=int(clock.now_s), inbox_to=inbox_to), [frame]), frame.post_root


async def post(rollup: JsonRpcRollupL1, clock: Clock, **fields: Any) -> PostedBatch:
    """Post the next batch."""
    count = await rollup.batch_count()
    before = (await rollup.batches(count - 1, 1))[0].post_root if count else GENESIS_ROOT
    inbox_hash = await rollup.inbox_hash(fields.get("inbox_to", 0))
    return await rollup.submit_batch(count, before, inbox_hash, make_batch(clock, **fields)[0])
