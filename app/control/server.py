"""The server of the control socket, in the running node."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec

from app.control.protocol import METHODS, Call, ControlError, End, Failure, Item, Method, raw, read_frame, write_frame
from chain.errors import IdlewattError, UsageError
from chain.logs import get_logger
from node.api import NodeApi

log = get_logger(__name__)

CALL_TIMEOUT_S = 5.0
_PEER_CREDENTIALS = struct.Struct("3i")


@asynccontextmanager
async def serve_control(api: NodeApi, path: Path) -> AsyncIterator[None]:
    """Answer commands on the unix socket ``path`` (0600) until the block ends.

    The caller holds the home's lock.

    Raises:
        ControlError: With code ``home_unusable`` if there can be no socket.
    """
    _remove_stale_socket(path)
    connections: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        try:
            await _serve_one(api, reader, writer)
        finally:
            connections.discard(task)
            writer.close()

    before = os.umask(0o177)
    try:
        server = await asyncio.start_unix_server(accept, path)
    except OSError as error:
        # As on FAT, and on some of a network, which have no sockets.
        raise _unusable(path, error) from None
    finally:
        os.umask(before)
    try:
        yield
    finally:
        server.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        _remove_stale_socket(path)


def _remove_stale_socket(path: Path) -> None:
    """Remove a socket that a killed node left behind.

    Raises:
        ControlError: With code ``home_unusable`` if something else stands there that can't be removed.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
    except OSError as error:
        raise _unusable(path, error) from None


def _unusable(path: Path, error: OSError) -> ControlError:
    return ControlError(
        f"The node can't listen at {path}: {error.strerror or error}.",
        code="home_unusable",
        fix="Move what is there away, or choose a --home on another disk.",
    )


async def _serve_one(api: NodeApi, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    if not _is_owner(writer):
        return
    try:
        async with asyncio.timeout(CALL_TIMEOUT_S):
            frame = await read_frame(reader)
        if frame is None:
            return
        call = msgspec.msgpack.decode(frame, type=Call)
        method = METHODS.get(call.method)
        if method is None:
            raise ControlError(f"This node has no {call.method[:40]!r}.", fix="Use the same version on both sides.")
        arguments = {
            name: msgspec.msgpack.decode(value, type=method.parameters[name]) for name, value in call.arguments.items()
        }
    except (IdlewattError, msgspec.MsgspecError, ValueError, KeyError, RecursionError, TimeoutError) as error:
        await _fail(
            writer, error if isinstance(error, IdlewattError) else ControlError("That is no call of this node.")
        )
        return
    await _until_closed(reader, _answer(api, method, arguments, writer))


async def _until_closed(reader: asyncio.StreamReader, answering: object) -> None:
    """Run the answer, and cancel it when the caller closes the connection."""
    assert asyncio.iscoroutine(answering)
    answer = asyncio.ensure_future(answering)
    hang_up = asyncio.ensure_future(reader.read(1))
    try:
        await asyncio.wait({answer, hang_up}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (answer, hang_up):
            task.cancel()
        await asyncio.gather(answer, hang_up, return_exceptions=True)


async def _answer(api: NodeApi, method: Method, arguments: dict[str, object], writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):  # the caller closed the connection, so no answer is needed
        try:
            outcome = getattr(api, method.name)(**arguments)
            if method.streams:
                async with outcome as items:
                    async for item in items:
                        await write_frame(writer, Item(raw(item)))
                await write_frame(writer, End())
            else:
                await write_frame(writer, End(raw(await outcome if method.waits else outcome)))
        except IdlewattError as error:
            await _fail(writer, error)
        except ConnectionError:
            raise
        except Exception:
            log.exception("control_call_failed", method=method.name)
            await _fail(writer, ControlError("The node failed unexpectedly.", code="internal", fix="See its log."))


async def _fail(writer: asyncio.StreamWriter, error: IdlewattError) -> None:
    with suppress(ConnectionError):  # likewise
        await write_frame(writer, Failure(error.wire_code, error.message, error.fix, isinstance(error, UsageError)))


def _is_owner(writer: asyncio.StreamWriter) -> bool:
    if not hasattr(socket, "SO_PEERCRED"):
        return True  # where the kernel does not name the caller, the socket's 0600 rights are the check
    credentials = writer.get_extra_info("socket").getsockopt(
        socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER_CREDENTIALS.size
    )
    _, user, _ = _PEER_CREDENTIALS.unpack(credentials)
    return bool(user == os.geteuid())
