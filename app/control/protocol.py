"""What travels over the control socket: calls of ``NodeApi`` by name, typed by the protocol's own annotations.

Each message is one frame (``node.wire.framing``) of msgpack. A connection carries one call: a ``Call``, then answers
until an ``End`` or a ``Failure``. Closing the connection cancels the call.
"""

from __future__ import annotations

import asyncio
import inspect
import typing
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

import msgspec

from chain.errors import IdlewattError
from node.api import NodeApi
from node.wire import framing

MAX_FRAME_BYTES = 16 * 2**20


class Call(msgspec.Struct, frozen=True, tag="call"):
    """A call of one method."""

    method: str
    arguments: dict[str, msgspec.Raw]


class Item(msgspec.Struct, frozen=True, tag="item"):
    """One value of a stream."""

    value: msgspec.Raw


class End(msgspec.Struct, frozen=True, tag="end"):
    """The call is done; ``value`` is its result, or nothing after a stream."""

    value: msgspec.Raw = msgspec.Raw(b"\xc0")


class Failure(msgspec.Struct, frozen=True, tag="failure"):
    """The call failed, as an ``IdlewattError`` would say it."""

    code: str
    message: str
    fix: str
    is_usage: bool = False
    """Whether it was a ``UsageError``."""


Answer = Item | End | Failure


class ControlError(IdlewattError):
    """The control socket broke, or spoke something else."""

    default_code = "control_broken"


@dataclass(frozen=True)
class Method:
    """One method of ``NodeApi``: its parameters' types, its result's, and whether it streams."""

    name: str
    parameters: dict[str, Any]
    result: Any
    streams: bool
    waits: bool


def _methods() -> dict[str, Method]:
    found = {}
    for name, function in inspect.getmembers(NodeApi, inspect.isfunction):
        if name.startswith("_"):
            continue
        hints = typing.get_type_hints(function)
        result = hints.pop("return")
        streams = typing.get_origin(result) is AbstractAsyncContextManager
        if streams:
            # AbstractAsyncContextManager[AsyncIterator[X], …] streams values of type X.
            iterator = typing.get_args(result)[0]
            assert typing.get_origin(iterator) in (AsyncIterator, typing.get_origin(AsyncIterator[Any]))
            result = typing.get_args(iterator)[0]
        found[name] = Method(name, hints, result, streams, inspect.iscoroutinefunction(function))
    return found


METHODS = _methods()


async def read_frame(reader: asyncio.StreamReader, *, max_bytes: int = MAX_FRAME_BYTES) -> bytes | None:
    """The next frame, or ``None`` at a clean end.

    Args:
        reader: The connection.
        max_bytes: The longest frame that is allowed, without its length.

    Raises:
        ControlError: If a frame is too long or cut short.
    """
    try:
        header = await reader.readexactly(framing.HEADER_BYTES)
        return await reader.readexactly(framing.body_length(header, max_bytes=max_bytes))
    except framing.FrameTooLongError as error:
        raise ControlError(str(error)) from None
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise ControlError("The control connection broke in the middle of a frame.") from None
        return None
    except ConnectionError:
        return None


async def write_frame(writer: asyncio.StreamWriter, message: msgspec.Struct) -> None:
    """Write one message, waiting while the reader is slow."""
    writer.write(framing.frame(msgspec.msgpack.encode(message)))
    await writer.drain()


def raw(value: object) -> msgspec.Raw:
    """A value, encoded for a ``Raw`` field."""
    return msgspec.Raw(msgspec.msgpack.encode(value))
