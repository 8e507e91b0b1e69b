"""The client of the control socket: a ``NodeApi`` whose node runs in another process."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, cast

import msgspec

from app.control.protocol import METHODS, Answer, Call, ControlError, End, Failure, Item, raw, read_frame, write_frame
from chain.errors import IdlewattError, UsageError
from node.api import NodeApi
from node.values import NodeEvent, NodeSnapshot


async def attach(path: Path) -> NodeApi:
    """Reach the node behind a control socket.

    Every call has a connection of its own. A slow call delays no other, and closing the connection cancels it.

    Raises:
        ControlError: If nothing answers there.
    """
    return cast("NodeApi", _AttachedNode(path, await _call(path, "snapshot")))


class _AttachedNode:
    """Forwards every method of ``NodeApi``, whose annotations are the wire's types.

    ``snapshot`` alone can't wait for an answer: it gives the newest one read, and every subscribed event reads a
    newer one.
    """

    def __init__(self, path: Path, snapshot: NodeSnapshot) -> None:
        self._path = path
        self._snapshot = snapshot

    def snapshot(self) -> NodeSnapshot:
        return self._snapshot

    @asynccontextmanager
    async def subscribe(self) -> AsyncIterator[AsyncIterator[NodeEvent]]:
        async with _stream(self._path, "subscribe") as events:

            async def with_snapshots() -> AsyncIterator[NodeEvent]:
                async for event in events:
                    self._snapshot = await _call(self._path, "snapshot")
                    yield event

            yield with_snapshots()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = METHODS.get(name)
        if method is None:
            raise AttributeError(name)
        signature = inspect.signature(getattr(NodeApi, name))

        def named(args: tuple[object, ...], kwargs: dict[str, object]) -> dict[str, object]:
            bound = signature.bind(self, *args, **kwargs).arguments
            return {key: value for key, value in bound.items() if key != "self"}

        async def call(*args: object, **kwargs: object) -> Any:
            result = await _call(self._path, name, **named(args, kwargs))
            self._snapshot = await _call(self._path, "snapshot")
            return result

        def stream(*args: object, **kwargs: object) -> Any:
            return _stream(self._path, name, **named(args, kwargs))

        return stream if method.streams else call


async def _call(path: Path, name: str, **arguments: object) -> Any:
    async with _connected(path, name, arguments) as answers:
        async for answer in answers:
            if isinstance(answer, End):
                return _decoded(answer.value, METHODS[name].result)
    raise ControlError("The node hung up before answering.", fix="See its log.")


@asynccontextmanager
async def _stream(path: Path, name: str, **arguments: object) -> AsyncIterator[AsyncIterator[Any]]:
    async with _connected(path, name, arguments) as answers:

        async def items() -> AsyncIterator[Any]:
            async for answer in answers:
                if isinstance(answer, End):
                    return
                assert isinstance(answer, Item)
                yield _decoded(answer.value, METHODS[name].result)
            raise ControlError("The node ended in the middle of an answer.", fix="See its log.")

        yield items()


@asynccontextmanager
async def _connected(path: Path, name: str, arguments: dict[str, object]) -> AsyncIterator[AsyncIterator[Answer]]:
    try:
        reader, writer = await asyncio.open_unix_connection(path)
    except OSError as error:
        raise ControlError(
            f"The node on this home does not answer ({error.strerror or error}).", fix="Restart it, or stop it first."
        ) from None

    async def answers() -> AsyncIterator[Answer]:
        while (frame := await read_frame(reader)) is not None:
            answer: Answer = _decoded(frame, Answer)
            if isinstance(answer, Failure):
                kind = UsageError if answer.is_usage else IdlewattError
                raise kind(answer.message, fix=answer.fix, peer_code=answer.code)
            yield answer

    try:
        with suppress(ConnectionError):  # a node that has gone says nothing more: that is what the reader finds
            await write_frame(writer, Call(name, {key: raw(value) for key, value in arguments.items()}))
        yield answers()
    finally:
        writer.close()


def _decoded(data: bytes | msgspec.Raw, kind: Any) -> Any:
    """What a node said.

    Raises:
        ControlError: If it makes no sense here: the node may run another version of this program.
    """
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise ControlError(
            "The node on this home gave an answer that this version doesn't know.",
            fix="Restart the node, so that both are of the same version.",
        ) from None
