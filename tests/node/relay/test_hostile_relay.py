"""A client at a hostile relay: one clear line, never a crash, a hang or unbounded memory."""

import asyncio

import msgspec
import pytest
from aiohttp import WSMsgType, web
from nacl.signing import SigningKey

from node.relay.auth import make_challenge
from node.relay.circuit import CircuitClosedError, RelayError
from node.relay.client import RelayClient
from node.wire import messages as m
from node.wire.codec import auth_reader, encode, hello_reader, node_reader
from tests.patience import PATIENCE_S

WELCOME = m.Welcome(b"t" * 32, False, 0, 1000, 60_000, 65_536, 262_144, 64, 16, 16_384, 2**24, 2**25)


class FakeRelay:
    """A websocket server that does the handshake and then what a test tells it."""

    def __init__(self, behave):
        self._behave = behave
        self.key = SigningKey.generate()
        self.gone = asyncio.Event()

    async def __aenter__(self):
        server = web.Server(self._serve)
        self._listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
        self._server = server
        self.url = f"ws://127.0.0.1:{self._listener.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_exc):
        self._listener.close()
        await self._server.shutdown(0.1)

    async def _serve(self, request):
        self.ws = web.WebSocketResponse(compress=False, timeout=0.1)
        await self.ws.prepare(request)
        await self._behave(self)
        async for _message in self.ws:
            pass
        self.gone.set()
        return self.ws

    async def send(self, message):
        await self.ws.send_bytes(message if isinstance(message, bytes) else encode(message))

    async def receive(self, kind=None):
        while True:
            message = node_reader().read(await self.ws.receive_bytes())
            if kind is None or isinstance(message, kind):
                return message

    async def hello(self):
        return hello_reader().read(await self.ws.receive_bytes())

    async def shake_hands(self):
        hello = await self.hello()
        await self.send(make_challenge(hello, 1, self.key))
        auth_reader().read(await self.ws.receive_bytes())
        await self.send(WELCOME)
        return hello


async def start_error(behave, **options):
    async with FakeRelay(behave) as relay:
        client = RelayClient(relay.url, **options)
        with pytest.raises(RelayError) as caught:
            await client.start()
        assert client.state.phase == "closed"
        return caught.value


async def first_loss(behave, *, use=None):
    """The line of the first loss of a client that joined."""
    lost = asyncio.Event()
    async with FakeRelay(behave) as relay:
        client = RelayClient(
            relay.url,
            on_state=lambda state: state.phase in {"reconnecting", "closed"} and lost.set(),
            backoff=lambda attempt: 3600.0,
        )
        async with client:
            using = asyncio.create_task(use(client)) if use else None
            async with asyncio.timeout(PATIENCE_S):
                await lost.wait()
            line = client.state.last_failure.line
        if using:
            await using
        return line


async def test_a_relay_that_can_not_prove_its_identity_is_left():
    async def behave(relay):
        hello = await relay.hello()
        honest = make_challenge(hello, 1, relay.key)
        await relay.send(m.Challenge(1, bytes(SigningKey.generate().verify_key), honest.nonce, honest.proof))

    error = await start_error(behave)
    assert error.code == "auth"


async def test_a_relay_of_another_version_is_named_so():
    async def behave(relay):
        await relay.send(make_challenge(await relay.hello(), 9, relay.key))

    error = await start_error(behave)
    assert error.code == "version"
    assert "Update" in error.fix


@pytest.mark.parametrize("step", ["challenge", "welcome"])
async def test_a_refusal_in_the_handshake_is_one_harmless_line(step):
    async def behave(relay):
        hello = await relay.hello()
        if step == "welcome":
            await relay.send(make_challenge(hello, 1, relay.key))
            await relay.ws.receive()
        await relay.send(m.Failure("limit_nodes", "full \x1b[2J\u202e"))

    error = await start_error(behave)
    assert error.code == "limit_nodes"
    assert error.message == "The relay refused (limit_nodes): full "


