import asyncio
import socket

import pytest
from aiohttp import web
from nacl.signing import SigningKey

from chain.errors import UsageError
from node.relay.bus import LocalBus
from node.relay.circuit import CircuitClosedError, RelayError
from node.relay.client import RelayClient
from node.relay.server import RelayServer
from tests.node.relay.peers import closed_code, pair, serve_echo


async def test_frames_arrive_in_order_both_ways(relay, make_client):
    anna, bert = await make_client(relay.url), await make_client(relay.url)
    here, there = await pair(anna, bert)
    assert (here.peer, there.peer) == (bert.node_id, anna.node_id)
    for number in range(50):
        await here.send(b"to %d" % number)
        await there.send(b"fro %d" % number)
    assert [await there.receive() for _ in range(50)] == [b"to %d" % number for number in range(50)]
    assert [await here.receive() for _ in range(50)] == [b"fro %d" % number for number in range(50)]


async def test_frames_sent_before_a_close_are_read_before_the_end(relay, make_client):
    here, there = await pair(await make_client(relay.url), await make_client(relay.url))
    await here.send(b"last words")
    await here.close("done", "that is \x1b[1mall")
    await here.close("failed")
    assert await there.receive() == b"last words"
    with pytest.raises(CircuitClosedError, match="that is all") as caught:
        await there.receive()
    assert caught.value.code == "done"
    with pytest.raises(CircuitClosedError):
        await there.send(b"too late")
    with pytest.raises(CircuitClosedError):
        await here.send(b"too late")


@pytest.mark.parametrize("code", ["Not A Code", "", "x" * 49, "done\n", "\x1b[2J"])
async def test_a_code_that_is_none_travels_as_failed(relay, make_client, code):
    anna = await make_client(relay.url)
    here, there = await pair(anna, await make_client(relay.url))
    await here.close(code, "because")
    assert await closed_code(there) == await closed_code(here) == "failed"
    assert anna.state.phase == "online"


async def test_a_slow_reader_stalls_its_own_circuit_alone(relay, make_client):
    anna, bert = await make_client(relay.url), await make_client(relay.url)
    slow_here, slow_there = await pair(anna, bert)
    fast_here, fast_there = await pair(anna, bert)
    frame = b"x" * 60_000
    sent = 0

    async def pour():
        nonlocal sent
        while sent < 40:
            await slow_here.send(frame)
            sent += 1

    pouring = asyncio.create_task(pour())
    for number in range(30):
        await fast_here.send(frame)
        await fast_there.send(b"%d" % number)
        assert await fast_there.receive() == frame
        assert await fast_here.receive() == b"%d" % number
    assert sent == 4
    for _ in range(40):
        assert await slow_there.receive() == frame
    await pouring


async def test_a_circuit_may_begin_with_a_frame_which_costs_what_any_frame_costs(make_relay, make_client):
    relay = await make_relay(frame_bytes=300, window_bytes=728)
    anna, bert = await make_client(relay.url), await make_client(relay.url)
    circuits = bert.incoming()
    there, here = await asyncio.gather(anext(circuits), anna.connect(bert.node_id, first=b"g" * 256))
    # A window is two frames: nothing of them may be lost to the greeting, however often they go round.
    for frame in (b"x" * 300 for _ in range(20)):
        sending = asyncio.create_task(here.send(frame))
        assert await there.receive() in {b"g" * 256, frame}
        await sending
    assert await there.receive() == b"x" * 300
    with pytest.raises(RelayError, match="256 bytes") as caught:
        await anna.connect(bert.node_id, first=b"g" * 257)
    assert caught.value.code == "limit_frame"


async def test_a_frame_larger_than_the_limit_is_refused_before_it_is_sent(relay, make_client):
    here, there = await pair(await make_client(relay.url), await make_client(relay.url))
    with pytest.raises(RelayError) as caught:
        await here.send(b"x" * (relay.limits.frame_bytes + 1))
    assert caught.value.code == "limit_frame"
    await here.send(b"x" * relay.limits.frame_bytes)
    assert len(await there.receive()) == relay.limits.frame_bytes


async def test_offers_are_listed_page_by_page(make_relay, make_client):
    relay = await make_relay(page_bytes=300)
    anna, bert = await make_client(relay.url), await make_client(relay.url)
    await anna.publish([b"a" * 200, b"b" * 200])
    await bert.publish([b"c" * 200, b"d" * 200])
    listed = {(listing.node_id, listing.offer[:1]) for listing in await anna.offers()}
    assert listed == {(anna.node_id, b"a"), (anna.node_id, b"b"), (bert.node_id, b"c"), (bert.node_id, b"d")}
    assert len(await anna.offers(limit=3)) == 3
    await bert.publish([])
    assert len(await anna.offers()) == 2


