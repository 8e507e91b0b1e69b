"""The embedded L1's JSON-RPC: what wallets expect, and nothing that hostile input could break."""

from __future__ import annotations

import asyncio
import io
import json
import socket
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from eth_account import Account
from msgspec.structs import replace

from chain.errors import IdlewattError
from chain.jsonrpc import is_local_name
from chain.l1.artifacts import artifact
from chain.l1.connection import L1Connection, checksum
from chain.l1.embedded.server import LIMITS, L1Server
from chain.signing import address_of, keccak256
from tests.chain.l1.conftest import ALICE_KEY, CHAIN_ID, ETHER, Clock, Rpc, open_evm

ALICE = checksum(address_of(ALICE_KEY))
BOB = checksum(b"\xbb" * 20)
HASH = "0x" + "ab" * 32
ZERO_RECIPIENT = keccak256(b"ZeroRecipient()")[:4]


async def send(rpc: Rpc, **changes: Any) -> str:
    """Send a transaction of Alice's; returns its hash."""
    fields = {
        "chainId": CHAIN_ID,
        "nonce": int(await rpc("eth_getTransactionCount", ALICE, "pending"), 16),
        "to": BOB,
        "value": 5,
        "gas": 21_000,
        "maxFeePerGas": 10**10,
        "maxPriorityFeePerGas": 1,
    } | changes
    fields = {name: value for name, value in fields.items() if value is not None}
    raw = Account.sign_transaction(fields, ALICE_KEY).raw_transaction
    return str(await rpc("eth_sendRawTransaction", "0x" + bytes(raw).hex()))


