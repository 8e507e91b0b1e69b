import pytest

from node.relay.client import RelayClient
from node.relay.limits import RelayLimits
from node.relay.server import RelayServer
from node.wire.codec import OUR_VERSIONS


@pytest.fixture
async def make_relay():
    """Starts relays with given limits; closes them at the end."""
    relays = []

    async def make(bus=None, identity_dir=None, versions=OUR_VERSIONS, **limits):
        limits = RelayLimits(**({"close_s": 0.5} | limits))
        relay = RelayServer(limits=limits, bus=bus, identity_dir=identity_dir, versions=versions)
        await relay.start()
        relays.append(relay)
        return relay

    yield make
    for relay in relays:
        await relay.close()


@pytest.fixture
async def relay(make_relay):
    return await make_relay()


@pytest.fixture
async def make_client():
    """Starts clients that reconnect at once; closes them at the end."""
    clients = []

    async def make(url, key=None, **options):
        client = RelayClient(url, key, **({"backoff": lambda attempt: 0.01} | options))
        await client.start()
        clients.append(client)
        return client

    yield make
    for client in clients:
        await client.close()
