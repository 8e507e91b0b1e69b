import asyncio
import json

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from chain.client import RollupClient
from chain.errors import ChainRejectedError, ChainUnavailableError, UsageError
from chain.signing import checksum_address
from chain.txs import CreateAccount, Expire, OpenChannel, Redeem, Transfer, Withdraw, tx_id
from chain.urls import shown_url
from chain.views import Inclusion
from tests.chain.conftest import FAUCET_NANO
from tests.chain.support import owner, signed, signed_once
from tests.patience import PATIENCE_S

ADDRESS = checksum_address(owner(1))
HASH = "0x" + "ab" * 32


async def funded(chain: RollupClient, number: int) -> int:
    await chain.faucet(owner(number))
    async with asyncio.timeout(PATIENCE_S):
        while (view := await chain.account(owner(number))) is None or not view.balance_nano:
            await asyncio.sleep(0.01)
    return view.index


class TestAgainstTheServer:
    async def test_the_whole_way_of_a_channel(self, client, l1):
        payer, payee = await funded(client, 1), (await client.create_account(owner(2))).index
        domain = await client.domain()
        info = await client.info()
        assert (info.l2_chain_id, info.has_faucet, info.params.min_fee_nano) == (7001, True, 10)
        opening = OpenChannel(payer, payee, owner(9), 5_000, info.l2_time_s + 900, 10)
        receipt = await client.submit(signed(opening, 1, 0, domain))
        channel_id = receipt.allocated_index
        view = await client.channel(channel_id)
        assert (view.payer, view.payee, view.signer) == tuple(checksum_address(owner(n)) for n in (1, 2, 9))
        assert (view.deposit_nano, view.redeemed_nano, view.open_inclusion) == (5_000, 0, Inclusion.SOFT)
        assert await client.channels_of(owner(2)) == await client.channels_of(owner(1)) == [view]
        redeemed = await client.submit(signed_once(Redeem(channel_id, 1_234), 9, domain))
        await client.flush()
        status = await client.wait_for(redeemed.l2_tx, Inclusion.BATCHED, timeout_s=PATIENCE_S)
        assert (status.kind, status.batch_id) == ("redeem", (await client.batches())[0].batch_id)
        assert (await client.channel(channel_id)).open_inclusion is Inclusion.BATCHED
        assert (await client.account(owner(2))).balance_nano == 1_234
        assert await client.channel(77) is None
        assert await client.account(owner(77)) is None
        assert await client.channels_of(owner(77)) == []

    async def test_the_whole_way_of_a_withdrawal(self, client, l1):
        number = await funded(client, 1)
        raw = signed(Withdraw(number, 600, 10, owner(1)), 1, 0, await client.domain())
        receipt = await client.submit(raw)
        await client.flush()
        with pytest.raises(ChainRejectedError) as caught:
            await client.proof("withdrawal", receipt.allocated_index)
        assert caught.value.code == "not_final"
        l1.now_s += 60
        status = await client.wait_for(receipt.l2_tx, Inclusion.FINAL, timeout_s=PATIENCE_S)
        assert status.final_at_s <= l1.now_s
        proof = await client.proof("withdrawal", receipt.allocated_index)
        assert proof.index == 2 << 30 | receipt.allocated_index
        [view] = await client.withdrawals_of(owner(1))
        assert (view.amount_nano, view.recipient, view.l2_tx) == (600, ADDRESS, receipt.l2_tx)
        batch = await client.batch(proof.batch_id)
        assert batch.post_state_root == proof.state_root
        assert await client.batch(99) is None
        assert {"deposit", "batch", "final"} <= {event.kind for event in await client.events()}

    async def test_a_refusal_has_the_servers_code(self, client):
        with pytest.raises(ChainRejectedError) as caught:
            await client.submit(signed(Transfer(9, 9, 1, 10), 1, 0, await client.domain()))
        assert caught.value.code == "missing_sender"
        assert caught.value.fix

    async def test_an_unknown_transaction_is_unknown_and_waiting_for_it_ends(self, client):
        assert (await client.transaction(HASH)).inclusion is Inclusion.UNKNOWN
        with pytest.raises(ChainUnavailableError) as caught:
            await client.wait_for(HASH, Inclusion.SOFT, timeout_s=0.1)
        assert caught.value.code == "not_included"

    async def test_the_faucet_credits_the_account_that_exists(self, client):
        made = await client.create_account(owner(1))
        assert await funded(client, 1) == made.index
        assert (await client.account(owner(1))).balance_nano == FAUCET_NANO