class TestMethods:
    async def test_the_chain_names_itself(self, rpc: Rpc) -> None:
        assert await rpc("eth_chainId") == hex(CHAIN_ID)
        assert await rpc("net_version") == str(CHAIN_ID)
        assert await rpc("web3_clientVersion") == "idlewatt/embedded-l1"
        assert (await rpc("eth_syncing"), await rpc("net_listening"), await rpc("eth_accounts")) == (False, True, [])

    async def test_a_transfer_is_seen_everywhere(self, rpc: Rpc, clock: Clock) -> None:
        tx_hash = await send(rpc)

        assert await rpc("eth_blockNumber") == "0x1"
        assert await rpc("eth_getBalance", BOB, "latest") == "0x5"
        assert await rpc("eth_getBalance", BOB, "0x0") == "0x0"
        assert await rpc("eth_getTransactionCount", ALICE, "latest") == "0x1"
        transaction = await rpc("eth_getTransactionByHash", tx_hash)
        assert (transaction["from"], transaction["to"], transaction["value"]) == (ALICE.lower(), BOB.lower(), "0x5")
        receipt = await rpc("eth_getTransactionReceipt", tx_hash)
        assert (receipt["status"], receipt["gasUsed"], receipt["contractAddress"]) == ("0x1", "0x5208", None)
        block = await rpc("eth_getBlockByHash", receipt["blockHash"], True)
        assert block["transactions"] == [transaction]
        assert block["timestamp"] == hex(int(clock.now_s))
        assert (await rpc("eth_getBlockByNumber", "latest", False))["transactions"] == [tx_hash]

    async def test_every_type_of_transaction_is_shown(self, rpc: Rpc) -> None:
        legacy = {"maxFeePerGas": None, "maxPriorityFeePerGas": None, "gasPrice": 10**10}
        access = [{"address": BOB, "storageKeys": ["0x" + "00" * 32]}]
        authorization = {"chainId": CHAIN_ID, "address": BOB, "nonce": 9}
        signed = Account.from_key(ALICE_KEY).sign_authorization(authorization)
        hashes = [
            await send(rpc, **legacy),
            await send(rpc, **legacy, accessList=access, type=1, gas=40_000),
            await send(rpc, accessList=access, gas=40_000),
            await send(rpc, authorizationList=[signed], gas=100_000),
        ]

        shown = [await rpc("eth_getTransactionByHash", tx_hash) for tx_hash in hashes]

        assert [transaction["type"] for transaction in shown] == ["0x0", "0x1", "0x2", "0x4"]
        assert shown[2]["accessList"] == [{"address": BOB.lower(), "storageKeys": ["0x" + "00" * 32]}]
        assert shown[3]["authorizationList"][0]["nonce"] == "0x9"
        receipts = [await rpc("eth_getTransactionReceipt", tx_hash) for tx_hash in hashes]
        assert [receipt["effectiveGasPrice"] for receipt in receipts[:2]] == [hex(10**10)] * 2

    async def test_contracts_can_be_deployed_called_and_watched(self, rpc: Rpc) -> None:
        gas = await rpc("eth_estimateGas", {"from": ALICE, "data": artifact("TestUSD").bytecode})
        tx_hash = await send(rpc, to=None, value=0, data=artifact("TestUSD").bytecode, gas=int(gas, 16))
        token = (await rpc("eth_getTransactionReceipt", tx_hash))["contractAddress"]
        mint = "0x40c10f19" + BOB[2:].lower().rjust(64, "0") + hex(77)[2:].rjust(64, "0")
        minted = await send(rpc, to=checksum(bytes.fromhex(token[2:])), value=0, data=mint, gas=100_000)

        assert len(await rpc("eth_getCode", token, "latest")) > 1_000
        assert int(await rpc("eth_getStorageAt", token, "0x0", "latest"), 16) == 77
        assert int(await rpc("eth_getStorageAt", token, "0x" + "00" * 32), 16) == 77
        balance = {"to": token, "input": "0x70a08231" + BOB[2:].lower().rjust(64, "0")}
        assert int(await rpc("eth_call", balance, "latest"), 16) == 77
        transfer = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
        to_bob = "0x" + BOB[2:].lower().rjust(64, "0")
        for topics in (None, [transfer], [[HASH, transfer], None, to_bob], [None, None, [to_bob]]):
            logs = await rpc(
                "eth_getLogs", {"fromBlock": "0x0", "toBlock": "latest", "address": token, "topics": topics}
            )
            assert [log["transactionHash"] for log in logs] == [minted]
        for query in (
            {"address": [BOB]},
            {"topics": [HASH]},
            {"topics": [transfer, None, None, None]},
            {"fromBlock": "0x0", "toBlock": "0x0"},
        ):
            assert await rpc("eth_getLogs", {"fromBlock": "earliest"} | query) == []
        at_block = await rpc("eth_getLogs", {"blockHash": logs[0]["blockHash"]})
        assert at_block == logs

    async def test_a_revert_carries_its_data(self, rpc: Rpc) -> None:
        tx_hash = await send(rpc, to=None, value=0, data=artifact("TestUSD").bytecode, gas=10**6)
        token = (await rpc("eth_getTransactionReceipt", tx_hash))["contractAddress"]

        error = await rpc.error("eth_call", {"to": token, "data": "0x40c10f19" + "00" * 64})

        assert error == {"code": 3, "message": "execution reverted", "data": "0x" + ZERO_RECIPIENT.hex()}

    async def test_fees_are_what_a_transaction_needs(self, rpc: Rpc) -> None:
        for _ in range(3):
            await send(rpc)

        history = await rpc("eth_feeHistory", "0x2", "latest", [25, 75])

        assert history["oldestBlock"] == "0x2"
        assert [len(history[name]) for name in ("baseFeePerGas", "gasUsedRatio", "reward")] == [3, 2, 2]
        base_fee = int(history["baseFeePerGas"][-1], 16)
        assert int(await rpc("eth_gasPrice"), 16) == base_fee + int(await rpc("eth_maxPriorityFeePerGas"), 16)
        assert (await rpc("eth_feeHistory", 1, "0x1"))["oldestBlock"] == "0x1"

    async def test_blocks_can_be_named_in_every_way(self, rpc: Rpc) -> None:
        await send(rpc)
        block = await rpc("eth_getBlockByNumber", "0x0")
        for tag in ("earliest", "0x0", {"blockNumber": "0x0"}, {"blockHash": block["hash"]}):
            assert await rpc("eth_getBalance", BOB, tag) == "0x0"
        for tag in ("latest", "safe", "finalized", "pending", "0x1"):
            assert await rpc("eth_getBalance", BOB, tag) == "0x5"

    async def test_what_does_not_exist_is_null(self, rpc: Rpc) -> None:
        assert await rpc("eth_getTransactionByHash", HASH) is None
        assert await rpc("eth_getTransactionReceipt", HASH) is None
        assert await rpc("eth_getBlockByHash", HASH, False) is None
        assert await rpc("eth_getBlockByNumber", "0x99", False) is None

    async def test_the_pending_block_is_now(self, rpc: Rpc, clock: Clock) -> None:
        clock.now_s += 100
        pending = await rpc("eth_getBlockByNumber", "pending", False)

        assert (pending["number"], pending["hash"]) == ("0x1", None)
        assert int(pending["timestamp"], 16) == int(clock.now_s)

    async def test_tests_may_move_time(self, rpc: Rpc, clock: Clock) -> None:
        assert await rpc("evm_increaseTime", 30) == "0x1e"
        assert await rpc("evm_increaseTime", "0xa") == "0xa"
        await rpc("evm_mine")

        assert int((await rpc("eth_getBlockByNumber", "latest"))["timestamp"], 16) == int(clock.now_s) + 40

    async def test_web3_agrees(self, l1: L1Server) -> None:
        connection = L1Connection(l1.url)

        assert await connection.web3.eth.chain_id == CHAIN_ID
        assert await connection.web3.eth.get_balance(ALICE) == ETHER
        assert await connection.web3.is_connected()
        block = await connection.web3.eth.get_block("latest")
        assert block["number"] == 0
        await connection.aclose()


