"""What a relay says when it refuses a node reaches the node's view, and what it says is harmless there."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from aiohttp import web

from node.relay.circuit import RelayError
from node.relay.server import RelayServer
from node.runtime.relay_connection import RelayConnection
from node.wire import messages as m
from node.wire.codec import encode
from tests.patience import PATIENCE_S

FIX = "Update Idlewatt or pass another --relay."


@contextlib.asynccontextmanager
async def connecting(url):
    """A relay connection that runs, and a function that waits until its view fulfils a condition."""
    changed = asyncio.Event()
    connection = RelayConnection(url, changed.set, wait_s=0.01, max_wait_s=0.1)

    async def until(condition):
        async with asyncio.timeout(PATIENCE_S):
            while not condition(connection.view()):
                changed.clear()
                await changed.wait()
        return connection.view()

    running = asyncio.create_task(connection.run())
    try:
        yield connection, until
    finally:
        running.cancel()
        await asyncio.wait([running])


async def test_a_refusal_is_told_with_what_to_do_until_the_relay_takes_the_node():
    async with RelayServer(versions=(2, 2)) as newer:
        port = newer.port
        async with connecting(newer.url) as (connection, until):
            refused = await until(lambda view: view.error)
            assert refused.state == "reconnecting"
            assert refused.error.startswith("The relay refused (version): ")
            assert "2 to 2 at the other" in refused.error
            assert refused.fix == FIX
            with pytest.raises(RelayError) as caught:
                await connection.client(timeout_s=0.01)
            assert (caught.value.code, caught.value.fix) == ("version", FIX)

            await newer.close()
            gone = await until(lambda view: "can't be reached" in view.error)
            assert gone.fix == "Start one with `idlewatt relay` or pass --relay."
            async with RelayServer(port=port):
                online = await until(lambda view: view.state == "online")
                assert (online.error, online.fix) == ("", "")


async def test_a_hostile_reason_is_shown_plain_and_short():
    async def refuse(request):
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.receive()
        await socket.send_bytes(encode(m.Failure("version", "\x1b]0;owned\x07\x1b[2J\u202e" + "🦙" * 200)))
        await socket.close()
        return socket

    server = web.Server(refuse)
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    try:
        async with connecting(f"ws://127.0.0.1:{listener.sockets[0].getsockname()[1]}") as (_connection, until):
            refused = await until(lambda view: view.error)
    finally:
        listener.close()
        await server.shutdown(0.1)
    assert refused.error == "The relay refused (version): " + "🦙" * 200
    assert refused.fix == FIX


async def test_credentials_in_the_address_are_not_shown():
    async with RelayServer() as relay, connecting(relay.url.replace("ws://", "ws://me:secret@")) as (_, until):
        assert (await until(lambda view: view.state == "online")).url == relay.url