async def test_a_server_that_says_nothing_is_given_up_in_time():
    async def behave(relay):
        await relay.hello()

    error = await start_error(behave, connect_timeout_s=0.1)
    assert error.code == "relay_unreachable"
    assert "no answer in time" in error.message


async def test_a_welcome_that_resumes_what_never_was_is_refused():
    async def behave(relay):
        await relay.send(make_challenge(await relay.hello(), 1, relay.key))
        await relay.ws.receive()
        await relay.send(msgspec.structs.replace(WELCOME, resumed=True, received=99))

    error = await start_error(behave)
    assert error.code == "protocol"


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\xc1garbage",
        m.Data(1, b"x"),
        m.Data(2, b"x"),
        m.Accepted(1, 5),
        m.Incoming(3, b"k" * 32, 1000),
        m.Ack(10),
        m.Pong(1, 10),
        m.Query(1),
    ],
    ids=lambda message: type(message).__name__,
)
async def test_a_relay_that_breaks_the_protocol_is_left(message):
    async def behave(relay):
        await relay.shake_hands()
        await relay.send(message)

    line = await first_loss(behave)
    assert line
    assert "\x1b" not in line


async def test_a_text_message_and_a_huge_one_are_left():
    async def text(relay):
        await relay.shake_hands()
        await relay.ws.send_str("hello")

    async def huge(relay):
        await relay.shake_hands()
        await relay.send(b"x" * 3_000_000)

    assert "text" in await first_loss(text)
    assert "limit_frame" in await first_loss(huge)


async def end_of(circuit):
    """Read a circuit to its end; returns the code."""
    try:
        while True:
            await circuit.receive()
    except CircuitClosedError as error:
        return error.code


@pytest.mark.parametrize(
    "messages",
    [[m.Accepted(1, 1000), m.Accepted(1, 1000)], [m.Accepted(1, 1000), *[m.Data(1, b"x" * 65_536)] * 5]],
    ids=["accepted twice", "more than the credit"],
)
async def test_a_relay_that_cheats_on_a_circuit_is_left(messages):
    async def behave(relay):
        await relay.shake_hands()
        await relay.receive(m.Open)
        for message in messages:
            await relay.send(message)

    circuits = []

    async def use(client):
        circuits.append(await client.connect("ab" * 32))

    line = await first_loss(behave, use=use)
    assert "relay" in line.lower()
    assert await end_of(circuits[0]) == "relay_lost"


@pytest.mark.parametrize("code", ["auth", "version", "replaced"])
async def test_a_final_refusal_ends_the_client_and_all_who_wait(code):
    async def behave(relay):
        await relay.shake_hands()
        await relay.receive(m.Open)
        await relay.send(m.Failure(code))

    refused = []

    async def use(client):
        try:
            await client.connect("ab" * 32)
        except RelayError as error:
            refused.append(str(error))

    line = await first_loss(behave, use=use)
    assert refused == [line]
    assert code in line


async def test_a_relay_that_never_answers_a_request_is_reported():
    async def behave(relay):
        await relay.shake_hands()

    async with FakeRelay(behave) as relay, RelayClient(relay.url) as client:
        with pytest.raises(RelayError) as caught:
            await client.offers(timeout_s=0.05)
        assert caught.value.code == "relay_unreachable"
        with pytest.raises(RelayError) as caught:
            await client.connect("ab" * 32, timeout_s=0.05)
        assert caught.value.code == "peer_timeout"


async def test_pages_without_end_stop_at_the_limit():
    async def behave(relay):
        await relay.shake_hands()
        while True:
            message = await relay.ws.receive()
            if message.type is not WSMsgType.BINARY:
                return
            query = node_reader().read(message.data)
            if isinstance(query, m.Query):
                listings = (m.Listing(b"k" * 32, b"offer"),) * query.limit
                await relay.send(m.Page(query.request, listings, query.request.to_bytes(4, "big")))

    async with FakeRelay(behave) as relay, RelayClient(relay.url) as client:
        assert len(await client.offers(limit=700)) == 700
