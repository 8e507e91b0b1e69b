"""A JSON-RPC 2.0 server over HTTP POST at ``/`` and, where wanted, over a websocket at ``/ws``.

Web pages are turned away: a page can't send JSON to another origin without a preflight, which gets no consent here; a
request that names a page's origin is refused; and a DNS name that was rebound to this machine isn't a name this server
answers to. Format: https://www.jsonrpc.org/specification.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from functools import partial
from typing import Any, Self
from urllib.parse import urlsplit

import msgspec
from aiohttp import WSMsgType, web

from chain.errors import ERRORS, ErrorCode, JsonRpc
from chain.fees.quotas import Network, client_of
from chain.listening import listening_sockets
from chain.logs import get_logger

log = get_logger(__name__)

MAX_FORWARDED_CHARS = 1_000
"""What is read of an ``X-Forwarded-For``: its end, which the nearest proxies wrote."""
_EXTENSION_SCHEMES = ("chrome-extension", "moz-extension")

CLIENT: ContextVar[str | None] = ContextVar("client", default=None)
"""Who asked, while a call is answered: an IPv4 address, an IPv6 site of 64 bits, or ``None`` for this machine."""

RpcCall = Callable[[str, Any], Awaitable[Any]]
Page = Callable[[web.Request, str], Awaitable[web.StreamResponse]]
"""Answers a GET request of a client, named as quotas count clients."""
"""A method's name and its parameters as they came; returns JSON values, or raises ``RpcError``."""


class RpcError(Exception):
    """An error answer.

    Args:
        number: JSON-RPC's error code.
        message: One line.
        data: What goes with it: hex for a reverted call, else a stable code and what to do.
    """

    def __init__(self, number: int, message: str, data: str | dict[str, str | int] | None = None) -> None:
        super().__init__(message)
        self.number = number
        self.message = message
        self.data = data


class RpcLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How much a server takes."""

    max_body_bytes: int = 256 * 1024
    """Of a request or a websocket message."""
    max_batch: int = 50
    """Calls in one request."""
    max_running: int = 256
    """Calls under way at once; more are told to come back."""
    max_running_of_one: int = 64
    """Of one client, so that nobody keeps the others out; this machine itself isn't counted."""
    max_method_chars: int = 100
    max_id_chars: int = 128
    max_websockets: int = 64
    max_websockets_of_one: int = 16
    body_timeout_s: float = 30.0
    """How long the body of a request may take to arrive."""
    call_timeout_s: float | None = 60.0
    """``None`` for a server whose calls can't be broken off."""
    heartbeat_s: float = 30.0
    """How often a silent websocket is asked whether it is there."""


