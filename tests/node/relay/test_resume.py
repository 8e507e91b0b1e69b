import asyncio

import pytest

from node.relay.auth import answer_challenge
from node.relay.circuit import CircuitClosedError, RelayError
from node.relay.server import RelayServer
from node.wire import messages as m
from tests.node.relay.cable import Cable
from tests.node.relay.peers import closed_code, pair
from tests.node.relay.raw import RawNode


class Phases:
    """Waits for a client's phases."""

    def __init__(self):
        self.now = None
        self.told = asyncio.Event()

    def __call__(self, state):
        self.now = state.phase
        self.told.set()

    async def reach(self, phase):
        while self.now != phase:
            self.told.clear()
            await self.told.wait()


@pytest.mark.parametrize("cuts", [1, 5])
async def test_circuits_survive_lost_connections_exactly_once_and_in_order(relay, make_client, cuts):
    bert = await make_client(relay.url)
    async with Cable(relay.port) as cable:
        anna = await make_client(cable.url)
        here, there = await pair(anna, bert)
        count = 100 * cuts

        async def say(circuit):
            for number in range(count):
                await circuit.send(number.to_bytes(4, "big") + b"x" * 3000)

        async def hear(circuit, *, cut):
            heard = []
            while len(heard) < count:
                heard.append(int.from_bytes((await circuit.receive())[:4], "big"))
                if cut and len(heard) % 100 == 50:
                    cable.cut()
            return heard

        results = await asyncio.gather(say(here), say(there), hear(here, cut=False), hear(there, cut=True))
        assert results[2] == results[3] == list(range(count))
        assert anna.state.reconnects >= 1
        await anna.close()


async def test_both_sides_may_lose_their_connections_in_the_middle_of_much_traffic(relay, make_client):
    async with Cable(relay.port) as north, Cable(relay.port) as south:
        anna, bert = await make_client(north.url), await make_client(south.url)
        pairs = [await pair(anna, bert) for _ in range(3)]
        count = 120

        async def say(circuit):
            for number in range(count):
                await circuit.send(number.to_bytes(4, "big") * (1 + number % 9 * 500))

        async def hear(circuit, cable):
            for number in range(count):
                assert await circuit.receive() == number.to_bytes(4, "big") * (1 + number % 9 * 500)
                if number % 40 == 20:
                    cable.cut()

        async with asyncio.TaskGroup() as tasks:
            for here, there in pairs:
                tasks.create_task(say(here))
                tasks.create_task(say(there))
                tasks.create_task(hear(here, north))
                tasks.create_task(hear(there, south))
        assert anna.state.reconnects >= 1
        assert bert.state.reconnects >= 1
        for here, _there in pairs:
            await here.close()
        await anna.close()
        await bert.close()
        while relay.counts()["nodes"]:
            await asyncio.sleep(0)
        assert relay.counts()["buffered_bytes"] == 0
        assert relay.counts()["circuit_ends"] == 0


async def test_offers_are_listed_again_after_a_reconnect(relay, make_client):
    bert = await make_client(relay.url)
    async with Cable(relay.port) as cable:
        phases = Phases()
        anna = await make_client(cable.url, on_state=phases)
        await anna.publish([b"offer"])
        cable.unplug()
        await phases.reach("reconnecting")
        while await bert.offers():
            pass
        await anna.publish([b"changed while offline"])
        cable.plug()
        await phases.reach("online")
        while not (listed := await bert.offers()):
            pass
        assert listed[0].offer == b"changed while offline"
        await anna.close()


async def test_after_the_grace_time_both_sides_are_told(make_relay, make_client):
    relay = await make_relay(resume_grace_s=0.05)
    bert = await make_client(relay.url)
    async with Cable(relay.port) as cable:
        phases = Phases()
        anna = await make_client(cable.url, on_state=phases)
        here, there = await pair(anna, bert)
        cable.unplug()
        assert await closed_code(there) == "peer_gone"
        assert await closed_code(here) == "relay_lost"
        with pytest.raises(RelayError) as caught:
            await anna.connect(bert.node_id, timeout_s=0.05)
        assert caught.value.code == "relay_unreachable"
        cable.plug()
        await phases.reach("online")
        here, there = await pair(anna, bert)
        await here.send(b"again")
        assert await there.receive() == b"again"
        await anna.close()


