"""An L1 that lies, babbles, stalls or is not there gets one of our errors, and never our trust."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from chain.errors import ChainRejectedError, ChainUnavailableError
from chain.l1.bridge import Bridge
from chain.l1.connection import MAX_ANSWER_BYTES, L1Connection, l1_errors
from chain.l1.embedded.server import L1Server
from chain.l1.protocol import EMPTY_INBOX_HASH, Deployment
from chain.l1.rollup_l1 import JsonRpcRollupL1
from chain.state import GENESIS_ROOT
from tests.chain.in_front import Ask, in_front
from tests.chain.l1.conftest import (
    ALICE,
    CHAIN_ID,
    NANO,
    OPERATOR_KEY,
    WINDOW_S,
    Clock,
    post,
    sign,
)

SOMEWHERE = Deployment(
    l1_chain_id=CHAIN_ID,
    l2_chain_id=4242,
    rollup_address=b"\x01" * 20,
    inbox_address=b"\x02" * 20,
    asset_address=b"\x03" * 20,
    block_number=2,
    block_hash=b"\x04" * 32,
    challenge_window_s=WINDOW_S,
    force_delay_s=20,
    close_delay_s=90,
    genesis_root=GENESIS_ROOT,
    stf_address=b"\x05" * 20,
    takeover_delay_s=40,
    freeze_delay_s=120,
    unstake_delay_s=90,
    reveal_delay_blocks=10,
    deployment_salt=b"\x06" * 32,
    max_time_ahead_s=10,
    min_bond_wei=10**18,
    turn_batches=1_000,
    turn_s=3_600,
    turn_grace_s=60,
)
"""A deployment for an L1 that has none."""


@asynccontextmanager
async def lying_l1(answer: Callable[[dict[str, Any]], Any]) -> AsyncIterator[str]:
    """An L1 that answers what the test wants it to."""

    async def handle(request: web.Request) -> web.StreamResponse:
        result = answer(await request.json())
        if isinstance(result, web.Response):
            return result
        return web.json_response(result)

    app = web.Application()
    app.router.add_post("/", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def result(value: Any) -> Callable[[dict[str, Any]], Any]:
    """Answer every request with the same result."""
    return lambda request: {"jsonrpc": "2.0", "id": request["id"], "result": value}


NONSENSE: list[Callable[[dict[str, Any]], Any]] = [
    lambda _: web.Response(text="<html>hello</html>"),
    lambda _: web.Response(status=500, text="oops"),
    lambda _: web.Response(body=b"\xff\xfe\x00"),
    lambda _: web.Response(text="[" * 200_000),
    lambda _: web.Response(status=302, headers={"Location": "http://127.0.0.1:9/"}),
    lambda _: [],
    lambda _: "0x1",
    lambda _: {},
    lambda _: {"jsonrpc": "2.0", "id": 1, "error": "no"},
    lambda _: {"jsonrpc": "2.0", "id": 1, "error": {"code": "x", "message": ["y"]}},
    result(None),
    result("0x"),
    result("0x01"),
    result("0x" + "zz" * 32),
    result(7),
    result({"timestamp": "soon"}),
    result([1, 2, 3]),
    result("0x" + "ff" * 4_096),
]


class TestHostileL1:
    @pytest.mark.parametrize("answer", NONSENSE)
    async def test_nonsense_is_one_of_our_errors(self, answer: Callable[[dict[str, Any]], Any]) -> None:
        async with lying_l1(answer) as url:
            rollup = JsonRpcRollupL1(url, SOMEWHERE, OPERATOR_KEY)
            try:
                for ask in (
                    rollup.time_s,
                    lambda: rollup.batches(0, 5),
                    lambda: rollup.inbox_messages(0, 5),
                    lambda: rollup.submit_batch(0, bytes(32), EMPTY_INBOX_HASH, b""),
                    rollup.check_chain,
                ):
                    with pytest.raises((ChainUnavailableError, ChainRejectedError)) as refused:
                        await ask()
                    assert len(refused.value.line()) < 400
            finally:
                await rollup.aclose()

    async def test_an_endless_answer_is_cut_off(self) -> None:
        def endless(_: dict[str, Any]) -> web.Response:
            return web.Response(body=b" " * (MAX_ANSWER_BYTES + 1))

        async with lying_l1(endless) as url:
            rollup = JsonRpcRollupL1(url, SOMEWHERE)
            with pytest.raises(ChainUnavailableError, match="too long"):
                await rollup.batch_count()
            await rollup.aclose()

    async def test_a_silent_l1_is_not_waited_for_without_end(self) -> None:
        async def nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()
            await writer.wait_closed()
            ended.set()

        ended = asyncio.Event()
        server = await asyncio.start_server(nothing, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        connection = L1Connection(f"http://127.0.0.1:{port}", timeout_s=0.05)
        with pytest.raises(ChainUnavailableError, match="in time"):
            await connection.next_nonce(ALICE)
        await connection.aclose()
        await ended.wait()
        server.close()
        await server.wait_closed()

    async def test_a_missing_l1_says_what_to_do(self, unused_tcp_port: int) -> None:
        rollup = JsonRpcRollupL1(f"http://127.0.0.1:{unused_tcp_port}", SOMEWHERE)
        with pytest.raises(ChainUnavailableError) as refused:
            await rollup.batch_count()
        await rollup.aclose()

        assert refused.value.code == "chain_unreachable"
        assert refused.value.fix

    @pytest.mark.parametrize(
        ("method", "change"),
        [
            ("eth_getLogs", lambda logs: []),
            ("eth_getLogs", lambda logs: [log | {"data": log["data"][:129] + "7" + log["data"][130:]} for log in logs]),
            ("eth_getTransactionByHash", lambda transaction: None),
            ("eth_getTransactionByHash", lambda transaction: transaction | {"to": "0x" + "11" * 20}),
            ("eth_getTransactionByHash", lambda transaction: transaction | {"input": "0x" + "12" * 40}),
            (
                "eth_getTransactionByHash",
                lambda transaction: transaction | {"input": transaction["input"][:9] + "0" * 64},
            ),
        ],
    )
    async def test_what_contradicts_the_contracts_is_not_believed(
        self,
        rollup: JsonRpcRollupL1,
        bridge: Bridge,
        deployment: Deployment,
        clock: Clock,
        l1: L1Server,
        method: str,
        change: Callable[[Any], Any],
    ) -> None:
        await bridge.deposit(sign, ALICE, ALICE, NANO)
        await post(rollup, clock, inbox_to=1)

        async def relay(body: bytes, ask: Ask) -> bytes:
            answered = json.loads(await ask(body))
            if json.loads(body)["method"] == method:
                answered["result"] = change(answered["result"])
            return json.dumps(answered).encode()

        async with in_front(l1.url, relay) as url:
            reader = JsonRpcRollupL1(url, deployment)
            ask = reader.inbox_messages if method == "eth_getLogs" else reader.batches
            try:
                with pytest.raises(ChainUnavailableError) as refused:
                    await ask(0, 10)
            finally:
                await reader.aclose()

        assert refused.value.code == "chain_bad_answer"


@pytest.mark.parametrize(
    "error",
    [
        {"code": -32000, "message": "no\x1b[31m\x9b2J\u202e\nmore" + "y" * 1_000_000},
        {"code": 3, "message": "execution reverted: \x1b]0;title\x07"},
        {"code": 3, "message": "execution reverted\x1b[2J", "data": "0x08c379a0"},
    ],
)
async def test_what_an_l1_says_is_made_harmless_and_short(error: dict[str, Any]) -> None:
    async with lying_l1(lambda request: {"jsonrpc": "2.0", "id": request["id"], "error": error}) as url:
        connection = L1Connection(url)
        with pytest.raises(ChainRejectedError, match="refused") as refused:
            async with l1_errors():
                await connection.web3.eth.get_block(0)
        await connection.aclose()
    assert refused.value.line().isprintable()
    assert len(refused.value.line()) < 1_000
