"""With sequencer and operator dead: a buyer and a seller leave by command, with every unit, checked on L1."""

from __future__ import annotations

import asyncio
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
from eth_account import Account

from chain.client import RollupClient
from chain.l1.bridge import Bridge
from chain.l1.connection import L1Connection, L1Signer, checksum
from chain.l1.discover import read_deployment
from chain.l1.protocol import Deployment
from chain.l1.rollup_l1 import JsonRpcRollupL1
from chain.signing import address_of
from tests.chain.support import rebuild_state
from tests.e2e.conftest import Commands, free_port
from tests.patience import PATIENCE_S

pytestmark = pytest.mark.e2e

NANO = 10**9
DEPOSIT_NANO, LATE_NANO = 3 * NANO, 777_777_777


def nano(value: object) -> int:
    assert isinstance(value, str), "money in JSON is a decimal string"
    return int(value)


class Chain:
    """An L1 in a process of its own, with everybody funded; and what the tests do to it."""

    def __init__(self, url: str, operator_key: bytes, tester_key: bytes) -> None:
        self.url = url
        self.operator_key = operator_key
        self.tester_key = tester_key

    async def rpc(self, method: str, *params: object) -> object:
        async with aiohttp.ClientSession() as session:
            request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}
            async with session.post(self.url, json=request) as response:
                answer = await response.json()
        assert "error" not in answer, answer
        return answer["result"]

    def later(self, seconds: int) -> None:
        asyncio.run(self._later(seconds))

    async def _later(self, seconds: int) -> None:
        await self.rpc("evm_increaseTime", seconds)
        await self.rpc("evm_mine")

    async def mint(self, asset: bytes, owner: bytes, amount_nano: int) -> None:
        connection = L1Connection(self.url)
        try:
            signer = L1Signer.of_key(connection, self.tester_key)
            call = connection.contract("TestUSD", asset).functions.mint(checksum(owner), amount_nano * NANO)
            await signer.send(call)
        finally:
            await connection.aclose()

    async def units(self, asset: bytes, owner: bytes) -> int:
        connection = L1Connection(self.url)
        try:
            return int(
                await connection.call(connection.contract("TestUSD", asset).functions.balanceOf(checksum(owner)))
            )
        finally:
            await connection.aclose()


@pytest.fixture
def l1(commands: Commands, tmp_path: Path) -> Iterator[tuple[Chain, bytes, bytes]]:
    """The chain, with the addresses of two new wallets on it."""
    operator, tester = secrets.token_bytes(32), secrets.token_bytes(32)
    folder = tmp_path / "iw" / "net" / "devnet"
    folder.mkdir(parents=True, mode=0o700)
    (folder / "operator.key").write_text(operator.hex())
    people = [
        bytes.fromhex(commands.facts("wallet", "new", "--home", f"iw/{name}")["address"][2:])
        for name in ("buyer", "seller")
    ]
    funded = [address.hex() for address in (address_of(operator), address_of(tester), *people)]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.e2e.l1_process", str(tmp_path), *funded],
        stdout=subprocess.PIPE,
        text=True,
        env=commands.environment,
    )
    assert process.stdout is not None
    try:
        yield Chain(process.stdout.readline().strip(), operator, tester), people[0], people[1]
    finally:
        process.terminate()
        process.wait(timeout=PATIENCE_S)
        process.stdout.close()


