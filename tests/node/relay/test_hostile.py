"""A relay among hostile nodes: each gets a coded error and a close, and the others go on."""

import asyncio
import contextlib
import random
import struct

import aiohttp
import msgspec
import pytest
from nacl.signing import SigningKey

from node.relay.auth import answer_challenge, make_challenge
from node.wire import messages as m
from tests.node.relay.peers import pair, serve_echo
from tests.node.relay.raw import RawNode

WINDOW = 262_144


@pytest.fixture
async def bystanders(make_client):
    """Checks that two honest nodes still talk."""
    talks = []

    async def on(relay):
        here, there = await pair(await make_client(relay.url), await make_client(relay.url))
        talks.append((here, there))

    async def still_talk():
        for here, there in talks:
            await here.send(b"are you there?")
            assert await there.receive() == b"are you there?"

    on.still_talk = still_talk
    yield on
    await still_talk()


async def refusal(relay, *messages, join=True):
    """The coded error for the last of ``messages``."""
    async with RawNode(relay.url) as node:
        if join:
            await node.join()
        for message in messages:
            await node.send(message)
        return await node.failure()


async def raw_connection(relay):
    return await asyncio.open_connection("127.0.0.1", relay.port)


@pytest.mark.parametrize("join", [False, True], ids=["before the handshake", "after it"])
async def test_random_bytes_get_a_coded_error(relay, bystanders, join):
    await bystanders(relay)
    chance = random.Random(7)
    for size in (0, 1, 10, 1000):
        assert await refusal(relay, chance.randbytes(size), join=join) == "protocol"


async def test_random_values_of_the_right_shape_get_a_coded_error(relay, bystanders):
    await bystanders(relay)
    chance = random.Random(8)
    fields = [0, -1, 2**64 - 1, b"", b"k" * 32, "x", None, True, 1.5, [], {}, ["open"] * 3]
    for tag in (
        "hello",
        "auth",
        "publish",
        "query",
        "open",
        "accept",
        "data",
        "credit",
        "close",
        "ack",
        "ping",
        "pong",
    ):
        value = [tag, *(chance.choice(fields) for _ in range(chance.randint(0, 5)))]
        code = await refusal(relay, msgspec.msgpack.encode([*value, "surplus"] * 2))
        assert code == "protocol"


async def test_text_messages_get_a_coded_error(relay, bystanders):
    await bystanders(relay)
    async with RawNode(relay.url) as node:
        await node.ws.send_str("hello?")
        assert await node.failure() == "protocol"
    async with RawNode(relay.url) as node:
        await node.join()
        await node.ws.send_str("hello?")
        assert await node.failure() == "protocol"


async def test_oversized_messages_get_a_coded_error(relay, bystanders):
    await bystanders(relay)
    assert await refusal(relay, b"x" * 2000, join=False) == "limit_frame"
    assert await refusal(relay, b"x" * (relay.limits.message_bytes + 1)) == "limit_frame"


async def test_huge_messages_are_cut_by_the_websocket_before_they_are_kept(relay, bystanders):
    await bystanders(relay)
    async with RawNode(relay.url) as node:
        await node.join()
        with contextlib.suppress(ConnectionError):
            await node.send(b"x" * 5_000_000)
        await node.failure()
        # 1009 is the websocket's own "message too big"; 1006 when the reset overtakes it.
        assert node.ws.close_code in {1006, 1009}
        assert relay.counts()["buffered_bytes"] < 10_000


async def test_a_frame_over_the_limit_gets_a_coded_error(relay, bystanders):
    await bystanders(relay)
    async with RawNode(relay.url) as node, RawNode(relay.url) as peer:
        await open_circuit(node, peer)
        await node.send(m.Data(1, b"x" * (relay.limits.frame_bytes + 1)))
        assert await node.failure() == "limit_frame"
        assert (await peer.next(m.Close)).code == "peer_gone"


