import asyncio
import ipaddress
import json

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chain.eip712 import SigningDomain
from chain.errors import IdlewattError
from chain.jsonrpc import JsonRpcServer, RpcLimits
from chain.rpc.server import RpcServer
from chain.sequencer import Sequencer, SequencerConfig
from chain.signing import SECP256K1_N, checksum_address
from chain.txs import CreateAccount, Expire, FinishUnstake, Redeem, Stake, Transfer, Unstake
from tests.chain.conftest import FAUCET_NANO
from tests.chain.support import DOMAIN, owner, signed, signed_once, slash
from tests.patience import PATIENCE_S

LIMITS = RpcLimits()
ADDRESS = checksum_address(owner(1))


@pytest.fixture
async def http():
    async with aiohttp.ClientSession() as session:
        yield session


async def post(http, server, body, **headers):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", **{name.replace("_", "-"): v for name, v in headers.items()}}
    async with http.post(server.url, data=data, headers=headers) as response:
        text = await response.text()
        return response.status, json.loads(text) if response.content_type == "application/json" else text


async def call(http, server, method, *params):
    status, answer = await post(http, server, {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)})
    assert status == 200
    return answer


class TestWallets:
    """What an Ethereum wallet asks before it shows an account."""

    @pytest.mark.parametrize(
        ("method", "params", "result"),
        [
            ("eth_chainId", [], hex(7001)),
            ("net_version", [], "7001"),
            ("eth_blockNumber", [], "0x0"),
            ("eth_getBalance", [ADDRESS, "latest"], "0x0"),
            ("eth_getBalance", [ADDRESS], "0x0"),
            ("eth_getTransactionCount", [ADDRESS, "0x10"], "0x0"),
            ("eth_accounts", [], []),
            ("eth_syncing", [], False),
            ("eth_gasPrice", [], "0x0"),
        ],
    )
    async def test_it_gets_an_answer_it_understands(self, http, server, method, params, result):
        assert (await call(http, server, method, *params))["result"] == result

    async def test_balances_have_eighteen_decimals(self, http, server, client):
        await client.faucet(owner(1))
        async with asyncio.timeout(PATIENCE_S):
            while (balance := (await call(http, server, "eth_getBalance", ADDRESS))["result"]) == "0x0":
                await asyncio.sleep(0.01)
        assert int(balance, 16) == 1_000_000 * 10**9
        assert (await call(http, server, "web3_clientVersion"))["result"].startswith("idlewatt/")


WRONG_REQUESTS = [
    (b"", -32700),
    (b"{", -32700),
    (b"\xff\xfe", -32700),
    (b"[" * 5_000, -32700),
    (b"null", -32600),
    (b"7", -32600),
    (b'"x"', -32600),
    (b"[]", -32600),
    (b'{"jsonrpc":"1.0","id":1,"method":"eth_chainId"}', -32600),
    (b'{"jsonrpc":"2.0","id":1}', -32600),
    (b'{"jsonrpc":"2.0","id":1,"method":7}', -32600),
    (b'{"jsonrpc":"2.0","id":{},"method":"eth_chainId"}', -32600),
    (b'{"jsonrpc":"2.0","id":true,"method":"eth_chainId"}', -32600),
    (json.dumps({"id": "x" * 200, "method": "eth_chainId"}).encode(), -32600),
    (json.dumps({"id": 1, "method": "x" * 200}).encode(), -32600),
    (json.dumps([{"id": 1, "method": "eth_chainId"}] * (LIMITS.max_batch + 1)).encode(), -32600),
    (b'{"jsonrpc":"2.0","id":1,"method":"eth_sendRawTransaction"}', -32601),
    (b'{"jsonrpc":"2.0","id":1,"method":"__class__"}', -32601),
    (b'{"jsonrpc":"2.0","id":1,"method":"rollup_account"}', -32602),
    (b'{"jsonrpc":"2.0","id":1,"method":"rollup_account","params":"x"}', -32602),
    (b'{"jsonrpc":"2.0","id":1,"method":"rollup_account","params":{"addres":"x"}}', -32602),
    (b'{"jsonrpc":"2.0","id":1,"method":"rollup_account","params":[null]}', -32602),
    (b'{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[1]}', -32602),
]

