"""A SOCKS5 proxy (RFC 1928) that counts what goes through it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

PIECE_BYTES = 1 << 16


@dataclass
class SocksProxy:
    """Where it listens, and to whom it connected."""

    address: str = ""
    connected: list[str] = field(default_factory=list)
    refuses: bool = False
    """Whether it answers every wish with "not allowed"."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            _, methods = await reader.readexactly(2)
            await reader.readexactly(methods)
            writer.write(b"\x05\x00")
            _, _, _, kind = await reader.readexactly(4)
            if kind == 1:
                host = ".".join(map(str, await reader.readexactly(4)))
            else:
                host = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
            port = int.from_bytes(await reader.readexactly(2), "big")
            self.connected.append(f"{host}:{port}")
            if self.refuses:
                writer.write(b"\x05\x02\x00\x01" + bytes(6))
                await writer.drain()
                return
            there, back = await asyncio.open_connection(host, port)
            with contextlib.closing(back):
                writer.write(b"\x05\x00\x00\x01" + bytes(6))
                await asyncio.wait(
                    [asyncio.ensure_future(_carry(reader, back)), asyncio.ensure_future(_carry(there, writer))],
                    return_when=asyncio.FIRST_COMPLETED,
                )


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while piece := await reader.read(PIECE_BYTES):
            writer.write(piece)
            await writer.drain()


@asynccontextmanager
async def running_proxy(*, refuses: bool = False) -> AsyncIterator[SocksProxy]:
    """Serve on a port of its own until the block ends."""
    proxy = SocksProxy(refuses=refuses)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield proxy
