"""Pulls a model from the hub into the home: chooses the file, follows the transfer, and leaves a note of its origin."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec

from chain.errors import UsageError
from node.models.hub import client
from node.models.hub import messages as wire
from node.models.hub.hub_error import HubError
from node.models.naming import SUFFIX, HubFile, Variant, choose, readable, variants
from node.models.remembered import read_remembered, write_remembered
from node.values.models import HubModelView, PullChosen, PullDone, PullEvent, PullProgress
from node.values.text import plain

ORIGIN_FILE: Final = "origin.json"
MAX_SEARCH_CHARS: Final = 120
MAX_NOTICE_CHARS: Final = 400
SPEED_WINDOW_S: Final = 10.0
_REPO = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_ADDRESS = re.compile(r"^(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/", re.IGNORECASE)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40,64}")


class Spec(msgspec.Struct, frozen=True):
    """What a person asked for: a repository, and maybe a quantization or a file of it."""

    repo: str
    wanted: str


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where a pulled file came from."""

    repo: str
    commit: str
    sha256: str
    licence: str = ""


def parse_spec(text: str) -> Spec:
    """``OWNER/NAME``, ``OWNER/NAME:QUANT``, ``OWNER/NAME:FILE`` or ``OWNER/NAME/FILE``; the hub's address may lead.

    Raises:
        UsageError: If it is none of these.
    """
    bare = _ADDRESS.sub("", text.strip()).removesuffix("/")
    repo, _, wanted = bare.partition(":")
    owner, _, rest = repo.partition("/")
    name, _, file = rest.partition("/")
    # A file's page on the hub: OWNER/NAME/blob/main/FILE.
    file = re.sub(r"^(?:blob|resolve|tree)/[^/]+/?", "", file)
    repo = f"{owner}/{name}"
    if not _REPO.fullmatch(repo) or ".." in repo or (file and wanted):
        raise UsageError(
            f"{plain(text, 120)!r} names no repository of the hub.",
            fix="Write it as OWNER/NAME, or OWNER/NAME:Q4_K_M to choose a quantization.",
        )
    return Spec(repo, wanted or file)


async def search(
    text: str, limit: int = 20, on_notice: Callable[[str], None] = lambda _: None
) -> tuple[HubModelView, ...]:
    """GGUF repositories for ``text``, the most downloaded first, every string harmless.

    Args:
        text: A part of their names.
        limit: The most of them.
        on_notice: Called with what a person should know beside the answer.

    Raises:
        UsageError: If the text is empty or too long.
        HubError: If the hub can't be asked.
    """
    if len(text) > MAX_SEARCH_CHARS:
        raise UsageError(
            f"A search takes up to {MAX_SEARCH_CHARS} characters; this one has {len(text):,}.",
            fix="Give a few letters of a model's name.",
        )
    if not text.strip():
        raise UsageError("There is nothing to search for.", fix="Give a few letters of a model's name.")
    found = await client.search(text.strip(), limit)
    if found.notice:
        on_notice(plain(found.notice, MAX_NOTICE_CHARS))
    return tuple(
        HubModelView(
            repo=plain(model.repo, 120),
            downloads=model.downloads,
            likes=model.likes,
            parameters=model.parameters,
            architecture=plain(model.architecture, 40),
            context_length=model.context_length,
            is_gated=model.is_gated,
            quantizations=tuple(plain(label, 16) for label in model.quantizations[:40]),
            size_bytes=model.size_bytes,
            quantization=plain(model.quantization, 16),
        )
        for model in sorted(found.models[:limit], key=lambda model: -model.downloads)
    )


