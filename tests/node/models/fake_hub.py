"""A server that speaks as much of the Hugging Face hub's API as searching, listing and pulling need, and misbehaves."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
COMMIT = "a" * 40
PIECE_BYTES = 64 * 1024


@dataclass
class Hub:
    """What it has, and how it misbehaves."""

    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """By repository, then by path."""
    digests: dict[str, str] = field(default_factory=dict)
    """SHA-256 that it tells for a path, where that is a lie."""
    breaks_after: list[int] = field(default_factory=list)
    """Bytes after which the next transfers break off."""
    stalls_after: int | None = None
    """Bytes after which a transfer says nothing more."""
    statuses: list[int] = field(default_factory=list)
    """What the next requests for files are answered with."""
    api_status: int = 0
    api_error: str = ""
    api_headers: dict[str, str] = field(default_factory=dict)
    """What it says beside a refusal."""
    api_page: str = ""
    """A web page that it answers with instead."""
    refused_tokens: set[str] = field(default_factory=set)
    """Tokens that it doesn't know: whoever sends one of them is told nothing, however public the thing is."""
    is_gated: bool = False
    """Whether it gives files only to those who send a token."""
    blob_statuses: list[int] = field(default_factory=list)
    """What the next requests to the server that has the bytes are answered with."""
    knows_ranges: bool = True
    commit: str = COMMIT
    requests: list[tuple[str, str]] = field(default_factory=list)
    """Path and range of every request for a file."""
    tokens: set[str] = field(default_factory=set)
    queries: list[dict[str, list[str]]] = field(default_factory=list)
    url: str = ""
    served: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once a transfer began."""

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._guard])
        app.router.add_get("/api/models", self._search)
        app.router.add_get("/api/models/{owner}/{name}", self._info)
        app.router.add_get("/{owner}/{name}/resolve/{commit}/{path:.+}", self._resolve)
        app.router.add_get("/blob/{owner}/{name}/{path:.+}", self._blob)
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Know nobody by a token that was revoked, as the hub does."""
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if token in self.refused_tokens:
            headers = {"X-Error-Message": "Invalid credentials in Authorization header"}
            return web.json_response({"error": "Invalid credentials"}, status=401, headers=headers)
        if self.api_page and request.path.startswith("/api/"):
            return web.Response(text=self.api_page, content_type="text/html")
        if self.is_gated and not token and "/resolve/" in request.path:
            return web.json_response({"error": "no"}, status=401, headers={"X-Error-Code": "GatedRepo"})
        return await handler(request)

    def _note(self, request: web.Request) -> None:
        if "Authorization" in request.headers:
            self.tokens.add(request.headers["Authorization"])

    def _refusal(self, status: int) -> web.Response:
        headers = ({"X-Error-Code": self.api_error} if self.api_error else {}) | self.api_headers
        return web.json_response({"error": "no \x1b[31m"}, status=status, headers=headers)

    async def _search(self, request: web.Request) -> web.Response:
        self._note(request)
        self.queries.append({name: request.query.getall(name) for name in request.query})
        if self.api_status:
            return self._refusal(self.api_status)
        found = [
            {
                "id": repo,
                "downloads": 1000 * number,
                "likes": number,
                "gated": False,
                "gguf": {"total": 1_000_000_000, "architecture": "llama\x1b[2J", "context_length": 4096},
                "siblings": [{"rfilename": path} for path in files],
            }
            for number, (repo, files) in enumerate(self.files.items(), 1)
            if request.query.get("search", "") in repo
        ]
        return web.json_response(found[: int(request.query["limit"])])

    async def _info(self, request: web.Request) -> web.Response:
        self._note(request)
        if self.api_status:
            return self._refusal(self.api_status)
        repo = f"{request.match_info['owner']}/{request.match_info['name']}"
        if repo not in self.files:
            return web.json_response({"error": "none"}, status=401, headers={"X-Error-Code": "RepoNotFound"})
        siblings = [
            {
                "rfilename": path,
                "size": len(content),
                "lfs": {"sha256": self._digest(path, content), "size": len(content), "pointerSize": 130},
            }
            for path, content in self.files[repo].items()
        ]
        return web.json_response(
            {
                "id": repo,
                "sha": self.commit,
                "siblings": siblings,
                "cardData": {"license": "apache-2.0"},
                "gated": False,
            }
        )

    def _digest(self, path: str, content: bytes) -> str:
        return self.digests.get(path) or hashlib.sha256(content).hexdigest()

    async def _resolve(self, request: web.Request) -> web.Response:
        """As the hub does: say what the file is, and send elsewhere for its bytes."""
        self._note(request)
        if self.statuses:
            return self._refusal(self.statuses.pop(0))
        repo, path = f"{request.match_info['owner']}/{request.match_info['name']}", request.match_info["path"]
        content = self.files.get(repo, {}).get(path)
        if content is None or request.match_info["commit"] != self.commit:
            return web.json_response({"error": "none"}, status=404, headers={"X-Error-Code": "EntryNotFound"})
        headers = {
            "X-Repo-Commit": self.commit,
            "X-Linked-ETag": f'"{self._digest(path, content)}"',
            "X-Linked-Size": str(len(content)),
            "Location": f"/blob/{repo}/{path}",
        }
        return web.Response(status=302, headers=headers)

    async def _blob(self, request: web.Request) -> web.StreamResponse:
        repo, path = f"{request.match_info['owner']}/{request.match_info['name']}", request.match_info["path"]
        content = self.files[repo][path]
        if self.blob_statuses:
            return web.Response(status=self.blob_statuses.pop(0))
        asked = request.headers.get("Range", "")
        self.requests.append((path, asked))
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.knows_ranges else 0
        rest = content[start:]
        response = web.StreamResponse(status=206 if start else 200)
        response.content_length = len(rest)
        response.headers["ETag"] = f'"{hashlib.sha256(content).hexdigest()}"'
        if start:
            response.headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        await response.prepare(request)
        self.served.set()
        limit = self.breaks_after.pop(0) if self.breaks_after else len(rest)
        for at in range(0, min(limit, len(rest)), PIECE_BYTES):
            await response.write(rest[at : min(at + PIECE_BYTES, limit)])
            if self.stalls_after is not None and at + PIECE_BYTES >= self.stalls_after:
                await asyncio.Event().wait()
        if limit < len(rest) and request.transport is not None:
            request.transport.abort()
        return response


@asynccontextmanager
async def running(hub: Hub, tls: ssl.SSLContext | None = None) -> AsyncIterator[Hub]:
    """Serve it on a port of its own until the block ends; with `tls`, by https."""
    runner = web.AppRunner(hub.app(), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    port = runner.addresses[0][1]
    hub.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    try:
        yield hub
    finally:
        await runner.cleanup()
