"""A TCP cable between a client and a relay that a test can cut or hold still."""

import asyncio
import contextlib


class Cable:
    """Forwards every connection on ``url`` to ``port``, until it is cut."""

    def __init__(self, port):
        self._port = port
        self._server = None
        self._writers = set()
        self._tasks = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self.plugged = True
        self.connections = 0

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"ws://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_exc):
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self):
        """Break every connection without a farewell."""
        for writer in self._writers:
            writer.transport.abort()

    def unplug(self):
        """Break every connection and drop new ones at once."""
        self.plugged = False
        self.cut()

    def plug(self):
        """Let new connections through again."""
        self.plugged = True

    def hold(self):
        """Stop forwarding without breaking anything."""
        self._flowing.clear()

    def flow(self):
        """Forward again."""
        self._flowing.set()

    async def _serve(self, reader, writer):
        self._tasks.add(asyncio.current_task())
        self._writers.add(writer)
        self.connections += 1
        try:
            if not self.plugged:
                writer.transport.abort()
                return
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
            self._writers.add(far_writer)
            pumps = [
                asyncio.create_task(self._pump(reader, far_writer)),
                asyncio.create_task(self._pump(far_reader, writer)),
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
                far_writer.transport.abort()
                self._writers.discard(far_writer)
        finally:
            writer.transport.abort()
            self._writers.discard(writer)
            self._tasks.discard(asyncio.current_task())

    async def _pump(self, reader, writer):
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                await self._flowing.wait()
                writer.write(data)
                await writer.drain()
