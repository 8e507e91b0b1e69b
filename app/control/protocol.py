"""What travels over the control socket: calls of ``NodeApi`` by name, typed by the protocol's own annotations.

A frame is a 4-byte big-endian length and that many bytes of msgpack. A connection carries one call: a ``Call``, then
answers until an
``End`` or a ``Failure``. Closing the connection cancels the call.
"""

from __future__ import annotations

import asyncio
import inspect
import struct
import typing
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

import msgspec

from chain.errors import IdlewattError
from node.api import NodeApi

MAX_FRAME_BYTES = 16 * 2**20
_LENGTH = struct.Struct(">I")


class Call(msgspec.Struct, frozen=True, tag="call"):
    """Do this."""

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


async def read_frame(reader: asyncio.StreamReader) -> bytes | None:
    """The next frame, or ``None`` at a clean end.

    Raises:
        ControlError: If a frame is too long or cut short.
    """
    try:
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        if length > MAX_FRAME_BYTES:
            raise ControlError("A control frame is too long.")
        return await reader.readexactly(length)
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise ControlError("The control connection broke in the middle of a frame.") from None
        return None
    except ConnectionError:
        return None


async def write_frame(writer: asyncio.StreamWriter, message: msgspec.Struct) -> None:
    """Write one message, waiting while the reader is slow."""
    payload = msgspec.msgpack.encode(message)
    writer.write(_LENGTH.pack(len(payload)) + payload)
    await writer.drain()


def raw(value: object) -> msgspec.Raw:
    """A value, encoded for a ``Raw`` field."""
    return msgspec.Raw(msgspec.msgpack.encode(value))