async def open_circuit(node, peer, window=WINDOW):
    await node.join()
    await peer.join()
    await node.send(m.Open(1, peer.node, window))
    incoming = await peer.next(m.Incoming)
    await peer.send(m.Accept(incoming.circuit, window))
    await node.next(m.Accepted)
    return incoming.circuit


async def test_a_wrong_signature_gets_a_coded_error(relay, bystanders):
    await bystanders(relay)
    async with RawNode(relay.url) as node:
        hello, challenge = await node.challenge()
        await node.send(answer_challenge(hello, challenge, SigningKey.generate(), token=b"", received=0))
        assert await node.failure() == "auth"


async def test_an_identity_that_is_no_key_gets_a_coded_error(relay):
    async with RawNode(relay.url) as node:
        hello = node.hello(node=b"\xff" * 32)
        _, challenge = await node.challenge(hello)
        await node.send(answer_challenge(hello, challenge, node.key, token=b"", received=0))
        assert await node.failure() == "auth"


async def test_the_answer_to_another_relays_challenge_gets_a_coded_error(make_relay, bystanders):
    relay, other = await make_relay(), await make_relay()
    await bystanders(relay)
    async with RawNode(relay.url) as node, RawNode(other.url, node.key) as elsewhere:
        hello = node.hello()
        _, challenge = await node.challenge(hello)
        _, foreign = await elsewhere.challenge(hello)
        await node.send(answer_challenge(hello, foreign, node.key, token=b"", received=0))
        assert await node.failure() == "auth"
        own = make_challenge(hello, challenge.version, other.identity)
        await elsewhere.send(answer_challenge(hello, own, node.key, token=b"", received=0))
        assert await elsewhere.failure() == "auth"


async def test_a_version_nobody_speaks_gets_a_coded_error(relay):
    async with RawNode(relay.url) as node:
        await node.send(node.hello(min_version=7, max_version=9))
        assert await node.failure() == "version"


async def test_a_handshake_that_trickles_gets_a_coded_error(make_relay, bystanders):
    relay = await make_relay(handshake_s=0.2)
    await bystanders(relay)
    async with RawNode(relay.url) as node:
        assert await node.failure() == "handshake_timeout"
    async with RawNode(relay.url) as node:
        await node.challenge()
        assert await node.failure() == "handshake_timeout"


