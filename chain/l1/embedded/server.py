"""The embedded L1 as loopback JSON-RPC over HTTP: what wallets, the sequencer and a watchtower talk to.

The EVM runs in one thread of its own and never on the event loop. Requests from web pages are turned away: a page can't
send JSON to another origin without a preflight, which gets no consent here, and a name that was rebound to the loopback
address isn't a name this server answers to.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from aiohttp import web

from chain.errors import IdlewattError
from chain.signing import keccak256

if TYPE_CHECKING:
    from chain.l1.embedded.evm import EmbeddedEvm

MAX_BODY_BYTES = 1024 * 1024
MAX_BATCH = 100
MAX_WAITING = 256
"""Calls that may wait for the EVM's thread; more are told to come back."""
MAX_METHOD_CHARS = 100
MAX_LOOKED_AT_LOGS = 10_000
FRAUD_COMMITTED_TOPIC = keccak256(b"FraudCommitted(address,bytes32)")

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


class L1Server:
    """Serves one EVM that it opens, owns and closes, in one thread.

    Args:
        open_evm: Opens the EVM; called in the thread.
    """

    def __init__(self, open_evm: Callable[[], EmbeddedEvm]) -> None:
        self._open_evm = open_evm
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="l1-evm")
        self._waiting = 0
        self._evm: EmbeddedEvm | None = None
        self._methods: Any = None
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def start(self, host: str, port: int) -> None:
        """Open the chain and listen; port 0 picks a free one. ``url`` says where.

        Raises:
            IdlewattError: If the port is taken, or the chain can't be opened.
        """
        try:
            self._evm = await self._in_thread(self._open)
            app = web.Application(client_max_size=MAX_BODY_BYTES)
            app.router.add_post("/", self._handle)
            self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
            await self._runner.setup()
            self.url = await listen(self._runner, host, port)
        except BaseException:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """Stop listening, finish what the EVM is doing, and end its thread."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        if self._evm is not None:
            await self._in_thread(self._evm.close)
            self._evm = None
        await asyncio.to_thread(self._thread.shutdown)

    async def advance_time(self, seconds: int) -> None:
        """Move the chain's clock forward; for tests of what waits for a challenge window."""
        assert self._evm is not None
        await self._in_thread(self._evm.advance_time, seconds)

    async def mine_for_reveal(self, rollup: bytes, reveal_delay_blocks: int) -> bool:
        """Mine an empty block if a fraud commitment still waits for its reveal; returns whether it did.

        Blocks come with transactions only, so that on a quiet chain a proof would wait for ever.
        """
        assert self._evm is not None
        return await self._in_thread(_mine_for_reveal, self._evm, rollup, reveal_delay_blocks)

    def _open(self) -> EmbeddedEvm:
        from chain.l1.embedded.methods import L1Methods

        evm = self._open_evm()
        self._methods = L1Methods(evm)
        return evm

    async def _in_thread(self, function: Callable[..., _T], *args: Any) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *args)

    # ---------------------------------------------------------------------------------------------------------- HTTP

    async def _handle(self, request: web.Request) -> web.Response:
        if not is_local_name(request.host):
            return web.Response(status=403, text="this server answers to an IP address or localhost only\n")
        if request.content_type != "application/json":
            return web.Response(status=415, text="send application/json\n")
        try:
            body = msgspec.json.decode(await request.read())
        except web.HTTPRequestEntityTooLarge:
            return web.Response(status=413, text=f"at most {MAX_BODY_BYTES} bytes\n")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return _reply(_error(None, -32700, "not JSON"))
        if not isinstance(body, list):
            return _reply(await self._answer(body))
        if not 0 < len(body) <= MAX_BATCH:
            return _reply(_error(None, -32600, f"a batch holds 1 to {MAX_BATCH} requests"))
        answers = [answer for item in body if (answer := await self._answer(item)) is not None]
        return _reply(answers or None)

    async def _answer(self, request: object) -> dict[str, Any] | None:
        if not isinstance(request, dict) or not isinstance(request.get("method"), str):
            return _error(None, -32600, "not a JSON-RPC request")
        identity = request.get("id")
        if not isinstance(identity, str | int | float | None):
            return _error(None, -32600, "an id is a string or a number")
        params = request.get("params", [])
        if not isinstance(params, list) or len(request["method"]) > MAX_METHOD_CHARS:
            return _error(identity, -32602, "params must be a list")
        if self._waiting >= MAX_WAITING:
            return _error(identity, -32005, "busy: try again")
        self._waiting += 1
        try:
            answer = await self._in_thread(self._call, identity, request["method"], params)
        finally:
            self._waiting -= 1
        return answer if "id" in request else None

    def _call(self, identity: object, method: str, params: list[Any]) -> dict[str, Any]:
        from chain.l1.embedded.encoding import RpcError

        try:
            return {"jsonrpc": "2.0", "id": identity, "result": self._methods.answer(method, params)}
        except RpcError as error:
            return _error(identity, error.code, error.message, error.data)
        except Exception:
            _log.exception("the embedded L1 failed to answer a request")
            return _error(identity, -32603, "internal error: see the devnet's log")


def _mine_for_reveal(evm: EmbeddedEvm, rollup: bytes, reveal_delay_blocks: int) -> bool:
    head = evm.head().block_number
    # One committed in this block or later can't be revealed in the next block yet.
    first = max(0, head + 2 - reveal_delay_blocks)
    rows = evm.logs(first, head, [rollup], MAX_LOOKED_AT_LOGS)
    if not any(row.topics and row.topics[0] == FRAUD_COMMITTED_TOPIC for row in rows):
        return False
    evm.mine()
    return True


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


async def listen(runner: web.AppRunner, host: str, port: int) -> str:
    """Bind a set-up runner; returns the URL it listens on.

    Raises:
        IdlewattError: With code ``port_in_use`` if somebody else has the port, ``cannot_listen`` if it can't be bound.
    """
    site = web.TCPSite(runner, host, port)
    try:
        await site.start()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise IdlewattError(
                f"Port {port} is in use.",
                code="port_in_use",
                fix="Stop what uses it, or choose another port; 0 picks one.",
            ) from error
        raise IdlewattError(
            f"Can't listen on {host}:{port}: {error.strerror or error}.",
            code="cannot_listen",
            fix="Choose another address or a port above 1023.",
        ) from error
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{runner.addresses[0][1]}"


def _error(identity: object, code: int, message: str, data: str | None = None) -> dict[str, Any]:
    error: dict[str, Any] = {"code": code, "message": message}
    if data is not None:
        error["data"] = data
    return {"jsonrpc": "2.0", "id": identity, "error": error}


def _reply(answer: object) -> web.Response:
    if answer is None:
        return web.Response(status=204)
    return web.Response(body=msgspec.json.encode(answer), content_type="application/json")