BAD_CALLS: list[tuple[str, list[Any]]] = [
    ("eth_getBalance", []),
    ("eth_getBalance", [ALICE, "latest", "more"]),
    ("eth_getBalance", ["0x12", "latest"]),
    ("eth_getBalance", [None, "latest"]),
    ("eth_getBalance", [ALICE, "soon"]),
    ("eth_getBalance", [ALICE, {"blockNumber": []}]),
    ("eth_getBalance", [ALICE, {"block": "0x0"}]),
    ("eth_getBalance", [ALICE, 0]),
    ("eth_getBalance", [ALICE, True]),
    ("eth_getBalance", [ALICE, None]),
    ("eth_getStorageAt", [ALICE, "0x" + "0" * 63 + "x", "latest"]),
    ("eth_getStorageAt", [ALICE, [], "latest"]),
    ("eth_call", [[]]),
    ("eth_call", ["0x"]),
    ("eth_call", [{"to": ALICE, "evil": 1}]),
    ("eth_call", [{"to": ALICE, "value": "-0x1"}]),
    ("eth_call", [{"to": ALICE, "value": "0x" + "f" * 65}]),
    ("eth_call", [{"to": ALICE, "data": "0xzz"}]),
    ("eth_call", [{"to": ALICE, "data": "0x1"}]),
    ("eth_estimateGas", [{"to": ALICE}, "0x99"]),
    ("eth_sendRawTransaction", ["hello"]),
    ("eth_getTransactionByHash", ["0x12"]),
    ("eth_getBlockByNumber", ["latest", "yes"]),
    ("eth_getBlockByHash", [HASH[:-2], True]),
    ("eth_getLogs", [[]]),
    ("eth_getLogs", [{"evil": 1}]),
    ("eth_getLogs", [{"topics": "0x"}]),
    ("eth_getLogs", [{"topics": [HASH] * 5}]),
    ("eth_getLogs", [{"topics": [[HASH] * 1_001]}]),
    ("eth_getLogs", [{"address": [ALICE] * 1_001}]),
    ("eth_getLogs", [{"fromBlock": "later"}]),
    ("eth_feeHistory", ["0x0", "latest"]),
    ("eth_feeHistory", [True, "latest"]),
    ("eth_feeHistory", [1, "latest", {}]),
    ("evm_increaseTime", ["soon"]),
    ("evm_increaseTime", [1.5]),
]