@asynccontextmanager
async def pulling(text: str, models_dir: Path) -> AsyncIterator[AsyncIterator[PullEvent]]:
    """Pull what ``text`` names; leaving the block ends the transfer and keeps what arrived.

    Raises:
        UsageError: If the text names nothing.
        HubError, ChoiceError: While iterating, with what to do.
    """
    spec = parse_spec(text)
    async with contextlib.AsyncExitStack() as stack:

        async def events() -> AsyncIterator[PullEvent]:
            listing = await client.list_files(spec.repo)
            there = variants(listing.files)
            chosen = choose(there, spec.wanted)
            _check(chosen, listing)
            yield PullChosen(
                repo=spec.repo,
                name=plain(chosen.name, 120),
                quantization=plain(chosen.quantization, 16),
                size_bytes=chosen.size_bytes,
                files=len(chosen.files),
                others=_others(there, chosen),
                licence=plain(listing.licence, 60),
                notice=plain(listing.notice, MAX_NOTICE_CHARS),
            )
            owner, _, name = spec.repo.partition("/")
            folder = models_dir / owner / name
            request = wire.Fetch(repo=spec.repo, commit=listing.commit, folder=os.fsencode(folder), files=chosen.files)
            speed = Speed()
            async for step in await stack.enter_async_context(client.fetching(request)):
                if isinstance(step, wire.Transferred):
                    yield speed.progress(step)
            note_origin(folder, chosen.files, listing)
            yield PullDone(
                model=f"{spec.repo}:{chosen.quantization or chosen.name}",
                path=readable(str(folder / _base(chosen.files[0]))),
                size_bytes=chosen.size_bytes,
                sha256=chosen.files[0].sha256,
            )

        yield events()


def _others(there: tuple[Variant, ...], chosen: Variant) -> tuple[str, ...]:
    """What else the repository has, for a person to choose."""
    labels = (plain(each.quantization or each.name, 60) for each in there if each != chosen)
    return tuple(dict.fromkeys(labels))


def _base(file: HubFile) -> str:
    return file.path.rpartition("/")[2]


def _check(chosen: Variant, listing: wire.RepoFiles) -> None:
    """The hub's own words are a stranger's: no path, size or digest of them is used before this."""
    if not _COMMIT.fullmatch(listing.commit):
        raise HubError("The hub names no commit of this repository.", fix="Try again later.")
    for file in chosen.files:
        name = _base(file)
        harmless = plain(name, 240) == name and not name.startswith(".") and name.lower().endswith(SUFFIX)
        if not harmless or ".." in file.path.split("/") or file.path.startswith("/") or "\\" in file.path:
            raise HubError("A file of this repository has a name that can't be used.", fix="Choose another repository.")
        if not _SHA256.fullmatch(file.sha256) or not file.size_bytes:
            raise HubError(
                f"The hub tells no SHA-256 for {name}, so what arrives can't be checked.",
                code="wrong_hash",
                fix="Choose another repository, or download it yourself into the models folder.",
            )


class Speed:
    """Bytes per second over the last moments, and from them the time that is left."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._seen: deque[tuple[float, int]] = deque()

    def progress(self, step: wire.Transferred) -> PullProgress:
        """A step of the transfer with its speed."""
        now_s = self._now_s()
        self._seen.append((now_s, step.fresh_bytes))
        while len(self._seen) > 2 and now_s - self._seen[0][0] > SPEED_WINDOW_S:
            self._seen.popleft()
        since_s, before = self._seen[0]
        speed = (step.fresh_bytes - before) / (now_s - since_s) if now_s > since_s else 0.0
        left = step.total_bytes - step.done_bytes
        return PullProgress(
            done_bytes=step.done_bytes,
            total_bytes=step.total_bytes,
            bytes_per_s=speed,
            eta_s=left / speed if speed > 0 else None,
            checking=step.checking,
        )


def note_origin(folder: Path, files: tuple[HubFile, ...], listing: wire.RepoFiles) -> None:
    """Remember beside the files where they came from; without the note they work all the same.

    Args:
        folder: Where the files are.
        files: Their names.
        listing: The repository that they came from.
    """
    origins = origins_of(folder)
    for file in files:
        origins[_base(file)] = Origin(
            repo=listing.repo, commit=listing.commit, sha256=file.sha256, licence=plain(listing.licence, 60)
        )
    write_remembered(folder / ORIGIN_FILE, origins)


def origins_of(folder: Path) -> dict[str, Origin]:
    """What is known about the origin of a folder's files, by file name."""
    return read_remembered(folder / ORIGIN_FILE, Origin)
