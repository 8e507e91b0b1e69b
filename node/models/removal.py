"""Deletes models, and only what is ours to delete: in the home, or in the cache that the hub's own library keeps."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

import msgspec

from chain.errors import IdlewattError
from node.models.discovery import FoundModel
from node.models.hub import client
from node.models.library import ModelLibrary
from node.models.pull import ORIGIN_FILE, origins_of
from node.values.text import plain

_INSTEAD = {
    "built-in": "It ships with Idlewatt.",
    "ollama": "Remove it there: ollama rm.",
    "lmstudio": "Remove it in LM Studio.",
}


class RemovalError(IdlewattError):
    """A model that can't be removed from here, and why."""

    default_code = "not_removable"


async def remove(library: ModelLibrary, name: str, *, in_use: Callable[[Path], bool] = lambda _: False) -> int:
    """Delete a model of the home, or of the Hugging Face cache; returns the bytes freed.

    Args:
        library: The models of the home.
        name: As listed.
        in_use: Tells of a file whether it is loaded.

    Raises:
        UsageError: If there is no such model.
        RemovalError: If it is in use, or another program's.
        HubError: If the cache can't be changed.
    """
    found = await asyncio.to_thread(library.find, name)
    check_removable(library, found)
    if any(in_use(part) for part in found.parts):
        raise RemovalError(
            f"{plain(found.name, 80)} is loaded now.",
            code="model_in_use",
            fix="Go offline, or wait for its measurement.",
        )
    if found.source == "huggingface":
        return await client.forget(found.path)
    return await asyncio.to_thread(_delete, found, library.models_dir)


def check_removable(library: ModelLibrary, found: FoundModel) -> None:
    """Refuse what is not ours to delete.

    Raises:
        RemovalError: With what to do instead.
    """
    if not library.is_removable(found):
        raise RemovalError(
            f"{plain(found.name, 80)} is not in the home's models folder.",
            fix=_INSTEAD.get(found.source, "Delete the file yourself."),
        )


def _delete(found: FoundModel, models_dir: Path) -> int:
    freed = 0
    try:
        for part in found.parts:
            status = part.lstat()
            part.unlink()
            # A file that has another name stays on the disk.
            freed += status.st_size if status.st_nlink == 1 else 0
    except OSError as error:
        raise RemovalError(
            f"{plain(found.name, 80)} can't be deleted: {error.strerror}.", fix="Check the rights of the models folder."
        ) from None
    if found.path.parent != models_dir:
        _tidy(found.path.parent, models_dir)
    return freed


def _tidy(folder: Path, models_dir: Path) -> None:
    """Drop the notes of what is gone, and folders that are empty then."""
    origins = {name: origin for name, origin in origins_of(folder).items() if (folder / name).exists()}
    with contextlib.suppress(OSError):
        if origins:
            (folder / ORIGIN_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(origins)))
        else:
            (folder / ORIGIN_FILE).unlink(missing_ok=True)
        while folder != models_dir and folder.is_relative_to(models_dir):
            folder.rmdir()
            folder = folder.parent