@pytest.fixture
async def answering():
    """A server that answers every call with whatever the test says."""
    servers = []

    async def start(make_response, **limits) -> RollupClient:
        async def handle(request: web.Request) -> web.StreamResponse:
            identity = json.loads(await request.read())["id"]
            result = make_response(identity)
            return await result if asyncio.iscoroutine(result) else result

        app = web.Application()
        app.router.add_post("/", handle)
        server = TestServer(app)
        await server.start_server()
        chain = RollupClient(str(server.make_url("/")), **{"timeout_s": 2.0} | limits)
        servers.append((server, chain))
        return chain

    yield start
    for running, chain in servers:
        await chain.aclose()
        await running.close()


def result(value):
    return lambda identity: web.json_response({"jsonrpc": "2.0", "id": identity, "result": value})


ACCOUNT = {"index": 1, "address": ADDRESS, "balance_nano": "5", "nonce": 0}
RECEIPT = {"l2_tx": HASH, "sequence": 0, "allocated_index": None}
CHANNEL = {
    "channel_id": 1,
    "payer": ADDRESS,
    "payee": ADDRESS,
    "signer": ADDRESS,
    "deposit_nano": "5",
    "redeemed_nano": "0",
    "expiry_s": 9,
    "closing_at_s": 0,
    "open_inclusion": "soft",
    "redeems_left": 9,
}
PROOF = {"batch_id": 0, "state_root": HASH, "index": 1, "leaf": "0x01", "siblings": [HASH] * 32}


