"""The L2 RPC server: JSON-RPC 2.0 over HTTP POST at ``/`` and over a websocket at ``/ws``.

It listens on loopback unless told otherwise. Web pages are turned away: a page can't send JSON to another origin
without a preflight, which gets no consent here; a websocket or request that names a page's origin is refused; and a
DNS name that was rebound to this machine isn't a name this server answers to.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Self
from urllib.parse import urlsplit

import msgspec
from aiohttp import WSMsgType, web

from chain.errors import ChainRejectedError, ChainUnavailableError, IdlewattError, UsageError
from chain.l1.embedded.server import is_local_name, listen
from chain.rpc.methods import Faucet, Methods, UnknownMethodError
from chain.sequencer.sequencer import Sequencer

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 256 * 1024
MAX_BATCH = 50
MAX_METHOD_CHARS = 64
MAX_ID_CHARS = 128
MAX_RUNNING = 256
"""Calls under way at once; more are told to come back."""
MAX_WEBSOCKETS = 64
CALL_TIMEOUT_S = 60.0
HEARTBEAT_S = 30.0

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
UNKNOWN_METHOD = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
REJECTED = -32000
UNAVAILABLE = -32002
BUSY = -32005

_EXTENSION_SCHEMES = ("chrome-extension", "moz-extension")


class RpcServer:
    """Serves one sequencer.

    Args:
        sequencer: Who answers.
        l1_rpc_url: Told to clients, who deposit there.
        faucet: On a devnet, who gives test money.
        is_devnet: Whether anyone may have batches posted at once.
        host_names: DNS names that this server is reached by, beside IP addresses and localhost.
    """

    def __init__(
        self,
        sequencer: Sequencer,
        *,
        l1_rpc_url: str,
        faucet: Faucet | None = None,
        is_devnet: bool = False,
        host_names: frozenset[str] = frozenset(),
    ) -> None:
        self._methods = Methods(sequencer, l1_rpc_url=l1_rpc_url, faucet=faucet, is_devnet=is_devnet)
        self._host_names = host_names
        self._runner: web.AppRunner | None = None
        self._running = 0
        self._websockets: set[web.WebSocketResponse] = set()
        self.url = ""
        """Where it listens; empty before ``start``."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; port 0 picks a free one.

        Raises:
            IdlewattError: If the port is taken or can't be bound.
        """
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.router.add_post("/", self._handle_post)
        app.router.add_get("/ws", self._handle_websocket)
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await runner.setup()
        try:
            self.url = await listen(runner, host, port)
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

    async def _handle_post(self, request: web.Request) -> web.Response:
        refusal = self._refuse(request)
        if refusal is not None:
            return refusal
        if request.content_type != "application/json":
            return web.Response(status=415, text="send application/json\n")
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return web.Response(status=413, text=f"at most {MAX_BODY_BYTES} bytes\n")
        answer = await self._answer_bytes(body)
        if answer is None:
            return web.Response(status=204)
        return web.Response(body=answer, content_type="application/json")

    async def _handle_websocket(self, request: web.Request) -> web.StreamResponse:
        refusal = self._refuse(request)
        if refusal is not None:
            return refusal
        if len(self._websockets) >= MAX_WEBSOCKETS:
            return web.Response(status=503, text="too many websockets\n")
        websocket = web.WebSocketResponse(max_msg_size=MAX_BODY_BYTES, heartbeat=HEARTBEAT_S, timeout=2.0)
        if not websocket.can_prepare(request).ok:
            return web.Response(status=426, text="this is a websocket\n", headers={"Upgrade": "websocket"})
        self._websockets.add(websocket)
        try:
            await websocket.prepare(request)
            # One at a time: a reader that doesn't read its answers can't pile up calls.
            async for message in websocket:
                if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                    break
                data = message.data.encode() if isinstance(message.data, str) else message.data
                answer = await self._answer_bytes(data)
                if answer is not None:
                    await websocket.send_str(answer.decode())
        except ConnectionError:
            log.debug("a websocket was lost")
        finally:
            self._websockets.discard(websocket)
        return websocket

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

    async def _answer_bytes(self, body: bytes) -> bytes | None:
        try:
            request = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return _encode(_error(None, PARSE_ERROR, "This is not JSON."))
        if not isinstance(request, list):
            return _encode(await self._answer(request))
        if not 0 < len(request) <= MAX_BATCH:
            return _encode(_error(None, INVALID_REQUEST, f"A batch holds 1 to {MAX_BATCH} requests."))
        answers = [answer for item in request if (answer := await self._answer(item)) is not None]
        return _encode(answers or None)

    async def _answer(self, request: Any) -> dict[str, Any] | None:
        if not isinstance(request, dict) or request.get("jsonrpc", "2.0") != "2.0":
            return _error(None, INVALID_REQUEST, "This is not a JSON-RPC 2.0 request.")
        identity = request.get("id")
        if not _is_identity(identity):
            return _error(None, INVALID_REQUEST, "An id is a short string or a number.")
        method = request.get("method")
        if not isinstance(method, str) or len(method) > MAX_METHOD_CHARS:
            return _error(identity, INVALID_REQUEST, "A method is a short string.")
        if self._running >= MAX_RUNNING:
            return _error(identity, BUSY, "The server is busy.", "busy", "Try again in a moment.")
        self._running += 1
        try:
            answer = await self._call(identity, method, request.get("params"))
        finally:
            self._running -= 1
        return answer if "id" in request else None

    async def _call(self, identity: Any, method: str, given: Any) -> dict[str, Any]:
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                result = await self._methods.call(method, given)
        except UnknownMethodError as error:
            return _error(identity, UNKNOWN_METHOD, error.message, error.code)
        except UsageError as error:
            return _error(identity, INVALID_PARAMS, error.message, error.code, error.fix)
        except ChainRejectedError as error:
            number = BUSY if error.code in ("busy", "rate_limited") else REJECTED
            return _error(identity, number, error.message, error.code, error.fix)
        except ChainUnavailableError as error:
            return _error(identity, UNAVAILABLE, error.message, error.code, error.fix)
        except TimeoutError:
            return _error(identity, UNAVAILABLE, "The call took too long.", "timeout", "Try again.")
        except IdlewattError as error:
            log.error("the RPC could not answer %s: %s", method, error.line())
            return _error(identity, INTERNAL_ERROR, error.message, error.code, error.fix)
        except Exception:
            log.exception("the RPC failed to answer a call")
            return _error(identity, INTERNAL_ERROR, "The server failed; its log says why.", "internal")
        return {"jsonrpc": "2.0", "id": identity, "result": result}


def _is_identity(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= MAX_ID_CHARS
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _error(identity: Any, number: int, message: str, code: str = "bad_request", fix: str = "") -> dict[str, Any]:
    return {
        "jsonrpc": "2.0",
        "id": identity,
        "error": {"code": number, "message": message, "data": {"code": code, "fix": fix}},
    }


def _encode(answer: Any) -> bytes | None:
    return None if answer is None else msgspec.json.encode(answer)
