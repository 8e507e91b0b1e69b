"""Turns what a person typed after ``--model`` into a file, and names the models at hand."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from chain.errors import UsageError
from chain.file_systems import expanded
from node.models.discovery import FoundModel, find, places
from node.models.foreign import no_file
from node.models.model_error import printable
from node.models.naming import SUFFIX, part_names, quantization_of, readable, stem_of
from node.values.text import plain

DEMO = "demo"
DEMO_PATH = Path(__file__).parent / "demo" / "demo.gguf"
MAX_LISTED = 12
MAX_NAME_CHARS: Final = 200


def models(models_dir: Path, folders: Iterable[Path] = (), demo: Path = DEMO_PATH) -> tuple[FoundModel, ...]:
    """Every model that can be named: the demo model, the home's, those in ``folders``, and what other programs keep.

    Args:
        models_dir: The home's models folder.
        folders: Further folders with models.
        demo: The demo model's file.
    """
    found = find(places(models_dir, folders))
    return (*_shipped(demo), *(each for each in found if each.name != DEMO))


def available(models_dir: Path, folders: Iterable[Path] = (), demo: Path = DEMO_PATH) -> dict[str, Path]:
    """Names of all models at hand, and their files."""
    return {found.name: found.path for found in models(models_dir, folders, demo)}


def resolve(model: str, models_dir: Path, folders: Iterable[Path] = (), demo: Path = DEMO_PATH) -> Path:
    """The file for ``demo``, a path, or the name of a model at hand; reads folders, so it may take a moment.

    Args:
        model: What a person typed.
        models_dir: The home's models folder.
        folders: Further folders with models.
        demo: The demo model's file.

    Raises:
        UsageError: With code ``unknown_model`` if there is none; the line lists what there is.
    """
    return lookup(model, models_dir, folders, demo).path


def lookup(model: str, models_dir: Path, folders: Iterable[Path] = (), demo: Path = DEMO_PATH) -> FoundModel:
    """The model for ``demo``, a path, or the name of a model at hand.

    Args:
        model: What a person typed.
        models_dir: The home's models folder.
        folders: Further folders with models.
        demo: The demo model's file.

    Raises:
        UsageError: With code ``unknown_model`` if there is none; the line lists what there is.
    """
    asked = readable(model).strip().lower()
    if asked == DEMO and (shipped := _shipped(demo)):
        return shipped[0]
    if "/" in model and (found := _at_path(model)) is not None:
        return found
    at_hand = models(models_dir, folders, demo)
    names: dict[str, FoundModel] = {}
    for each in at_hand:
        for name in (each.name, plain(each.name, MAX_NAME_CHARS)):
            names.setdefault(name.lower(), each)
    for each in itertools.chain(at_hand, *(found.twins for found in at_hand)):
        for alias in (each.name, plain(each.name, MAX_NAME_CHARS), *each.aliases, readable(stem_of(each.path.name))):
            names.setdefault(alias.lower(), each)
    named = names.get(asked) or names.get(asked.removesuffix(SUFFIX))
    if named is not None:
        return named
    if (found := _at_path(model)) is not None:
        return found
    if (there := _no_model_at(model)) is not None:
        raise there
    listed = [printable(each.name) for each in at_hand]
    more = f" and {len(listed) - MAX_LISTED} more" if len(listed) > MAX_LISTED else ""
    raise UsageError(
        f"There is no model {printable(model)!r}; at hand: {', '.join(listed[:MAX_LISTED]) or 'none'}{more}.",
        code="unknown_model",
        fix=f"Name one of these or a path to a GGUF file, put one into {models_dir}, or `idlewatt models pull` one.",
    )


def _at_path(model: str) -> FoundModel | None:
    path = expanded(model)
    try:
        if model and path.is_file():
            # Not resolved: what a link's target is called, in a cache of blobs, tells nothing.
            return from_path(path.absolute())
    except (OSError, ValueError, RuntimeError):  # too long, with a null byte, or of nobody's home: it names no file
        pass
    return None


def _no_model_at(model: str) -> UsageError | None:
    """What there is at a path that a person typed, where it is no file; ``None`` where there is nothing."""
    if "/" not in model and not model.lower().endswith(SUFFIX):
        return None
    try:
        path = expanded(model)
        if not os.path.lexists(path):
            return None
        found = no_file(path)
    except (OSError, ValueError, RuntimeError):  # no path at all, or one that can't be looked at
        return None
    return UsageError(found.message, code="unknown_model", fix="Name the GGUF file itself.")


def from_path(path: Path) -> FoundModel:
    """A model that a person named by its file: whatever it is, and whatever its name looks like."""
    first = path.with_name(part_names(path.name)[0])
    parts = tuple(path.with_name(name) for name in part_names(path.name))
    return FoundModel(
        name=readable(stem_of(path.name)),
        aliases=(),
        source="folder",
        path=first if first.is_file() else path,
        parts=parts,
        size_bytes=sum(part.stat().st_size for part in parts if part.is_file()),
        quantization=quantization_of(path.name),
    )


def _shipped(path: Path) -> tuple[FoundModel, ...]:
    if not path.is_file():
        return ()
    demo = msgspec.structs.replace(from_path(path), name=DEMO, source="built-in")
    return (demo,)