async def test_offers_of_a_node_that_left_are_gone(relay, make_client):
    anna, bert = await make_client(relay.url), await make_client(relay.url)
    await bert.publish([b"offer"])
    here, _there = await pair(anna, bert)
    await bert.close()
    assert await closed_code(here) == "peer_gone"
    assert await anna.offers() == []


@pytest.mark.parametrize(
    ("offers", "code"),
    [([b"x"] * 17, "limit_offers"), ([b"x" * 20_000], "limit_offer_bytes"), ([b""], "limit_offer_bytes")],
)
async def test_offers_beyond_the_limits_are_refused_at_once(relay, make_client, offers, code):
    client = await make_client(relay.url)
    with pytest.raises(RelayError) as caught:
        await client.publish(offers)
    assert caught.value.code == code
    assert client.state.phase == "online"


@pytest.mark.parametrize("node", ["ab" * 32, "not a node id"])
async def test_an_unknown_node_can_not_be_connected_to(relay, make_client, node):
    client = await make_client(relay.url)
    with pytest.raises(RelayError) as caught:
        await client.connect(node)
    assert caught.value.code == "peer_unknown"


async def test_a_node_that_takes_no_circuit_is_reported_in_time(relay, make_client):
    anna, bert = await make_client(relay.url), await make_client(relay.url)
    with pytest.raises(RelayError) as caught:
        await anna.connect(bert.node_id, timeout_s=0.05)
    assert caught.value.code == "peer_timeout"
    async with serve_echo(bert):
        here = await anna.connect(bert.node_id)
        await here.send(b"and later it works")
        assert await here.receive() == b"and later it works"


async def test_more_waiting_circuits_than_allowed_are_refused(relay, make_client):
    anna, bert = await make_client(relay.url), await make_client(relay.url, incoming_limit=1)
    first = asyncio.create_task(anna.connect(bert.node_id))
    second = asyncio.create_task(anna.connect(bert.node_id))
    done, _ = await asyncio.wait([first, second], return_when=asyncio.FIRST_COMPLETED)
    with pytest.raises(RelayError) as caught:
        await done.pop()
    assert caught.value.code == "peer_refused"
    await anext(bert.incoming())
    await asyncio.wait([first, second])


async def test_a_connect_that_is_cancelled_leaves_no_circuit(relay, make_client):
    anna, bert = await make_client(relay.url), await make_client(relay.url)
    dialling = asyncio.create_task(anna.connect(bert.node_id))
    await bert._session.arrived.wait()
    dialling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dialling
    async with serve_echo(bert):
        here = await anna.connect(bert.node_id)
        await here.send(b"x")
        assert await here.receive() == b"x"
        assert relay.counts()["circuit_ends"] == 2


async def test_a_node_opens_only_as_many_circuits_as_the_relay_allows(make_relay, make_client):
    relay = await make_relay(circuits_per_node=1)
    anna, bert, carl = [await make_client(relay.url) for _ in range(3)]
    here, _there = await pair(anna, bert)
    with pytest.raises(RelayError) as caught:
        await anna.connect(bert.node_id)
    assert caught.value.code == "limit_circuits"
    with pytest.raises(RelayError) as caught:
        await carl.connect(bert.node_id)
    assert caught.value.code == "limit_circuits"
    await here.close()
    await pair(anna, carl)


async def test_closing_sends_what_waits(relay, make_client):
    anna, bert = await make_client(relay.url), await make_client(relay.url)
    here, there = await pair(anna, bert)
    await here.send(b"one")
    await here.send(b"two")
    await anna.close()
    await anna.close()
    assert [await there.receive(), await there.receive()] == [b"one", b"two"]
    assert await closed_code(there) == "peer_gone"
    assert await closed_code(here) == "done"
    assert anna.state.phase == "closed"
    with pytest.raises(RelayError):
        await anna.connect(bert.node_id)
    with pytest.raises(RelayError):
        await anna.publish([b"x"])


async def test_incoming_ends_when_the_client_is_closed(relay, make_client):
    client = await make_client(relay.url)

    async def take_all():
        return [circuit async for circuit in client.incoming()]

    taking = asyncio.create_task(take_all())
    await client.offers()
    await client.close()
    assert await taking == []


async def test_the_state_is_told_as_it_changes(relay):
    states = []
    async with RelayClient(relay.url, on_state=states.append) as client:
        while client.state.rtt_ms is None:
            await client.offers()
    assert [states[0].phase, states[-1].phase] == ["online", "closed"]
    assert client.state.since_ms > 1_600_000_000_000
    assert client.state.rtt_ms > 0


async def test_a_listener_that_fails_does_not_end_the_client(relay, caplog):
    def fail(_state):
        raise ValueError("a broken listener")

    async with RelayClient(relay.url, on_state=fail) as client:
        assert await client.offers() == []
    assert "relay_state_listener_failed" in caplog.text