class JsonRpcServer:
    """Answers calls; an async context manager that stops listening at its end.

    Args:
        call: Answers one.
        limits: How much is taken.
        host_names: DNS names that this server is reached by, beside IP addresses and localhost.
        has_websocket: Whether there is one at ``/ws``.
        trusted_proxies: The operator's own proxies, whose ``X-Forwarded-For`` is believed.
        pages: What else is served to plain GET requests, by path.
    """

    def __init__(
        self,
        call: RpcCall,
        *,
        limits: RpcLimits | None = None,
        host_names: frozenset[str] = frozenset(),
        has_websocket: bool = False,
        trusted_proxies: Sequence[Network] = (),
        pages: Mapping[str, Page] | None = None,
    ) -> None:
        self._call = call
        self._trusted_proxies = trusted_proxies
        self._limits = limits or RpcLimits()
        self._host_names = host_names
        self._has_websocket = has_websocket
        self._pages = dict(pages or {})
        self._runner: web.AppRunner | None = None
        self._running: Counter[str | None] = Counter()
        """Calls under way, by client."""
        self._websockets: dict[web.WebSocketResponse, str | None] = {}
        """The open ones, and whose they are."""
        self.url = ""
        """Where it listens; empty before ``start``."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; port 0 picks a free one.

        Raises:
            IdlewattError: With code ``port_in_use`` if the port is taken, ``cannot_listen`` if it can't be bound.
        """
        app = web.Application(client_max_size=self._limits.max_body_bytes)
        app.router.add_post("/", self._handle_post)
        if self._has_websocket:
            app.router.add_get("/ws", self._handle_websocket)
        for path, handle in self._pages.items():
            app.router.add_get(path, partial(self._handle_page, handle=handle))
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await runner.setup()
        try:
            self.url = await _listen(runner, host, port)
        except BaseException:
            await runner.cleanup()
            raise
        self._runner = runner

    async def aclose(self) -> None:
        """Close every websocket and stop listening."""
        for websocket in list(self._websockets):
            await websocket.close(code=1001, message=b"the server stops")
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def answer(self, request: Any) -> dict[str, Any] | None:
        """The answer to one decoded request; ``None`` for a notification."""
        if not isinstance(request, dict) or request.get("jsonrpc", "2.0") != "2.0":
            return _refusal(None, JsonRpc.INVALID_REQUEST, "This is not a JSON-RPC 2.0 request.")
        identity = request.get("id")
        if not self._is_identity(identity):
            return _refusal(None, JsonRpc.INVALID_REQUEST, "An id is a short string or a number.")
        method = request.get("method")
        if not isinstance(method, str) or len(method) > self._limits.max_method_chars:
            return _refusal(identity, JsonRpc.INVALID_REQUEST, "A method is a short string.")
        client, limits = CLIENT.get(), self._limits
        is_much = client is not None and self._running[client] >= limits.max_running_of_one
        if is_much or self._running.total() >= limits.max_running:
            return _coded(identity, "busy", "The server is busy.", "Try again in a moment.")
        self._running[client] += 1
        try:
            answer = await self._result(identity, method, request.get("params"))
        finally:
            self._running -= Counter([client])
        return answer if "id" in request else None

    async def _result(self, identity: Any, method: str, given: Any) -> dict[str, Any]:
        try:
            async with asyncio.timeout(self._limits.call_timeout_s):
                return {"jsonrpc": "2.0", "id": identity, "result": await self._call(method, given)}
        except RpcError as error:
            return _error(identity, error.number, error.message, error.data)
        except TimeoutError:
            return _coded(identity, "timeout", "The call took too long.", "Try again.")
        except Exception:
            log.exception("rpc_call_failed", method=method)
            return _coded(identity, "internal", "The server failed; its log says why.")

    def _is_identity(self, value: Any) -> bool:
        if isinstance(value, str):
            return len(value) <= self._limits.max_id_chars
        return value is None or (isinstance(value, int | float) and not isinstance(value, bool))

    async def _answer_bytes(self, body: bytes) -> bytes | None:
        try:
            request = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return _encode(_refusal(None, JsonRpc.PARSE_ERROR, "This is not JSON."))
        if not isinstance(request, list):
            return _encode(await self.answer(request))
        if not 0 < len(request) <= self._limits.max_batch:
            message = f"A batch holds 1 to {self._limits.max_batch} requests."
            return _encode(_refusal(None, JsonRpc.INVALID_REQUEST, message))
        answers = [answer for item in request if (answer := await self.answer(item)) is not None]
        return _encode(answers or None)

    # ----------------------------------------------------------------------------------------------------- transports

    async def _handle_post(self, request: web.Request) -> web.Response:
        refusal = self._refuse(request)
        if refusal is not None:
            return refusal
        if request.content_type != "application/json":
            return web.Response(status=415, text="send application/json\n")
        try:
            async with asyncio.timeout(self._limits.body_timeout_s):
                body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return web.Response(status=413, text=f"at most {self._limits.max_body_bytes} bytes\n")
        except TimeoutError:
            return web.Response(status=408, text=f"send the body within {self._limits.body_timeout_s:g} s\n")
        except (ConnectionError, web.RequestPayloadError):
            return web.Response(status=400, text="the body can't be read\n")
        self._note_client(request)
        answer = await self._answer_bytes(body)
        if answer is None:
            return web.Response(status=204)
        return web.Response(body=answer, content_type="application/json")

    async def _handle_websocket(self, request: web.Request) -> web.StreamResponse:
        refusal = self._refuse(request)
        if refusal is not None:
            return refusal
        limits = self._limits
        self._note_client(request)
        client = CLIENT.get()
        is_much = client is not None and list(self._websockets.values()).count(client) >= limits.max_websockets_of_one
        if is_much or len(self._websockets) >= limits.max_websockets:
            return web.Response(status=503, text="too many websockets\n")
        websocket = web.WebSocketResponse(max_msg_size=limits.max_body_bytes, heartbeat=limits.heartbeat_s, timeout=2.0)
        if not websocket.can_prepare(request).ok:
            return web.Response(status=426, text="this is a websocket\n", headers={"Upgrade": "websocket"})
        self._websockets[websocket] = client
        try:
            await websocket.prepare(request)
            # One at a time: a client that doesn't read its answers can't pile up calls.
            async for message in websocket:
                if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                    break
                data = message.data.encode() if isinstance(message.data, str) else message.data
                answer = await self._answer_bytes(data)
                if answer is not None:
                    await websocket.send_str(answer.decode())
        except ConnectionError:
            log.debug("websocket_lost")
        finally:
            self._websockets.pop(websocket, None)
        return websocket

    async def _handle_page(self, request: web.Request, *, handle: Page) -> web.StreamResponse:
        refusal = self._refuse(request)
        if refusal is not None:
            return refusal
        self._note_client(request)
        return await handle(request, CLIENT.get() or "")

    def _note_client(self, request: web.Request) -> None:
        """Say for this request's task who asks."""
        forwarded = ",".join(request.headers.getall("X-Forwarded-For", []))
        told = forwarded[-MAX_FORWARDED_CHARS:].split(",") if forwarded else []
        CLIENT.set(client_of(request.remote or "", told, self._trusted_proxies))

    def _refuse(self, request: web.Request) -> web.Response | None:
        host = request.host
        name = host.rsplit(":", 1)[0].lower()
        if not is_local_name(host) and name not in self._host_names:
            return web.Response(status=403, text="this server doesn't answer to that name\n")
        origin = request.headers.get("Origin")
        if origin is None:
            return None
        try:
            parts = urlsplit(origin)
        except ValueError:
            parts = urlsplit("")
        if parts.scheme in _EXTENSION_SCHEMES or (parts.netloc and parts.netloc == host):
            return None
        return web.Response(status=403, text="web pages may not call this server\n")


