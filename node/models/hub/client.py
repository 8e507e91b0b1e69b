"""Asks the hub through a child process, which ends when the asking does."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from node.models.hub import messages as wire
from node.models.hub.hub_error import HubError
from node.models.model_error import printable

ANSWER_S: Final = 45.0
SILENCE_S: Final = 240.0
"""A transfer that says nothing for so long is ended: a slow server still brings a piece now and then."""
ENDING_S: Final = 2.0
"""How long a child that wrote something strange may take to end by itself."""
MAX_LINE_BYTES: Final = 16 << 20
_LAST_BYTES: Final = 4 << 10
_NOT_LOADED = re.compile(r"(?:ModuleNotFoundError|ImportError|ValueError): .*")
_SECRET_PREFIX: Final = "IDLEWATT_"  # noqa: S105 - the prefix of variables that may hold a passphrase
_PACKAGE_ROOT = Path(__file__).resolve().parents[3]
_SETTINGS = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    # Xet's own protocol ignores HF_ENDPOINT and can't resume a plain file.
    "HF_HUB_DISABLE_XET": "1",
}


async def search(text: str, limit: int = 20) -> wire.SearchResults:
    """GGUF repositories whose name holds ``text``, the most downloaded first.

    Raises:
        HubError: If the hub can't be reached, or refuses.
    """
    answer = await _answer(wire.SearchRepos(text=text, limit=limit))
    if not isinstance(answer, wire.SearchResults):
        raise _nonsense()
    return answer


async def list_files(repo: str) -> wire.RepoFiles:
    """The GGUF files of a repository.

    Raises:
        HubError: If there is none such, it is gated, or the hub can't be reached.
    """
    answer = await _answer(wire.ListFiles(repo=repo))
    if not isinstance(answer, wire.RepoFiles):
        raise _nonsense()
    return answer


async def forget(path: Path) -> int:
    """Delete a file's revisions from the hub's cache with the hub's own library; returns the bytes freed.

    Raises:
        HubError: If other models are in them, or the cache can't be changed.
    """
    cache = next((folder.parent for folder in path.parents if folder.name.startswith("models--")), path.parent)
    answer = await _answer(wire.Forget(path=os.fsencode(path), cache=os.fsencode(cache)))
    if not isinstance(answer, wire.Forgotten):
        raise _nonsense()
    return answer.freed_bytes


@asynccontextmanager
async def fetching(request: wire.Fetch) -> AsyncIterator[AsyncIterator[wire.Transferred | wire.Fetched]]:
    """Download; leaving the block ends it, and keeps what arrived for the next time.

    Raises:
        HubError: While iterating, if it goes wrong.
    """
    async with _child(request, silence_s=SILENCE_S) as replies:

        async def steps() -> AsyncIterator[wire.Transferred | wire.Fetched]:
            async for reply in replies:
                if not isinstance(reply, wire.Transferred | wire.Fetched):
                    raise _nonsense()
                yield reply
                if isinstance(reply, wire.Fetched):
                    return

        yield steps()


async def _answer(request: wire.SearchRepos | wire.ListFiles | wire.Forget) -> wire.HubReply:
    async with _child(request, silence_s=ANSWER_S) as replies:
        return await anext(replies)


@asynccontextmanager
async def _child(request: wire.HubRequest, *, silence_s: float) -> AsyncIterator[AsyncIterator[wire.HubReply]]:
    with tempfile.TemporaryFile() as complaints:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "node.models.hub.worker",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=complaints,
            env=_environment(), limit=MAX_LINE_BYTES, start_new_session=True,
        )  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            # Standard input stays open: its end tells the child that we are gone.
            process.stdin.write(msgspec.json.encode(request) + b"\n")
            yield _replies(process.stdout, silence_s, lambda: _ended(process, complaints))
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.stdin.close()
            await asyncio.shield(_reap(process))


async def _reap(process: asyncio.subprocess.Process) -> None:
    assert process.stdout is not None
    # Reading to the end is what lets asyncio close the pipe.
    while await process.stdout.read(1 << 16):
        pass
    await process.wait()


async def _ended(process: asyncio.subprocess.Process, complaints: BinaryIO) -> HubError:
    """Why a child ended that had more to say: by what it wrote while its modules were loaded, and by its status."""
    status = await process.wait()
    complaints.seek(max(0, complaints.seek(0, os.SEEK_END) - _LAST_BYTES))
    said = complaints.read(_LAST_BYTES).decode("utf-8", "replace").strip().rpartition("\n")[2]
    # Nothing is asked before the modules are loaded, so that these lines hold no word of a server, and no token.
    if status == 1 and (found := _NOT_LOADED.match(said)):
        return HubError(
            f"The hub's client library can't be loaded ({printable(found[0], 200)}).",
            fix="Check the variables that begin with HF_, and install Idlewatt with its dependencies.",
        )
    if status == -signal.SIGKILL:
        return HubError("The download process was killed, perhaps for lack of memory.", fix="Close other programs.")
    return HubError(f"The download process ended unexpectedly (exit code {status}).", fix="Try again.")


async def _replies(
    lines: asyncio.StreamReader, silence_s: float, ended: Callable[[], Awaitable[HubError]]
) -> AsyncIterator[wire.HubReply]:
    decoder = msgspec.json.Decoder(wire.HubReply)
    while True:
        try:
            async with asyncio.timeout(silence_s):
                line = await lines.readline()
            if not line:
                raise await ended()
            reply = decoder.decode(line)
        except TimeoutError:
            raise HubError(
                f"The hub said nothing for {silence_s:.0f} s.", code="hub_unreachable", fix="Check the connection."
            ) from None
        except (msgspec.DecodeError, ValueError, RecursionError):
            # What can't be loaded may say so here first, and then end.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ENDING_S):
                    raise await ended() from None
            raise _nonsense() from None
        if isinstance(reply, wire.HubFailure):
            raise HubError(reply.message, fix=reply.fix, peer_code=reply.code)
        yield reply


def _nonsense() -> HubError:
    return HubError("The hub's answer can't be understood.", fix="Try again later.")


def _environment() -> dict[str, str]:
    """The person's own, for HF_TOKEN, HF_HOME and proxies; nothing that may hold a passphrase."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_SECRET_PREFIX)}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_PACKAGE_ROOT), environment.get("PYTHONPATH", "")]))
    return environment | _SETTINGS
