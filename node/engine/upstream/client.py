"""Talks HTTP to one upstream: every answer bounded, no redirect followed, the key in a header and nowhere else."""

from __future__ import annotations

import asyncio
from codecs import BOM_UTF8
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import aiohttp
import msgspec

from chain.errors import UsageError
from node.engine.upstream.chunks import read_answer
from node.engine.upstream.inflate import Inflater
from node.engine.upstream.refusals import UpstreamError, broken, refusal, unreachable
from node.engine.upstream.sse import looks_like_events

MAX_BODY_BYTES: Final = 8 << 20
MAX_ERROR_BYTES: Final = 16 << 10
READ_BYTES: Final = 64 << 10
CONNECT_S: Final = 5.0
ASK_S: Final = 10.0
MAX_KEY_CHARS: Final = 4_096

_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Received:
    """A streamed answer."""

    data: AsyncIterator[bytes]
    close: Callable[[], None]
    """Ends the connection at once; reading ``data`` then fails."""


class UpstreamClient:
    """One server's HTTP API.

    Args:
        url: Its OpenAI base address, as in ``http://host:8000/v1``.
        key: The bearer token, or ``""``.

    Raises:
        UsageError: ``bad_url`` or ``bad_config`` if either can't be used.
    """

    def __init__(self, url: str, key: str = "") -> None:
        self._base = check_url(url)
        self._root = self._base.removesuffix("/v1")
        if len(key) > MAX_KEY_CHARS or not all("!" <= char <= "~" for char in key):
            raise UsageError(
                "The upstream's key is no bearer token.", code="bad_config", fix="Set its variable to the token alone."
            )
        self._headers = {"Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {key}"} if key else {})
        self._session: aiohttp.ClientSession | None = None

    @property
    def shown_url(self) -> str:
        """The address, which holds no secret."""
        return self._base

    async def open(self) -> None:
        """Get ready; harmless when repeated."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                headers=self._headers,
                auto_decompress=False,
                trust_env=False,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
                connector=aiohttp.TCPConnector(limit=0),
                cookie_jar=aiohttp.DummyCookieJar(),
            )

    async def close(self) -> None:
        """End every connection."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def get(self, path: str, kind: type[_T], *, timeout_s: float = ASK_S) -> _T:
        """Ask for a value of the server's own API, beside ``/v1``.

        Args:
            path: Of the address, with its slash.
            kind: What the answer is read as.
            timeout_s: How long it may take.

        Raises:
            UpstreamError: If it can't be had.
        """
        return _read(await self._whole("GET", self._root + path, None, timeout_s), kind)

    async def post(self, path: str, body: Any, kind: type[_T], *, timeout_s: float = ASK_S) -> _T:
        """Ask the server's own API something.

        Args:
            path: Of the address, with its slash.
            body: Sent as JSON.
            kind: What the answer is read as.
            timeout_s: How long it may take.

        Raises:
            UpstreamError: If it can't be had.
        """
        return _read(await self._whole("POST", self._root + path, body, timeout_s), kind)

    async def models(self, *, timeout_s: float = ASK_S) -> bytes:
        """The body of ``/v1/models``.

        Raises:
            UpstreamError: If it can't be had.
        """
        return await self._whole("GET", self._base + "/models", None, timeout_s)

    async def complete(self, body: Any, *, timeout_s: float) -> Any:
        """A chat completion that is not streamed, as JSON is read.

        Args:
            body: Sent as JSON.
            timeout_s: How long it may take.

        Raises:
            UpstreamError: If it can't be had.
        """
        answer = await self._whole("POST", self._base + "/chat/completions", body, timeout_s)
        return read_answer(answer)

    async def embed(self, body: Any, kind: type[_T], *, timeout_s: float) -> _T:
        """What ``/v1/embeddings`` answers.

        Args:
            body: Sent as JSON.
            kind: What the answer is read as.
            timeout_s: How long it may take.

        Raises:
            UpstreamError: If it can't be had.
        """
        return _read(await self._whole("POST", self._base + "/embeddings", body, timeout_s), kind)

    @asynccontextmanager
    async def stream(self, body: Any) -> AsyncIterator[Received]:
        """A streamed chat completion, as bytes; leaving the block ends the request. Deadlines are the caller's.

        Raises:
            UpstreamError: If the server refuses, can't be reached, or answers something else.
        """
        try:
            # Some servers end a connection after a stream without saying so: the next request would run into that.
            async with self._request("POST", self._base + "/chat/completions", body, Connection="close") as response:
                await _accepted(response)
                try:
                    yield Received(data=await _events(response), close=response.close)
                finally:
                    # What is left is not wanted, and a connection in the middle of an answer can't be used again.
                    response.close()
        except (aiohttp.ClientConnectorError, aiohttp.ServerTimeoutError) as error:
            raise unreachable(_why(error)) from None
        except (aiohttp.ClientError, OSError) as error:
            raise _cut(error) from None

    async def _whole(self, method: str, url: str, body: Any, timeout_s: float) -> bytes:
        try:
            async with asyncio.timeout(timeout_s), self._request(method, url, body) as response:
                await _accepted(response)
                data = await _at_most(response, MAX_BODY_BYTES + 1)
        except TimeoutError:
            raise unreachable(f"no answer within {timeout_s:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise unreachable(_why(error)) from None
        if len(data) > MAX_BODY_BYTES:
            raise broken("an answer that is too long")
        return data

    @asynccontextmanager
    async def _request(self, method: str, url: str, body: Any, **headers: str) -> AsyncIterator[aiohttp.ClientResponse]:
        assert self._session is not None
        data = None if body is None else msgspec.json.encode(body)
        headers |= {} if data is None else {"Content-Type": "application/json"}
        async with self._session.request(method, url, data=data, headers=headers, allow_redirects=False) as response:
            yield response


def check_url(url: str) -> str:
    """The address without its last slash, if it is one that can be asked.

    Raises:
        UsageError: ``bad_url``.
    """
    wrong = UsageError(
        "The upstream's address can't be used.", code="bad_url", fix="It looks like http://127.0.0.1:8000/v1."
    )
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise wrong from None
    if parts.scheme not in {"http", "https"} or not host or parts.query or parts.fragment:
        raise wrong
    if parts.username is not None or parts.password is not None:
        raise UsageError(
            "The upstream's address holds a password.",
            code="bad_url", fix="Put the token into a variable, and name it with --upstream-key-env.",
        )  # fmt: skip
    return url.rstrip("/")


async def _accepted(response: aiohttp.ClientResponse) -> None:
    if 200 <= response.status < 300:  # proxies say 201 too
        return
    body = await _at_most(response, MAX_ERROR_BYTES)
    headers = response.headers
    raise refusal(response.status, body=body, retry_after=headers.get("Retry-After"), date=headers.get("Date"))


async def _events(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The body, if it is a stream of events; some servers and proxies give it another type."""
    received = _body(response)
    if response.content_type == "text/event-stream":
        return received
    begin = await anext(received, b"")
    if not looks_like_events(begin):
        if begin.lstrip().startswith(b"{"):
            read_answer(begin[:MAX_ERROR_BYTES])  # the server's own reason, where it is one
        raise broken(f"{_type(response)} where a stream of events was asked for")

    async def whole() -> AsyncIterator[bytes]:
        yield begin
        async for piece in received:
            yield piece

    return whole()


async def _body(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    inflater = Inflater(response.headers.get("Content-Encoding", ""))
    async for data in response.content.iter_chunked(READ_BYTES):
        for part in inflater.feed(data, READ_BYTES):
            yield part


async def _at_most(response: aiohttp.ClientResponse, most_bytes: int) -> bytes:
    data = bytearray()
    async for piece in _body(response):
        data += piece
        if len(data) >= most_bytes:
            response.close()
            break
    return bytes(data[:most_bytes])


def _read(body: bytes, kind: type[_T]) -> _T:
    try:
        # Counts come as 12.0 and "12" too.
        return msgspec.json.decode(body.removeprefix(BOM_UTF8), type=kind, strict=False)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        raise broken("something that is not the JSON it should be") from None


def _type(response: aiohttp.ClientResponse) -> str:
    return response.content_type[:60] or "an answer without a type"


def _why(error: Exception) -> str:
    """Why there is no connection; never a header, and so never the key."""
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.os_error.strerror or "connection failed"
    return type(error).__name__


def _cut(error: Exception) -> UpstreamError:
    what = broken(f"only a part of its answer ({type(error).__name__})")
    return UpstreamError("The provider's server broke off.", code=what.code, owner=what.owner)