def test_everybody_leaves_by_command_with_every_unit(commands: Commands, l1: tuple[Chain, bytes, bytes]) -> None:
    chain, buyer, seller = l1
    l2_port, relay_port = str(free_port()), str(free_port())
    url, relay = f"http://127.0.0.1:{l2_port}", f"ws://127.0.0.1:{relay_port}"
    net = ["devnet", "--home", "iw/net", "--l1", chain.url, "--inbox-confirmations", "0", "--l2-port", l2_port]
    commands.start(*net)
    (devnet,) = commands.services
    commands.start("relay", "--home", "iw/relay", "--port", relay_port)
    address = asyncio.run(_rollup_address(url))
    deployment = asyncio.run(read_deployment(chain.url, address))
    asset = deployment.asset_address
    for owner in (buyer, seller):
        asyncio.run(chain.mint(asset, owner, DEPOSIT_NANO))
    for name in ("buyer", "seller"):
        commands.run("wallet", "deposit", "--home", f"iw/{name}", "--chain", url, "--amount", "3")

    rent = ["--relay", relay, "--chain", url, "--model", "demo", "--price-in", "0.10", "--price-out", "0.20"]
    commands.start("serve", "--home", "iw/seller", *rent)
    serve = commands.services[-1]
    chat = ["chat", "--home", "iw/buyer", "--relay", relay, "--chain", url, "--max-spend", "0.01"]
    commands.run(*chat, "What is 17 + 25?")
    (channel,) = commands.facts("channels", "--home", "iw/buyer", "list")["channels"]
    spent = nano(channel["spent_nano"])
    assert spent > 0
    asyncio.run(_flushed(url))

    commands.kill(devnet)
    serve.terminate()
    serve.wait(timeout=PATIENCE_S)
    asyncio.run(_deposit_for(chain, deployment, buyer, LATE_NANO))
    forced = commands.facts("wallet", "force-withdraw", "--home", "iw/buyer", "--amount", "all", "--no-wait")
    assert [step["key"] for step in forced["steps"]] == ["read", "sign", "send", "deadline"]
    early = commands.refusal("wallet", "exit", "--home", "iw/buyer")
    assert "runs" in early
    chain.later(121)
    unfrozen = commands.refusal("wallet", "exit", "--home", "iw/seller")
    assert "--freeze" in unfrozen

    left = commands.facts("wallet", "exit", "--home", "iw/buyer", "--freeze", "--no-wait")
    assert left["is_done"] is False
    commands.run("wallet", "exit", "--home", "iw/seller", "--no-wait")
    chain.later(61)
    assert commands.facts("wallet", "exit", "--home", "iw/buyer")["is_done"]
    assert commands.facts("wallet", "exit", "--home", "iw/seller")["is_done"]

    fees = asyncio.run(_fee_pool(chain, deployment))
    held = [asyncio.run(chain.units(asset, owner)) for owner in (buyer, seller, deployment.rollup_address)]
    assert held[1] == (DEPOSIT_NANO + spent) * NANO
    assert held[0] == (DEPOSIT_NANO + LATE_NANO - spent - fees) * NANO
    assert held[2] == fees * NANO
    again = commands.facts("wallet", "exit", "--home", "iw/seller")
    assert nano(again["paid_nano"]) == 0


async def _rollup_address(url: str) -> bytes:
    async with RollupClient(url) as client:
        return bytes.fromhex((await client.info()).rollup_address[2:])


async def _flushed(url: str) -> None:
    async with RollupClient(url) as client:
        await client.flush()


async def _deposit_for(chain: Chain, deployment: Deployment, owner: bytes, amount_nano: int) -> None:
    """Somebody else's gift, which the dead sequencer never executes."""
    tester = address_of(chain.tester_key)
    await chain.mint(deployment.asset_address, tester, amount_nano)
    bridge = Bridge(chain.url, inbox_address=deployment.inbox_address, asset_address=deployment.asset_address)

    def sign(fields: dict[str, object]) -> bytes:
        return bytes(Account.sign_transaction(fields, chain.tester_key).raw_transaction)

    try:
        await bridge.deposit(sign, tester, owner, amount_nano)
    finally:
        await bridge.aclose()


async def _fee_pool(chain: Chain, deployment: Deployment) -> int:
    rollup = JsonRpcRollupL1(chain.url, deployment)
    try:
        return (await rebuild_state(rollup)).meta.fee_pool_nano
    finally:
        await rollup.aclose()