class TestHostileServers:
    @pytest.mark.parametrize(
        "account",
        [
            7,
            [],
            "x",
            {},
            {**ACCOUNT, "balance_nano": 5},
            {**ACCOUNT, "balance_nano": "-5"},
            {**ACCOUNT, "balance_nano": "5.0"},
            {**ACCOUNT, "balance_nano": "٥"},
            {**ACCOUNT, "balance_nano": "9" * 500},
            {**ACCOUNT, "balance_nano": ""},
            {**ACCOUNT, "balance_nano": None},
            {**ACCOUNT, "nonce": -1},
            {**ACCOUNT, "nonce": 2**64},
            {**ACCOUNT, "nonce": 1.5},
            {**ACCOUNT, "nonce": "0"},
            {**ACCOUNT, "address": "0x00"},
            {**ACCOUNT, "address": "x" * 5_000},
            {**ACCOUNT, "address": checksum_address(owner(2))},
            {**ACCOUNT, "index": None},
            {**ACCOUNT, "index": 0},
            {**ACCOUNT, "index": 2**30},
            {**ACCOUNT, "balance_nano": str(2**128)},
            {"a": {"b": {"c": {"d": {"e": {"f": {"g": {}}}}}}}},
        ],
    )
    async def test_an_account_that_is_none_is_not_believed(self, answering, account):
        chain = await answering(result(account))
        with pytest.raises(ChainUnavailableError) as caught:
            await chain.account(owner(1))
        assert caught.value.code == "chain_bad_answer"

    async def test_answers_about_something_else_are_not_believed(self, answering):
        for value, ask in [
            (RECEIPT, lambda c: c.submit(Expire(1).encode())),
            (CHANNEL, lambda c: c.channel(2)),
            ([CHANNEL], lambda c: c.channels_of(owner(5))),
            ([CHANNEL] * 1_001, lambda c: c.channels_of(owner(1))),
            ([CHANNEL] * 2, lambda c: c.channels_of(owner(1))),
            ([ACCOUNT] * 2, lambda c: c.accounts_of(owner(1))),
            ({**CHANNEL, "channel_id": 2**30}, lambda c: c.channel(2**30)),
            (PROOF, lambda c: c.proof("account", 1)),
            ({**PROOF, "leaf": "0xzz"}, lambda c: c.proof("account", 1)),
            ({**PROOF, "siblings": [HASH] * 31}, lambda c: c.proof("account", 1)),
            ({**PROOF, "siblings": ["0x"] * 32}, lambda c: c.proof("account", 1)),
            (None, lambda c: c.info()),
            (None, lambda c: c.create_account(owner(1))),
            ({**CHANNEL, "open_inclusion": "surely"}, lambda c: c.channel(1)),
        ]:
            chain = await answering(result(value))
            with pytest.raises(ChainUnavailableError) as caught:
                await ask(chain)
            assert caught.value.code == "chain_bad_answer"

    async def test_an_l1_is_named_by_a_url_and_the_persons_own_one_counts(self, answering, client):
        honest = msgspec.to_builtins(await client._call("rollup_info"))
        for named, own, counts in [
            ("http://l1:8545", "", "http://l1:8545"),
            ("http://l1:8545", "http://mine:8545", "http://mine:8545"),
            ("file:///etc/passwd", "http://mine:8545", "http://mine:8545"),
        ]:
            chain = await answering(result({**honest, "l1_rpc_url": named}), own_l1=own)
            assert (await chain.info()).l1_rpc_url == counts
        for changed in [{"l1_rpc_url": "file:///etc/passwd"}, {"l2_time_s": 2**41}, {"nano_per_unit": 0}]:
            chain = await answering(result(honest | changed))
            with pytest.raises(ChainUnavailableError):
                await chain.info()

    async def test_texts_are_made_harmless(self, answering):
        event = {"kind": "batch", "at_s": 1, "text": "a\x1b[31m\nb\u202e", "reference": "x"}
        chain = await answering(result([event]))
        [view] = await chain.events()
        assert view.text.isprintable()

    @pytest.mark.parametrize(
        ("error", "kind", "code"),
        [
            ({"code": -32000, "message": "No.", "data": {"code": "overdraft"}}, ChainRejectedError, "overdraft"),
            (
                {"code": -32000, "message": "No.\x1b[2J\n", "data": {"code": "A B"}},
                ChainRejectedError,
                "chain_rejected",
            ),
            ({"code": -32000, "message": 7, "data": 7}, ChainRejectedError, "chain_rejected"),
            ({"code": -32603, "message": "x" * 9_000, "data": {"code": "internal"}}, ChainUnavailableError, "internal"),
            ({"code": -32002, "message": "Slow."}, ChainUnavailableError, "chain_rejected"),
            ("nonsense", ChainUnavailableError, "chain_bad_answer"),
        ],
    )
    async def test_errors_are_one_harmless_line(self, answering, error, kind, code):
        chain = await answering(lambda identity: web.json_response({"id": identity, "error": error}))
        with pytest.raises(kind) as caught:
            await chain.info()
        assert caught.value.code == code
        assert caught.value.line().isprintable()
        assert len(caught.value.line()) < 700

    @pytest.mark.parametrize(
        "response",
        [
            lambda _: web.Response(body=b"rubbish"),
            lambda _: web.Response(body=b"[" * 5_000),
            lambda _: web.Response(body=b"\xff\xff"),
            lambda _: web.json_response([1]),
            lambda identity: web.json_response({"id": identity + 1, "result": None}),
            lambda _: web.Response(status=500),
            lambda _: web.Response(status=302, headers={"Location": "http://127.0.0.1:1/"}),
        ],
    )
    async def test_what_is_no_answer_is_said_to_be_none(self, answering, response):
        chain = await answering(response)
        with pytest.raises(ChainUnavailableError) as caught:
            await chain.account(owner(1))
        assert caught.value.code == "chain_bad_answer"

    async def test_an_endless_answer_is_cut_off(self, answering):
        chain = await answering(lambda _: web.Response(body=b" " * 200_000), max_answer_bytes=100_000)
        with pytest.raises(ChainUnavailableError) as caught:
            await chain.info()
        assert caught.value.code == "chain_bad_answer"

    async def test_a_server_that_never_answers_is_given_up_on(self, answering):
        never = asyncio.Event()

        async def silent():
            await never.wait()
            return web.Response()

        chain = await answering(lambda _: silent(), timeout_s=0.05)
        with pytest.raises(ChainUnavailableError) as caught:
            await chain.info()
        assert caught.value.code == "chain_timeout"
        never.set()