WRONG_PARAMETERS = [
    ("rollup_account", ["0x" + "1" * 39]),
    ("rollup_account", [ADDRESS[:-1] + ("a" if ADDRESS[-1] != "a" else "b")]),
    ("rollup_channel", [-1]),
    ("rollup_channel", [2**30]),
    ("rollup_channel", [True]),
    ("rollup_channel", [1.5]),
    ("rollup_channel", ["1"]),
    ("rollup_submit", ["0x"]),
    ("rollup_submit", ["0x" + "00" * 546]),
    ("rollup_submit", ["0xabc"]),
    ("rollup_submit", ["００"]),
    ("rollup_submit", [[]]),
    ("rollup_transaction", ["0x" + "00" * 31]),
    ("rollup_batches", [0]),
    ("rollup_batches", [501]),
    ("rollup_events", ["many"]),
    ("rollup_safety", [1]),
    ("rollup_disputes", [0]),
    ("rollup_disputes", [501]),
    ("rollup_disputes", [20, -1]),
    ("rollup_disputes", [20, 2**30]),
    ("rollup_disputes", [20, "0"]),
    ("rollup_disputes", [20, 0, 0]),
    ("rollup_waiting", [-1]),
    ("rollup_waiting", [0.5]),
    ("rollup_waiting", [0, 0]),
    ("rollup_waiting", [0, [20]]),
    ("rollup_waiting", [None, 20]),
    ("rollup_proof", ["meta", 0]),
    ("rollup_proof", ["account", "1"]),
    ("eth_getBalance", [ADDRESS, {"blockHash": "0x"}]),
    ("eth_getBalance", [ADDRESS, "yesterday"]),
]


class TestHostileInput:
    async def test_every_wrong_request_has_a_coded_error(self, http, server):
        for body, number in WRONG_REQUESTS:
            status, answer = await post(http, server, body)
            assert (status, answer["error"]["code"]) == (200, number), body
            assert "Traceback" not in json.dumps(answer)

    async def test_every_wrong_parameter_is_named(self, http, server):
        for method, wrong in WRONG_PARAMETERS:
            error = (await call(http, server, method, *wrong))["error"]
            assert (error["code"], error["data"]["code"]) == (-32602, "bad_params"), (method, wrong)

    @settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
    @given(
        st.sampled_from(
            [
                "rollup_account",
                "rollup_submit",
                "rollup_channel",
                "rollup_proof",
                "rollup_batches",
                "rollup_disputes",
                "rollup_waiting",
            ]
        ),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=50),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
            max_leaves=8,
        ),
    )
    async def test_any_parameters_come_to_an_answer(self, sequencer, method, given_params):
        methods = RpcServer(sequencer, l1_rpc_url="")
        answer = await methods.answer({"jsonrpc": "2.0", "id": 1, "method": method, "params": given_params})
        assert answer is not None
        assert ("result" in answer) != ("error" in answer)
        assert answer.get("error", {"code": 0})["code"] not in (-32603,)

    async def test_a_body_that_is_too_large_is_refused_unread(self, http, server):
        status, _ = await post(http, server, b" " * (LIMITS.max_body_bytes + 1))
        assert status == 413

    async def test_other_content_types_and_verbs_are_refused(self, http, server):
        async with http.post(server.url, data=b"{}", headers={"Content-Type": "text/plain"}) as response:
            assert response.status == 415
        async with http.get(server.url) as response:
            assert response.status == 405
        async with http.options(server.url) as response:
            assert "Access-Control-Allow-Origin" not in response.headers

    async def test_an_internal_failure_shows_no_traceback(self, http):
        async def broken(*_):
            raise ZeroDivisionError("secret detail")

        async with JsonRpcServer(broken) as server:
            await server.start()
            answer = await call(http, server, "eth_chainId")
        assert answer["error"]["code"] == -32603
        assert "secret" not in json.dumps(answer)

    async def test_a_failure_of_the_sequencer_has_its_code(self, http, server, sequencer):
        await sequencer.ledger.store._all("DROP TABLE event")
        answer = await call(http, server, "rollup_events")
        assert answer["error"]["code"] == -32603
        assert answer["error"]["data"]["code"] == "sequencer_storage"

    async def test_a_call_that_takes_too_long_is_broken_off(self, http):
        async def slow(*_):
            await asyncio.Event().wait()

        async with JsonRpcServer(slow, limits=RpcLimits(call_timeout_s=0.01)) as server:
            await server.start()
            assert (await call(http, server, "eth_chainId"))["error"]["data"]["code"] == "timeout"

    async def test_more_calls_than_it_takes_are_told_to_come_back(self, http, sequencer):
        async with RpcServer(sequencer, l1_rpc_url="", limits=RpcLimits(max_running=0)) as server:
            await server.start()
            assert (await call(http, server, "eth_chainId"))["error"]["code"] == -32005


