"""A served embedded L1 with the rollup on it, its clock in the test's hands."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from chain.l1.embedded.evm import EmbeddedEvm
from chain.l1.embedded.server import L1Server
from chain.l1.protocol import Deployment
from chain.l1.rollup_l1 import DeployParams, JsonRpcRollupL1, deploy
from chain.signing import address_of, keccak256
from chain.state import GENESIS_ROOT

OPERATOR_KEY = keccak256(b"operator of the tests")
ALICE_KEY = keccak256(b"alice of the tests")
CHAIN_ID = 1337
WINDOW_S = 60
ETHER = 10**18


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


@pytest.fixture
async def l1(tmp_path: Path, clock: Clock) -> AsyncIterator[L1Server]:
    server = L1Server(lambda: open_evm(tmp_path, clock))
    await server.start("127.0.0.1", 0)
    yield server
    await server.aclose()


@pytest.fixture
async def deployment(l1: L1Server) -> Deployment:
    params = DeployParams(
        l2_chain_id=4242, genesis_root=GENESIS_ROOT, challenge_window_s=WINDOW_S, force_delay_s=20, close_delay_s=30
    )
    return await deploy(l1.url, OPERATOR_KEY, params)


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
