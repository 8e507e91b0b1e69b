"""What tests of circuits between two clients share."""

import asyncio
import contextlib

import pytest

from node.relay.circuit import CircuitClosedError


async def pair(opener, answerer):
    """A circuit between two clients, both ends."""
    circuits = answerer.incoming()
    there, here = await asyncio.gather(anext(circuits), opener.connect(answerer.node_id))
    return here, there


async def closed_code(circuit):
    with pytest.raises(CircuitClosedError) as caught:
        await circuit.receive()
    return caught.value.code


@contextlib.asynccontextmanager
async def serve_echo(client):
    """Let a client take every circuit and send back what it hears."""

    async def echo(circuit):
        with contextlib.suppress(CircuitClosedError):
            while True:
                await circuit.send(await circuit.receive())

    async def take_all():
        async with asyncio.TaskGroup() as tasks:
            async for circuit in client.incoming():
                tasks.create_task(echo(circuit))

    serving = asyncio.create_task(take_all())
    try:
        yield
    finally:
        serving.cancel()
        await asyncio.wait([serving])