def _with_high_s(raw: bytes) -> bytes:
    return raw[:-32] + (SECP256K1_N // 2 + 1).to_bytes(32, "big")


ELSEWHERE = SigningDomain(7_002, DOMAIN.rollup_address, DOMAIN.salt)
REFUSED = [
    (b"\x63" * 9, "malformed"),
    (signed(Transfer(1, 1, 5, 10), 1, 0)[:-1], "malformed"),
    (signed(Transfer(1, 1, 5, 10), 1, 0) + b"\0", "malformed"),
    (signed(Transfer(1, 1, 5, 10), 1, 0, ELSEWHERE), "bad_signature"),
    (signed(Transfer(1, 1, 5, 10), 1, 1), "bad_signature"),
    (signed(Transfer(1, 1, 5, 10), 2, 0), "bad_signature"),
    (_with_high_s(signed(Transfer(1, 1, 5, 10), 1, 0)), "malleable_signature"),
    (signed(Transfer(1, 1, FAUCET_NANO, 10), 1, 0), "overdraft"),
    (signed(Transfer(1, 1, 2**64 - 1, 2**32 - 1), 1, 0), "overdraft"),
    (signed(Transfer(2**32 - 1, 1, 5, 10), 1, 0), "missing_sender"),
    (signed(Transfer(1, 2**32 - 1, 5, 10), 1, 0), "missing_receiver"),
    (signed(Transfer(1, 1, 5, 9), 1, 0), "fee_too_low"),
    (signed(Stake(1, 0, 10), 1, 0), "stake_unavailable"),
    (signed(Unstake(1, 1, 10), 1, 0), "stake_unavailable"),
    (signed(Unstake(1, 1, 9), 1, 0), "fee_too_low"),
    (FinishUnstake(1).encode(), "stake_unavailable"),
    (FinishUnstake(0).encode(), "missing_sender"),
    (slash(1, 1), "stake_unavailable"),
    (slash(1, 9), "missing_receiver"),
    (slash(1, 1, signer=2), "bad_evidence"),
    (signed_once(Redeem(0, 1), 1), "channel_unavailable"),
    (Expire(2**32 - 1).encode(), "channel_unavailable"),
]


class TestRefusedTransactions:
    async def test_each_has_a_code_and_changes_nothing(self, http, server, client, sequencer):
        await client.faucet(owner(1))
        async with asyncio.timeout(PATIENCE_S):
            while sequencer.queries.account(owner(1)).balance_nano < FAUCET_NANO:
                await asyncio.sleep(0.01)
        root = sequencer.head.state.root()
        for raw, code in REFUSED:
            error = (await call(http, server, "rollup_submit", "0x" + raw.hex()))["error"]
            assert error["data"]["code"] == code, (raw.hex(), error)
            assert "\n" not in error["message"]
        assert sequencer.head.state.root() == root

    async def test_a_stale_nonce_is_refused_and_the_same_bytes_are_not(self, http, server, client, sequencer):
        await client.faucet(owner(1))
        async with asyncio.timeout(PATIENCE_S):
            while sequencer.queries.account(owner(1)).balance_nano < FAUCET_NANO:
                await asyncio.sleep(0.01)
        raw = "0x" + signed(Transfer(1, 1, 5, 10), 1, 0).hex()
        first = await call(http, server, "rollup_submit", raw)
        assert await call(http, server, "rollup_submit", raw) == first
        stale = "0x" + signed(Transfer(1, 1, 6, 10), 1, 0).hex()
        assert (await call(http, server, "rollup_submit", stale))["error"]["data"]["code"] == "bad_signature"

    async def test_one_that_stands_by_says_so(self, http, server, sequencer, l1):
        l1.leads = owner(9)
        l1.fork += 1
        async with asyncio.timeout(PATIENCE_S):
            while sequencer.leads:
                await asyncio.sleep(0.01)
        raw = "0x" + CreateAccount(owner(5)).encode().hex()
        error = (await call(http, server, "rollup_submit", raw))["error"]
        assert error["data"]["code"] == "not_leading"
        assert (await call(http, server, "rollup_info"))["result"]["leads"] is False


class TestSlowAndBrokenBodies:
    HEAD = (
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        b"Content-Length: 1000\r\nConnection: close\r\n\r\n{"
    )

    async def test_a_body_that_does_not_come_is_not_waited_for(self):
        async def answer(_method, _given):
            raise AssertionError

        async with JsonRpcServer(answer, limits=RpcLimits(body_timeout_s=0.05)) as server:
            await server.start()
            reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
            writer.write(self.HEAD)
            status = await asyncio.wait_for(reader.readline(), PATIENCE_S)
            writer.close()
        assert b" 408 " in status

    async def test_a_client_that_hangs_up_is_no_failure_of_the_server(self, http, server, caplog):
        _, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
        writer.write(self.HEAD)
        await writer.drain()
        await call(http, server, "net_version")
        writer.close()
        await writer.wait_closed()
        for _ in range(5):
            await call(http, server, "net_version")
        assert [record for record in caplog.records if record.levelname == "ERROR"] == []

    async def test_a_body_that_is_packed_wrongly_is_refused(self, http, server):
        status, _ = await post(http, server, b"{}", Content_Encoding="gzip")
        assert status == 400


class TestWebPages:
    async def test_a_page_is_turned_away(self, http, server):
        body = {"id": 1, "method": "eth_chainId"}
        assert (await post(http, server, body, Origin="https://evil.example"))[0] == 403
        assert (await post(http, server, body, Origin="null"))[0] == 403
        assert (await post(http, server, body, Origin="http://[bad"))[0] == 403

    async def test_a_rebound_name_is_turned_away(self, http, server):
        assert (await post(http, server, {"id": 1, "method": "eth_chainId"}, Host="evil.example:8547"))[0] == 403

    async def test_a_wallet_extension_and_the_server_itself_are_let_in(self, http, server):
        body = {"id": 1, "method": "eth_chainId"}
        assert (await post(http, server, body, Origin="chrome-extension://abc"))[0] == 200
        assert (await post(http, server, body, Origin=server.url))[0] == 200

    async def test_a_name_that_the_operator_gave_is_let_in(self, http, sequencer):
        async with RpcServer(sequencer, l1_rpc_url="", host_names=frozenset({"rollup.example"})) as named:
            await named.start()
            body = {"id": 1, "method": "eth_chainId"}
            assert (await post(http, named, body, Host="rollup.example"))[0] == 200


class TestBatchesOfCalls:
    async def test_answers_come_in_order_and_notifications_get_none(self, http, server):
        batch = [
            {"jsonrpc": "2.0", "id": 1, "method": "eth_chainId"},
            {"jsonrpc": "2.0", "method": "eth_chainId"},
            {"jsonrpc": "2.0", "id": "b", "method": "nothing"},
        ]
        _, answers = await post(http, server, batch)
        assert [answer["id"] for answer in answers] == [1, "b"]
        assert (await post(http, server, {"method": "eth_chainId"}))[0] == 204
        assert (await post(http, server, [{"method": "eth_chainId"}]))[0] == 204

    async def test_parameters_may_be_named(self, http, server):
        request = {"id": 1, "method": "rollup_proof", "params": {"index": 1, "kind": "account"}}
        _, answer = await post(http, server, request)
        assert answer["error"]["data"]["code"] == "not_final"


class TestWebsocket:
    async def test_calls_are_answered_on_one_connection(self, http, server):
        async with http.ws_connect(server.url + "/ws") as socket:
            for number in range(3):
                await socket.send_json({"jsonrpc": "2.0", "id": number, "method": "eth_chainId"})
                assert await socket.receive_json() == {"jsonrpc": "2.0", "id": number, "result": hex(7001)}
            await socket.send_bytes(b"rubbish")
            assert (await socket.receive_json())["error"]["code"] == -32700

    async def test_an_oversized_message_closes_it(self, http, server):
        async with http.ws_connect(server.url + "/ws") as socket:
            await socket.send_bytes(b" " * (LIMITS.max_body_bytes + 1))
            message = await socket.receive()
            assert message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)

    async def test_pages_and_plain_requests_are_turned_away(self, http, server):
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await http.ws_connect(server.url + "/ws", headers={"Origin": "https://evil.example"})
        assert caught.value.status == 403
        async with http.get(server.url + "/ws") as response:
            assert response.status == 426

    async def test_more_than_it_takes_are_turned_away(self, http, sequencer):
        async with RpcServer(sequencer, l1_rpc_url="", limits=RpcLimits(max_websockets=1)) as server:
            await server.start()
            async with http.ws_connect(server.url + "/ws"):
                with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                    await http.ws_connect(server.url + "/ws")
                assert caught.value.status == 503

    async def test_closing_the_server_closes_it(self, http, sequencer):
        server = RpcServer(sequencer, l1_rpc_url="")
        await server.start()
        socket = await http.ws_connect(server.url + "/ws")
        reading = asyncio.ensure_future(socket.receive())
        await server.aclose()
        assert (await reading).type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)
        await socket.close()


