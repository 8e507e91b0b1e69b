"""``GET /snapshot``: the last final state as a file, so many downloads at a time and two for each client."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from pathlib import Path
from typing import Final

from aiohttp import web

from chain.snapshot import CHUNK_BYTES

MAX_DOWNLOADS: Final = 32
"""Each takes a chunk of memory and a file, so that a few clients which read slowly don't keep the others out."""
MAX_FOR_CLIENT: Final = 2
LEAST_BYTES_PER_S: Final = 64 * 1024
"""A client that reads more slowly than this is dropped."""
PATIENCE_S: Final = 30.0


class SnapshotDownloads:
    """Streams one file; whoever replaces it meanwhile disturbs no download.

    Args:
        path: The file; it may not be there yet.
        max_downloads: How many at once.
    """

    def __init__(self, path: Path, *, max_downloads: int = MAX_DOWNLOADS) -> None:
        self._path = path
        self._max_downloads = max_downloads
        self._clients: Counter[str] = Counter()

    async def handle(self, request: web.Request, client: str) -> web.StreamResponse:
        """One download.

        Args:
            request: Of this server.
            client: Who asks, as quotas count clients.
        """
        if self._clients[client] >= MAX_FOR_CLIENT or self._clients.total() >= self._max_downloads:
            return web.Response(status=429, text="too many downloads; come back later\n")
        self._clients[client] += 1
        try:
            return await self._stream(request)
        finally:
            self._clients -= Counter([client])

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        try:
            file = await asyncio.to_thread(self._path.open, "rb")
        except OSError:
            return web.Response(status=404, text="there is no snapshot yet\n")
        with file:
            size_bytes = os.fstat(file.fileno()).st_size
            response = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
            response.content_length = size_bytes
            try:
                async with asyncio.timeout(PATIENCE_S + size_bytes / LEAST_BYTES_PER_S):
                    await response.prepare(request)
                    while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
                        await response.write(chunk)
                    await response.write_eof()
            except (TimeoutError, ConnectionError):
                response.force_close()
                if request.transport is not None:
                    request.transport.abort()
            return response