async def test_a_second_connection_of_one_identity_replaces_the_first(relay, make_client):
    key = SigningKey.generate()
    gone = asyncio.Event()
    first = await make_client(relay.url, key, on_state=lambda state: state.phase == "closed" and gone.set())
    second = await make_client(relay.url, key)
    await gone.wait()
    assert "replaced" in first.state.last_failure.line
    assert second.state.phase == "online"
    with pytest.raises(RelayError, match="replaced"):
        await first.offers()


def free_port():
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        return holder.getsockname()[1]


async def test_an_unreachable_relay_is_one_clear_line():
    url = f"ws://127.0.0.1:{free_port()}"
    client = RelayClient(url.replace("ws://", "ws://user:secret@"))
    with pytest.raises(RelayError) as caught:
        await client.start()
    assert caught.value.code == "relay_unreachable"
    assert caught.value.line() == (
        f"The relay at {url} can't be reached (connection refused). Start one with `idlewatt relay` or pass --relay."
    )
    assert client.state.phase == "closed"


async def test_a_relay_of_a_newer_version_says_what_to_do(make_relay):
    relay = await make_relay(versions=(2, 3))
    with pytest.raises(RelayError) as caught:
        await RelayClient(relay.url).start()
    assert caught.value.code == "version"
    assert "1 to 1 at one side, 2 to 3 at the other. Update the older side." in caught.value.message
    assert caught.value.fix == "Update Idlewatt or pass another --relay."


async def test_a_full_relay_says_what_to_do(make_relay, make_client):
    relay = await make_relay(nodes=1)
    await make_client(relay.url)
    with pytest.raises(RelayError) as caught:
        await RelayClient(relay.url).start()
    assert caught.value.code == "limit_nodes"
    assert "This relay is full. Try another relay." in caught.value.message
    assert caught.value.fix == "Wait until it has room, or pass another --relay."


async def test_a_client_that_is_turned_away_later_keeps_the_fix(make_relay):
    old = await make_relay()
    port = old.port
    closed = asyncio.Event()
    async with RelayClient(
        old.url, on_state=lambda state: state.phase == "closed" and closed.set(), backoff=lambda attempt: 0.01
    ) as client:
        await old.close()
        async with RelayServer(port=port, versions=(2, 2)):
            await closed.wait()
        assert "refused (version)" in client.state.last_failure.line
        assert client.state.last_failure.fix == "Update Idlewatt or pass another --relay."
        with pytest.raises(RelayError) as caught:
            await client.offers()
        assert (caught.value.code, caught.value.fix) == ("version", client.state.last_failure.fix)


async def test_a_web_server_that_is_no_relay_is_named_so():
    async def page(_request):
        return web.Response(text="hello")

    server = await asyncio.get_running_loop().create_server(web.Server(page), "127.0.0.1", 0)
    try:
        with pytest.raises(RelayError, match="no relay there"):
            await RelayClient(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}").start()
    finally:
        server.close()


@pytest.mark.parametrize("url", ["http://host", "host:9000", "ws://", "", "ws://[bad", "ws://host:port"])
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(RelayError) as caught:
        RelayClient(url)
    assert caught.value.code == "relay_url"


async def test_a_client_starts_once(relay, make_client):
    client = await make_client(relay.url)
    with pytest.raises(UsageError):
        await client.start()


async def test_nodes_of_two_relays_on_one_bus_meet(make_relay, make_client):
    bus = LocalBus()
    north, south = await make_relay(bus=bus), await make_relay(bus=bus)
    anna, bert = await make_client(north.url), await make_client(south.url)
    await bert.publish([b"offer"])
    while not (listed := await anna.offers()):
        pass
    assert listed[0].node_id == bert.node_id
    here, there = await pair(anna, bert)
    await here.send(b"across")
    assert await there.receive() == b"across"
    await south.close()
    assert await closed_code(here) == "peer_gone"


async def test_a_relay_keeps_its_identity_in_its_directory(tmp_path):
    home = tmp_path / "relay"
    async with RelayServer(identity_dir=home) as relay:
        first = relay.relay_id
    async with RelayServer(identity_dir=home) as relay:
        assert relay.relay_id == first
    assert (home / "relay.key").stat().st_mode & 0o777 == 0o600
    (home / "relay.key").write_bytes(b"short")
    with pytest.raises(RelayError) as caught:
        await RelayServer(identity_dir=home).start()
    assert caught.value.code == "key_damaged"


async def test_a_directory_that_can_not_be_written_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RelayError) as caught:
        await RelayServer(identity_dir=tmp_path / "file").start()
    assert caught.value.code == "home_unwritable"


async def test_a_port_in_use_is_one_clear_line(relay):
    with pytest.raises(RelayError) as caught:
        await RelayServer(port=relay.port).start()
    assert caught.value.code == "port_in_use"
    assert "--port" in caught.value.fix


def test_a_relay_that_is_not_started_names_the_port_it_wants():
    assert RelayServer("::1", 9000).url == "ws://[::1]:9000"