async def test_without_a_devnet_nobody_flushes_and_nothing_is_given(http, sequencer):
    async with RpcServer(sequencer, l1_rpc_url="") as plain:
        await plain.start()
        for method in ("rollup_flush", "devnet_faucet"):
            assert (await call(http, plain, method))["error"]["code"] == -32601


async def test_a_taken_port_is_said_plainly(server, sequencer):
    other = RpcServer(sequencer, l1_rpc_url="")
    with pytest.raises(IdlewattError) as caught:
        await other.start(port=int(server.url.rsplit(":", 1)[1]))
    assert caught.value.code == "port_in_use"


async def test_a_refusal_carries_its_code_and_fix(http, server):
    raw = "0x" + CreateAccount(owner(1)).encode().hex()
    assert "result" in await call(http, server, "rollup_submit", raw)
    error = (await call(http, server, "rollup_submit", "0x" + "02" * 85))["error"]
    assert error["code"] == -32000
    assert error["data"]["code"] == "missing_sender"
    assert error["data"]["fix"]


class TestClients:
    """Quotas tell clients apart by their address; what a proxy says counts only where the operator trusts it."""

    @staticmethod
    async def create(http, server, number: int, client: str) -> dict:
        params = [checksum_address(owner(number))]
        request = {"jsonrpc": "2.0", "id": 1, "method": "rollup_createAccount", "params": params}
        status, answer = await post(http, server, request, X_Forwarded_For=client)
        assert status == 200
        return answer

    @pytest.fixture
    async def tight(self, l1, tmp_path):
        config = SequencerConfig(poll_s=0.01, inbox_confirmations=0, accounts_per_minute=16)
        async with Sequencer(l1, tmp_path / "tight.db", config=config) as running:
            yield running

    async def test_one_behind_a_trusted_proxy_is_told_to_wait_and_the_others_are_served(self, http, tight):
        proxies = [ipaddress.ip_network("127.0.0.0/8")]
        async with RpcServer(tight, l1_rpc_url="http://127.0.0.1:1", trusted_proxies=proxies) as server:
            await server.start()
            assert all(["result" in await self.create(http, server, number, "198.51.100.7") for number in (1, 2)])
            error = (await self.create(http, server, 3, "198.51.100.7"))["error"]
            assert error["data"]["code"] == "rate_limited"
            assert 0 < error["data"]["retry_after_s"] <= 60
            assert "result" in await self.create(http, server, 3, "203.0.113.5")
            assert "error" in await self.create(http, server, 4, "6.6.6.6, 198.51.100.7")

    async def test_a_header_of_nobodys_proxy_changes_nothing(self, http, tight):
        async with RpcServer(tight, l1_rpc_url="http://127.0.0.1:1") as server:
            await server.start()
            assert all(["result" in await self.create(http, server, number, "198.51.100.7") for number in range(1, 9)])

    async def test_one_with_many_calls_or_websockets_open_keeps_nobody_else_out(self, http):
        started, ending = asyncio.Event(), asyncio.Event()

        async def slow(method, _given):
            if method == "slow":
                started.set()
                await ending.wait()
            return method

        proxies = [ipaddress.ip_network("127.0.0.0/8")]
        limits = RpcLimits(max_running_of_one=1, max_websockets_of_one=1)
        greedy, other = {"X-Forwarded-For": "198.51.100.7"}, {"X-Forwarded-For": "203.0.113.5"}
        async with JsonRpcServer(slow, limits=limits, trusted_proxies=proxies, has_websocket=True) as server:
            await server.start()
            held = asyncio.ensure_future(post(http, server, {"id": 1, "method": "slow"}, **greedy))
            await started.wait()
            _, refused = await post(http, server, {"id": 2, "method": "quick"}, **greedy)
            assert refused["error"]["data"]["code"] == "busy"
            assert (await post(http, server, {"id": 3, "method": "quick"}, **other))[1]["result"] == "quick"
            ending.set()
            assert (await held)[1]["result"] == "slow"
            assert (await post(http, server, {"id": 4, "method": "quick"}, **greedy))[1]["result"] == "quick"

            async with http.ws_connect(server.url + "/ws", headers=greedy):
                with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                    await http.ws_connect(server.url + "/ws", headers=greedy)
                assert caught.value.status == 503
                await (await http.ws_connect(server.url + "/ws", headers=other)).close()