@pytest.mark.parametrize("said", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: relay\r\nX-Slow: "])
async def test_a_connection_that_never_becomes_a_request_is_dropped(make_relay, bystanders, said):
    relay = await make_relay(handshake_s=0.2)
    await bystanders(relay)
    reader, writer = await raw_connection(relay)
    writer.write(said)
    with contextlib.suppress(ConnectionResetError):
        assert b"HTTP/1.1 101" not in await reader.read()
    writer.transport.abort()


async def test_bytes_that_are_no_http_are_dropped(relay, bystanders):
    await bystanders(relay)
    reader, writer = await raw_connection(relay)
    writer.write(random.Random(9).randbytes(2000) + b"\r\n\r\n")
    assert b"101" not in (await reader.read()).split(b"\r\n")[0]
    writer.transport.abort()


async def test_websocket_frames_that_break_its_own_rules_are_closed(relay, bystanders):
    await bystanders(relay)
    for broken in (b"\xff\xff" * 100, b"\x82\x7f" + struct.pack(">Q", 2**62), b"\x82\x05hello"):
        reader, writer = await raw_connection(relay)
        writer.write(
            b"GET / HTTP/1.1\r\nHost: relay\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        await reader.readuntil(b"\r\n\r\n")
        writer.write(broken)
        writer.write_eof()
        await reader.read()
        writer.transport.abort()


async def test_a_half_open_connection_is_dropped_when_it_stays_silent(make_relay, bystanders):
    relay = await make_relay(idle_s=0.6)
    await bystanders(relay)
    async with RawNode(relay.url) as node:
        await node.join()
        await node.send(m.Publish(1, (b"stale",)))
        assert await node.failure() == "idle_timeout"
    assert relay.counts()["offers"] == 0


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        ([m.Data(1, b"")], "circuit_unknown"),
        ([m.Credit(2, 1)], "circuit_unknown"),
        ([m.Accept(2, WINDOW)], "circuit_unknown"),
        ([m.Open(2, b"k" * 32, WINDOW)], "circuit_reused"),
        ([m.Open(5, b"k" * 32, WINDOW), m.Open(5, b"k" * 32, WINDOW)], "circuit_reused"),
        ([m.Open(1, b"k" * 32, 1)], "credit"),
        ([m.Publish(1, (b"x",) * 17)], "limit_offers"),
        ([m.Publish(1, (b"x" * 16_385,))], "limit_offer_bytes"),
        ([m.Query(1, b"made-up", 1)], "protocol"),
        ([m.Ack(1)], "protocol"),
        ([m.Ping(1, 2**53 - 1)], "protocol"),
        ([m.Hello(1, 1, b"k" * 32, b"n" * 32)], "protocol"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value[-1]).__name__,
)
async def test_breaking_a_rule_gets_its_code(relay, bystanders, messages, code):
    await bystanders(relay)
    assert await refusal(relay, *messages) == code


async def test_sending_beyond_the_credit_gets_a_coded_error(relay, bystanders):
    await bystanders(relay)
    async with RawNode(relay.url) as node, RawNode(relay.url) as peer:
        await open_circuit(node, peer)
        for _ in range(5):
            await node.send(m.Data(1, b"x" * 60_000))
        assert await node.failure() == "credit"


async def test_granting_beyond_the_window_gets_a_coded_error(relay, bystanders):
    await bystanders(relay)
    async with RawNode(relay.url) as node, RawNode(relay.url) as peer:
        circuit = await open_circuit(node, peer)
        await peer.send(m.Credit(circuit, m.MAX_WINDOW_BYTES))
        assert await peer.failure() == "credit"
        assert (await node.next(m.Close)).code == "peer_gone"


async def test_too_many_circuits_get_a_coded_error(make_relay, bystanders, make_client):
    relay = await make_relay(circuits_per_node=4)
    await bystanders(relay)
    peer = await make_client(relay.url)
    opens = [m.Open(number, bytes.fromhex(peer.node_id), WINDOW) for number in (1, 3, 5, 7, 9)]
    assert await refusal(relay, *opens) == "limit_circuits"
    async with serve_echo(peer):
        circuit = await (await make_client(relay.url)).connect(peer.node_id)
        await circuit.send(b"free again")
        assert await circuit.receive() == b"free again"


async def test_a_flood_gets_a_coded_error(make_relay, bystanders):
    relay = await make_relay(bytes_per_s=1000, burst_bytes=20_000)
    await bystanders(relay)
    assert await refusal(relay, *[m.Ping(1, 0)] * 400) == "limit_rate"
    assert await refusal(relay, *[m.Query(number) for number in range(3)]) == "limit_rate"
    async with RawNode(relay.url) as node:
        await node.join()
        for _ in range(400):
            await node.ws.ping(b"x" * 100)
        assert await node.failure() == "limit_rate"


async def test_a_websocket_ping_is_answered(relay):
    async with RawNode(relay.url) as node:
        await node.join()
        await node.ws.ping(b"there?")
        answer = await node.ws.receive()
        assert (answer.type, answer.data) == (aiohttp.WSMsgType.PONG, b"there?")
        await node.ws.pong(b"unasked")
        await node.send(m.Ping(5, 0))
        answer = await node.next(m.Pong)
        assert (answer.nonce, answer.received) == (5, 0)


async def test_too_many_connections_of_one_address_get_a_coded_error(make_relay, bystanders):
    relay = await make_relay(connections_per_ip=3)
    await bystanders(relay)
    async with RawNode(relay.url) as third:
        await third.join()
        async with RawNode(relay.url) as fourth:
            assert await fourth.failure() == "limit_connections"
        openings = [await raw_connection(relay) for _ in range(8)]
        assert await openings[-1][0].read() == b""
        for _reader, writer in openings:
            writer.transport.abort()


async def test_a_full_relay_gets_a_coded_error(make_relay, bystanders):
    relay = await make_relay(nodes=2)
    await bystanders(relay)
    async with RawNode(relay.url) as node:
        hello, challenge = await node.challenge()
        await node.send(answer_challenge(hello, challenge, node.key, token=b"", received=0))
        assert await node.failure() == "limit_nodes"


async def test_one_who_grants_credit_and_never_reads_is_cut_and_its_memory_freed(make_relay, bystanders):
    relay = await make_relay(window_bytes=131_200, circuits_per_node=1, page_bytes=1)
    await bystanders(relay)
    async with RawNode(relay.url) as greedy, RawNode(relay.url) as peer:
        circuit = await open_circuit(greedy, peer, 131_200)
        transport = greedy.ws._response.connection.transport
        transport.pause_reading()
        most_bytes, heard = 0, None
        while not isinstance(heard, m.Close):
            await peer.send(m.Data(circuit, b"x" * 60_000))
            await peer.send(m.Ping(1, 0))
            while not isinstance(heard := await peer.next(), m.Pong | m.Close):
                pass
            most_bytes = max(most_bytes, relay.counts()["buffered_bytes"])
            if isinstance(heard, m.Pong):
                await greedy.send(m.Credit(1, 60_064))
                while not isinstance(heard := await peer.next(), m.Credit | m.Close):
                    pass
        assert heard.code == "peer_gone"
        assert 500_000 < most_bytes < 800_000
        assert relay.counts()["buffered_bytes"] < 10_000
        transport.resume_reading()
        assert await greedy.failure() == "limit_buffer"


async def test_the_greediest_node_goes_when_the_relay_keeps_too_much(make_relay, make_client, bystanders):
    relay = await make_relay(buffered_bytes=100_000)
    await bystanders(relay)
    anna = await make_client(relay.url)
    async with RawNode(relay.url) as deaf:
        await deaf.join()
        dialling = asyncio.create_task(anna.connect(deaf.node_id))
        incoming = await deaf.next(m.Incoming)
        await deaf.send(m.Accept(incoming.circuit, WINDOW))
        circuit = await dialling
        await circuit.send(b"x" * 60_000)
        await circuit.send(b"x" * 60_000)
        assert await deaf.failure() == "limit_buffer"


async def test_answers_that_are_not_fetched_are_limited(make_relay, bystanders, make_client):
    relay = await make_relay()
    await bystanders(relay)
    publisher = await make_client(relay.url)
    await publisher.publish([b"x" * 16_000] * 16)
    async with RawNode(relay.url) as node:
        await node.join()
        node.ws._response.connection.transport.pause_reading()
        for number in range(200):
            await node.send(m.Query(number))
        node.ws._response.connection.transport.resume_reading()
        assert await node.failure() in {"limit_queries", "limit_rate", "limit_buffer"}


async def test_offers_of_garbage_are_just_bytes_to_the_relay(relay, make_client, bystanders):
    await bystanders(relay)
    client = await make_client(relay.url)
    garbage = [random.Random(number).randbytes(500) for number in range(16)]
    await client.publish(garbage)
    assert [listing.offer for listing in await client.offers()] == garbage


async def test_strangers_on_http_learn_little(relay):
    async with aiohttp.ClientSession() as http:
        base = relay.url.replace("ws://", "http://")
        async with http.get(f"{base}/healthz") as answer:
            health = await answer.json()
            assert health["status"] == "ok"
            assert health["nodes"] == 0
        for path, status in (("/", 426), ("/nothing", 404)):
            async with http.get(base + path) as answer:
                assert answer.status == status


async def test_closing_the_relay_tells_every_node_also_those_in_the_handshake(make_relay):
    relay = await make_relay()
    async with RawNode(relay.url) as node, RawNode(relay.url) as newcomer:
        await node.join()
        await newcomer.challenge()
        closing = asyncio.create_task(relay.close())
        assert await node.failure() == "relay_closing"
        assert await newcomer.failure() == "relay_closing"
        await closing
