"""A node that speaks the wire format by hand, to do what the client never would."""

import asyncio
import secrets

import aiohttp
import msgspec
from nacl.signing import SigningKey

from node.relay.auth import answer_challenge, node_id
from node.wire import messages as m
from node.wire.codec import challenge_reader, encode, relay_reader, welcome_reader
from tests.patience import PATIENCE_S


class RawNode:
    """One websocket to a relay, without the client's manners."""

    def __init__(self, url, key=None):
        self.url = url
        self.key = key or SigningKey.generate()
        self.node = bytes(self.key.verify_key)
        self.node_id = node_id(self.node)
        self.welcome = None

    async def __aenter__(self):
        self.http = aiohttp.ClientSession()
        self.ws = await self.http.ws_connect(self.url, compress=0, max_msg_size=0, autoping=False)
        return self

    async def __aexit__(self, *_exc):
        await self.ws.close()
        await self.http.close()

    def abort(self):
        """Vanish without a farewell."""
        self.ws._response.connection.transport.abort()

    def hello(self, **changes):
        values = {"min_version": 1, "max_version": 1, "node": self.node, "nonce": secrets.token_bytes(32)} | changes
        return m.Hello(**values)

    async def send(self, message):
        await self.ws.send_bytes(message if isinstance(message, bytes) else encode(message))

    async def send_value(self, value):
        await self.send(msgspec.msgpack.encode(value))

    async def challenge(self, hello=None):
        hello = hello or self.hello()
        await self.send(hello)
        return hello, challenge_reader().read(await self.ws.receive_bytes())

    async def join(self, *, token=b"", received=0):
        hello, challenge = await self.challenge()
        await self.send(answer_challenge(hello, challenge, self.key, token=token, received=received))
        self.welcome = welcome_reader().read(await self.ws.receive_bytes())
        return self

    async def next(self, kind=None):
        """The next message, or the next of ``kind``."""
        while True:
            message = relay_reader(2**24).read(await self.ws.receive_bytes())
            if kind is None or isinstance(message, kind):
                return message

    async def failure(self):
        """The coded error that the relay ends with; asserts that it also closes."""
        code = None
        async with asyncio.timeout(PATIENCE_S):
            while True:
                frame = await self.ws.receive()
                if frame.type is aiohttp.WSMsgType.BINARY:
                    message = msgspec.msgpack.decode(frame.data)
                    if message[0] == "failure":
                        code = message[1]
                elif frame.type in {aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR}:
                    if frame.type is aiohttp.WSMsgType.CLOSE and code is not None:
                        assert frame.extra == code
                    return code