async def test_a_connect_and_a_query_wait_for_the_reconnect(relay, make_client):
    bert = await make_client(relay.url)
    await bert.publish([b"offer"])
    async with Cable(relay.port) as cable:
        phases = Phases()
        anna = await make_client(cable.url, on_state=phases)
        cable.unplug()
        await phases.reach("reconnecting")
        connecting = asyncio.create_task(pair(anna, bert))
        asking = asyncio.create_task(anna.offers())
        cable.plug()
        here, there = await connecting
        assert len(await asking) == 1
        await there.send(b"welcome back")
        assert await here.receive() == b"welcome back"
        await anna.close()


async def test_a_relay_that_stops_answering_is_left_and_the_session_resumed(make_relay, make_client):
    relay = await make_relay(idle_s=1.5)
    bert = await make_client(relay.url)
    async with Cable(relay.port) as cable:
        phases = Phases()
        anna = await make_client(cable.url, on_state=phases, ping_timeout_s=0.1)
        here, there = await pair(anna, bert)
        cable.hold()
        await phases.reach("reconnecting")
        assert "stopped answering" in anna.state.last_failure.line
        cable.flow()
        await there.send(b"still here")
        assert await here.receive() == b"still here"
        await anna.close()


async def test_a_relay_that_restarts_ends_circuits_and_lists_offers_again(make_client):
    first = RelayServer()
    await first.start()
    anna = await make_client(first.url)
    bert = await make_client(first.url)
    here, _there = await pair(anna, bert)
    await anna.publish([b"offer"])
    port = first.port
    await first.close()
    await first.close()
    assert await closed_code(here) == "relay_lost"
    async with RelayServer(port=port) as second:
        while not await bert.offers():
            pass
        assert second.counts()["offers"] == 1
        await anna.close()
        await bert.close()


async def test_a_stolen_token_without_the_key_resumes_nothing(relay, make_client):
    anna, bert = await make_client(relay.url), await make_client(relay.url)
    here, there = await pair(anna, bert)
    async with RawNode(relay.url) as thief:
        await thief.join(token=anna._session.welcome.token)
        assert not thief.welcome.resumed
    await here.send(b"undisturbed")
    assert await there.receive() == b"undisturbed"


async def test_a_resume_with_an_impossible_count_ends_the_session(relay, make_client):
    bert = await make_client(relay.url)
    async with RawNode(relay.url) as node:
        await node.join()
        connecting = asyncio.create_task(bert.connect(node.node_id))
        await node.next()
        token = node.welcome.token
        async with RawNode(relay.url, node.key) as liar:
            hello, challenge = await liar.challenge()
            await liar.send(answer_challenge(hello, challenge, liar.key, token=token, received=99))
            assert await liar.failure() == "protocol"
    with pytest.raises(RelayError) as caught:
        await connecting
    assert caught.value.code == "peer_gone"


async def test_a_session_that_is_resumed_leaves_its_old_websocket(relay, make_client):
    bert = await make_client(relay.url)
    async with RawNode(relay.url) as old:
        await old.join()
        connecting = asyncio.create_task(bert.connect(old.node_id))
        incoming = await old.next()
        async with RawNode(relay.url, old.key) as new:
            await new.join(token=old.welcome.token, received=1)
            assert new.welcome.resumed
            assert await old.failure() == "replaced"
            await new.send(m.Accept(incoming.circuit, 262_144))
            circuit = await connecting
            await new.send(m.Data(incoming.circuit, b"from the new one"))
            assert await circuit.receive() == b"from the new one"
    with pytest.raises(CircuitClosedError):
        await circuit.receive()