class TestHostileInput:
    @pytest.mark.parametrize(("method", "params"), BAD_CALLS)
    async def test_wrong_parameters_are_an_error_and_no_more(self, rpc: Rpc, method: str, params: list[Any]) -> None:
        error = await rpc.error(method, *params)

        assert error["code"] in (-32602, -32001)
        assert "Traceback" not in json.dumps(error)

    @pytest.mark.parametrize(
        ("method", "params", "code"),
        [
            ("eth_evil", [], -32601),
            ("__class__", [], -32601),
            ("eth_sendRawTransaction", ["0x"], -32000),
            ("eth_sendRawTransaction", ["0x02c0"], -32000),
            ("eth_call", [{"to": ALICE, "from": BOB, "value": "0x1"}], -32000),
            ("eth_call", [{"data": "0x5b600056", "gas": "0x186a0"}], -32000),
            ("evm_increaseTime", [-1], -32000),
            ("eth_getBalance", [ALICE, "0x99"], -32001),
            ("eth_getLogs", [{"blockHash": HASH}], -32001),
        ],
    )
    async def test_what_the_chain_refuses_has_its_own_code(
        self, rpc: Rpc, method: str, params: list[Any], code: int
    ) -> None:
        assert (await rpc.error(method, *params))["code"] == code

    @pytest.mark.parametrize(
        ("body", "code"),
        [
            (b"", -32700),
            (b"{", -32700),
            (b"\xff\xfe", -32700),
            (b"[" * 100_000, -32700),
            (b"1" * 5_000, -32700),
            (b"null", -32600),
            (b"[]", -32600),
            (b"7", -32600),
            (b'{"id":1}', -32600),
            (b'{"id":1,"method":7}', -32600),
            (b'{"id":{},"method":"eth_chainId"}', -32600),
            (b'{"id":1,"method":"eth_chainId","params":{}}', -32602),
            (b'{"id":1,"method":"' + b"a" * 200 + b'"}', -32600),
        ],
    )
    async def test_bodies_that_are_no_request(self, rpc: Rpc, body: bytes, code: int) -> None:
        headers = {"Content-Type": "application/json"}
        async with rpc.session.post(rpc.url, data=body, headers=headers) as response:
            answer = await response.json()

        assert answer["error"]["code"] == code
        assert await rpc("eth_blockNumber") == "0x0"

    async def test_a_batch_is_answered_in_order(self, rpc: Rpc) -> None:
        calls = [{"id": i, "method": "eth_chainId"} for i in range(LIMITS.max_batch - 1)] + ["nonsense"]
        async with rpc.session.post(rpc.url, json=calls) as response:
            answers = await response.json()

        assert [answer["id"] for answer in answers] == [*range(LIMITS.max_batch - 1), None]

    async def test_a_batch_has_an_end(self, rpc: Rpc) -> None:
        async with rpc.session.post(
            rpc.url, json=[{"id": 1, "method": "eth_chainId"}] * (LIMITS.max_batch + 1)
        ) as response:
            assert (await response.json())["error"]["code"] == -32600

    async def test_a_notification_gets_no_answer(self, rpc: Rpc) -> None:
        for body in ({"method": "eth_chainId"}, [{"method": "eth_chainId"}]):
            async with rpc.session.post(rpc.url, json=body) as response:
                assert (response.status, await response.read()) == (204, b"")

    async def test_a_body_has_an_end(self, rpc: Rpc) -> None:
        headers = {"Content-Type": "application/json"}
        async with rpc.session.post(
            rpc.url, data=io.BytesIO(b" " * (LIMITS.max_body_bytes + 1)), headers=headers
        ) as response:
            assert response.status == 413

    async def test_web_pages_are_turned_away(self, rpc: Rpc) -> None:
        request = {"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []}
        async with rpc.session.post(rpc.url, json=request, headers={"Host": "evil.example"}) as response:
            assert response.status == 403
        async with rpc.session.post(rpc.url, json=request, headers={"Origin": "http://evil.example"}) as response:
            assert response.status == 403
        async with rpc.session.post(rpc.url, data=json.dumps(request)) as response:
            assert response.status == 415
        async with rpc.session.options(rpc.url, headers={"Origin": "http://evil.example"}) as response:
            assert response.status == 405
            assert "Access-Control-Allow-Origin" not in response.headers

    @pytest.mark.parametrize(
        ("host", "local"),
        [
            ("127.0.0.1:8545", True),
            ("localhost", True),
            ("LOCALHOST:1", True),
            ("[::1]:8545", True),
            ("[::1]", True),
            ("192.168.1.7", True),
            ("evil.example:8545", False),
            ("localhost.evil.example", False),
            ("", False),
            ("127.0.0.1.evil.example", False),
        ],
    )
    def test_only_addresses_and_localhost_are_local_names(self, host: str, local: bool) -> None:
        assert is_local_name(host) is local

    async def test_more_callers_than_the_thread_can_serve_are_told_to_come_back(
        self, tmp_path: Path, clock: Clock
    ) -> None:
        server = L1Server(lambda: open_evm(tmp_path, clock), limits=replace(LIMITS, max_running=2))
        loop = {"data": "0x5b600056", "gas": hex(1_000_000)}

        await server.start("127.0.0.1", 0)
        try:
            async with aiohttp.ClientSession() as session:
                rpc = Rpc(session, server.url)
                answers = await asyncio.gather(*(rpc.answer("eth_call", loop | {"nonce": hex(i)}) for i in range(6)))
        finally:
            await server.aclose()

        codes = {answer["error"]["code"] for answer in answers}
        assert codes == {-32000, -32005}

    async def test_a_failure_of_ours_is_logged_and_shown_as_one_line(
        self, rpc: Rpc, l1: L1Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def broken(*_: object) -> None:
            raise ZeroDivisionError("a secret detail")

        monkeypatch.setattr(l1._methods, "answer", broken)

        error = await rpc.error("eth_chainId")

        assert error == {
            "code": -32603,
            "message": "The server failed; its log says why.",
            "data": {"code": "internal", "fix": ""},
        }
        assert "a secret detail" in caplog.text


class TestLifecycle:
    async def test_a_port_in_use_is_one_clear_line(self, tmp_path: Path, clock: Clock) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            server = L1Server(lambda: open_evm(tmp_path, clock))

            with pytest.raises(IdlewattError) as refused:
                await server.start("127.0.0.1", port)

        assert refused.value.code == "port_in_use"
        assert str(port) in refused.value.message
        # The chain was let go of: it opens again.
        open_evm(tmp_path, clock).close()

    async def test_an_address_that_is_not_ours_cannot_be_listened_on(self, tmp_path: Path, clock: Clock) -> None:
        server = L1Server(lambda: open_evm(tmp_path, clock))

        with pytest.raises(IdlewattError) as refused:
            await server.start("203.0.113.1", 0)

        assert refused.value.code == "cannot_listen"

    async def test_ipv6_is_fine(self, tmp_path: Path, clock: Clock) -> None:
        server = L1Server(lambda: open_evm(tmp_path, clock))
        await server.start("::1", 0)
        async with aiohttp.ClientSession() as session:
            assert await Rpc(session, server.url)("eth_chainId") == hex(CHAIN_ID)
        await server.aclose()

    async def test_the_chain_goes_on_after_a_restart(self, tmp_path: Path, clock: Clock) -> None:
        heads = []
        for _ in range(2):
            server = L1Server(lambda: open_evm(tmp_path, clock))
            await server.start("127.0.0.1", 0)
            async with aiohttp.ClientSession() as session:
                rpc = Rpc(session, server.url)
                await send(rpc)
                heads.append(await rpc("eth_getBlockByNumber", "latest"))
            await server.aclose()

        assert heads[1]["parentHash"] == heads[0]["hash"]

    async def test_closing_twice_is_fine(self, l1: L1Server) -> None:
        await l1.aclose()
        await l1.aclose()