def is_local_name(host: str) -> bool:
    """Whether a ``Host`` header names an IP address or localhost, and no DNS name, which may have been rebound."""
    name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    name = name.removeprefix("[").removesuffix("]").lower()
    if name == "localhost":
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


async def _listen(runner: web.AppRunner, host: str, port: int) -> str:
    """Bind a set-up runner; returns the URL it listens on.

    Raises:
        IdlewattError: ``port_in_use`` or ``cannot_listen``.
    """
    for opened in await listening_sockets(host, port):
        await web.SockSite(runner, opened).start()
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{runner.addresses[0][1]}"


def _refusal(identity: Any, number: JsonRpc, message: str) -> dict[str, Any]:
    """The answer to what is no proper request."""
    return _error(identity, number, message, {"code": "bad_request", "fix": ""})


def _coded(identity: Any, code: ErrorCode, message: str, fix: str = "") -> dict[str, Any]:
    """The answer that reports a code of the registry."""
    return _error(identity, ERRORS[code].json_rpc, message, {"code": code, "fix": fix})


def _error(identity: Any, number: int, message: str, data: str | dict[str, str | int] | None) -> dict[str, Any]:
    error: dict[str, Any] = {"code": number, "message": message}
    if data is not None:
        error["data"] = data
    return {"jsonrpc": "2.0", "id": identity, "error": error}


def _encode(answer: Any) -> bytes | None:
    return None if answer is None else msgspec.json.encode(answer)