async def test_nobody_listening_is_said_with_what_to_do(unused_tcp_port_factory):
    async with RollupClient(f"http://127.0.0.1:{unused_tcp_port_factory()}") as chain:
        with pytest.raises(ChainUnavailableError) as caught:
            await chain.info()
        assert caught.value.code == "chain_unreachable"
        assert "devnet" in caught.value.fix
        with pytest.raises(ChainUnavailableError) as caught:
            await chain.wait_for(HASH, Inclusion.SOFT, timeout_s=0.05)
        assert caught.value.code == "not_included"


@pytest.mark.parametrize("url", ["", "127.0.0.1:8547", "ws://x", "http://", "http://h:0", "http://[x", "http://h\n"])
def test_what_is_no_url_is_refused_at_once(url):
    with pytest.raises(UsageError) as caught:
        RollupClient(url)
    assert caught.value.code == "bad_url"


async def test_the_hash_that_a_wallet_computes_is_the_servers(client):
    raw = CreateAccount(owner(3)).encode()
    assert (await client.submit(raw)).l2_tx == "0x" + tx_id(raw).hex()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://me:secret@127.0.0.1:1/a@b?c@d", "http://127.0.0.1:1/a@b?c@d"),
        ("ws://me@here", "ws://here"),
        ("https://me:p@ss@[::1]:8/", "https://[::1]:8/"),
        ("http://here?key=@x", "http://here?key=@x"),
        ("", ""),
    ],
)
def test_an_address_is_shown_without_its_credentials(url, shown):
    assert shown_url(url) == shown


async def test_a_failure_names_the_server_without_its_credentials():
    async with RollupClient("http://me:secret@127.0.0.1:1") as client:
        with pytest.raises(ChainUnavailableError, match=r"http://127\.0\.0\.1:1 can't be reached") as unreachable:
            await client.info()
    assert "secret" not in unreachable.value.line()


class TestManyWords:
    async def test_more_words_than_one_answer_holds_come_in_pieces(self):
        """Two watchtowers about 1,200 batches; a page ends in the middle of a batch's."""
        words = [
            {"batch_id": batch, "batch_hash": HASH, "attester": attester, "signature": "0x" + "00" * 64}
            for batch in range(1_200)
            for attester in (ADDRESS, checksum_address(owner(2)))
        ][1:]

        async def handle(request: web.Request) -> web.Response:
            asked = json.loads(await request.read())
            page = [word for word in words if word["batch_id"] <= asked["params"][0]][-1_000:]
            return web.json_response({"jsonrpc": "2.0", "id": asked["id"], "result": page})

        app = web.Application()
        app.router.add_post("/", handle)
        async with TestServer(app) as server, RollupClient(str(server.make_url("/"))) as chain:
            views = await chain.attestations(1_199)
        assert [(view.batch_id, view.attester) for view in views] == [(w["batch_id"], w["attester"]) for w in words]

    async def test_a_server_whose_pieces_lead_nowhere_is_not_asked_for_ever(self, answering):
        word = {"batch_id": 7, "batch_hash": HASH, "attester": ADDRESS, "signature": "0x" + "00" * 64}
        chain = await answering(result([word] * 1_000))
        assert len(await chain.attestations(9)) == 1_000
