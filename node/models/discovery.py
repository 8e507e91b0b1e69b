"""Finds GGUF models that are on this machine's disk already, wherever other programs keep them, copying nothing.

What it reads was written by others: folders are walked to a bounded depth and number of entries, links to folders are
never followed, and a manifest can only name a blob by its digest.
"""

from __future__ import annotations

import itertools
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, Literal

import msgspec

from chain.file_systems import expanded
from node.models.naming import SUFFIX, may_chat, part_names, part_of, quantization_of, readable, stem_of
from node.models.pull import origins_of
from node.values.models import Source
from node.values.text import plain

MAX_DEPTH: Final = 8
MAX_ENTRIES: Final = 50_000
"""Over one place: a folder full of other things costs a second, not a minute."""
MAX_MODELS: Final = 1_000
MAX_TWINS: Final = 16
MAX_MANIFEST_BYTES: Final = 1 << 20
MAX_REF_BYTES: Final = 256
_OLLAMA_MODEL: Final = "application/vnd.ollama.image.model"
_OLLAMA_HOME: Final = "registry.ollama.ai"
_OLLAMA_SERVICE = Path("/usr/share/ollama/.ollama/models")
_DIGEST = re.compile(r"sha256[:-]([0-9a-f]{64})")
_NAME_CHARS: Final = 200
MAX_SHOWN_CHARS: Final = 200

Layout = Literal["folder", "huggingface", "ollama"]


class ModelFolder(msgspec.Struct, frozen=True):
    """A folder where models may be, and how it is laid out."""

    source: Source
    folder: Path
    layout: Layout = "folder"


class FoundModel(msgspec.Struct, frozen=True, kw_only=True):
    """One model on disk."""

    name: str
    """Unique among what was found together, and what ``serve --model`` takes."""
    aliases: tuple[str, ...]
    """Other names for it; the first model with an alias has it."""
    source: Source
    path: Path
    """The file, or its first part."""
    parts: tuple[Path, ...]
    size_bytes: int
    quantization: str
    digest: str = ""
    """The SHA-256 that its folder reports; not checked here."""
    twins: tuple[FoundModel, ...] = ()
    """The same file under other names; each has its own path."""


class _Layer(msgspec.Struct):
    mediaType: str = ""
    digest: str = ""


class _Manifest(msgspec.Struct):
    layers: list[_Layer] = []


def places(
    models_dir: Path, folders: Iterable[Path] = (), environ: Mapping[str, str] | None = None, user: Path | None = None
) -> tuple[ModelFolder, ...]:
    """Where to look: the home's models, the folders that a person named, then what other programs keep.

    Args:
        models_dir: The home's models folder.
        folders: Further folders.
        environ: The environment, where these programs' own variables move their folders.
        user: The person's home folder.
    """
    environ = os.environ if environ is None else environ
    user = expanded("~") if user is None else user

    def told(*names: str) -> Path | None:
        return next((expanded(environ[name]) for name in names if environ.get(name)), None)

    caches = told("XDG_CACHE_HOME") or user / ".cache"
    hub = told("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE") or (told("HF_HOME") or caches / "huggingface") / "hub"
    ollama = [told("OLLAMA_MODELS") or user / ".ollama/models", _OLLAMA_SERVICE]
    return (
        ModelFolder("home", models_dir),
        *(ModelFolder("folder", expanded(folder)) for folder in folders),
        ModelFolder("huggingface", hub, "huggingface"),
        *(ModelFolder("ollama", folder, "ollama") for folder in ollama),
        ModelFolder("lmstudio", user / ".lmstudio/models"),
        ModelFolder("lmstudio", caches / "lm-studio/models"),
    )


def find(places: Iterable[ModelFolder]) -> tuple[FoundModel, ...]:
    """Every model in these places, each once: the same file, or the same digest, under two names is one model.

    Its other names work as well: they are its `twins`.
    """
    unique: dict[object, FoundModel] = {}
    twins: dict[int, list[FoundModel]] = {}
    for place in places:
        for found in _in_place(place):
            if len(unique) >= MAX_MODELS:
                break
            try:
                status = found.path.stat()
            except OSError:  # it went away meanwhile
                continue
            keys = [(status.st_dev, status.st_ino), *([found.digest] if found.digest else [])]
            first = next((unique[key] for key in keys if key in unique), None)
            if first is None:
                unique.update(dict.fromkeys(keys, found))
            elif len(others := twins.setdefault(id(first), [])) < MAX_TWINS and _is_other(found, first):
                others.append(found)
    once = {id(found): found for found in unique.values()}
    together = (msgspec.structs.replace(each, twins=tuple(twins.get(key, ()))) for key, each in once.items())
    return tuple(_named(list(together)))


def _is_other(found: FoundModel, first: FoundModel) -> bool:
    """Whether a further place of a file has a name that the first one hasn't."""
    return bool({found.name, *found.aliases} - {first.name, *first.aliases})


def _named(models: list[FoundModel]) -> Iterator[FoundModel]:
    """Give every model a name of its own: the plain one to the first, longer ones to those after it.

    Names that look alike count as the same: a screen can't tell them apart, nor can a person who reads them there.
    """
    taken: set[str] = set()

    def key(name: str) -> str:
        return plain(name, MAX_SHOWN_CHARS).lower()

    for model in models:
        names = [model.name, *model.aliases, f"{model.name} ({model.source})", readable(str(model.path))]
        numbered = (f"{model.name} ({number})" for number in itertools.count(2))
        name = next(name for name in itertools.chain(names, numbered) if key(name) not in taken)
        taken.add(key(name))
        yield msgspec.structs.replace(model, name=name, aliases=tuple(each for each in names[:-2] if each != name))


def _in_place(place: ModelFolder) -> Iterator[FoundModel]:
    match place.layout:
        case "folder":
            yield from _in_folder(place)
        case "huggingface":
            yield from _in_hub_cache(place)
        case "ollama":
            yield from _in_ollama(place)


# -- folders -------------------------------------------------------------------------------------------------------


def _in_folder(place: ModelFolder) -> Iterator[FoundModel]:
    for path in _walk(place.folder):
        found = _from_file(path, place.source)
        if found is None:
            continue
        if place.source == "home" and path.parent != place.folder:
            origin = origins_of(path.parent).get(path.name)
            if origin is not None:
                label = found.quantization or found.name
                found = msgspec.structs.replace(
                    found,
                    aliases=(f"{origin.repo}:{label}", origin.repo),
                    digest=origin.sha256 if len(found.parts) == 1 else "",
                )
        yield found


def _from_file(path: Path, source: Source, aliases: tuple[str, ...] = ()) -> FoundModel | None:
    """The model that begins with this file; ``None`` for further parts, and for what is no chat model."""
    if not may_chat(path.name):
        return None
    part = part_of(path.name)
    if part is not None and part[1] != 1:
        return None
    parts = tuple(path.with_name(name) for name in part_names(path.name))
    try:
        size = sum(each.stat().st_size for each in parts)
    except OSError:  # a part is missing: what there is can't be loaded
        return None
    return FoundModel(
        name=readable(stem_of(path.name)),
        aliases=aliases,
        source=source,
        path=path,
        parts=parts,
        size_bytes=size,
        quantization=quantization_of(path.name),
    )


def _walk(folder: Path, suffix: str = SUFFIX) -> Iterator[Path]:
    """Files below a folder whose names end so, nearest first; links to files count, links to folders don't."""
    waiting, left = [(folder, 0)], MAX_ENTRIES
    while waiting:
        here, depth = waiting.pop(0)
        try:
            entries = sorted(os.scandir(here), key=lambda entry: entry.name) if left > 0 else []
        except OSError:  # not there, or not ours to read
            continue
        left -= len(entries)
        for entry in entries:
            try:
                if entry.is_dir(follow_symlinks=False):
                    if depth < MAX_DEPTH and not entry.name.startswith("."):
                        waiting.append((here / entry.name, depth + 1))
                elif entry.name.lower().endswith(suffix) and not entry.name.startswith(".") and entry.is_file():
                    yield here / entry.name
            except OSError:  # a link that leads in a circle
                continue


# -- Hugging Face's cache: models--OWNER--NAME/snapshots/COMMIT/FILE → ../../blobs/DIGEST -----------------------------


def _in_hub_cache(place: ModelFolder) -> Iterator[FoundModel]:
    try:
        repos = sorted(entry.name for entry in os.scandir(place.folder) if entry.name.startswith("models--"))
    except OSError:
        return
    for folder in repos[:MAX_ENTRIES]:
        repo = folder.removeprefix("models--").replace("--", "/")
        root = place.folder / folder
        for snapshot in _snapshots(root):
            for path in _walk(snapshot):
                found = _from_file(path, place.source)
                if found is not None:
                    label = found.quantization or found.name
                    blob = re.fullmatch(r"[0-9a-f]{64}", Path(os.path.realpath(path)).name)
                    yield msgspec.structs.replace(
                        found,
                        aliases=(f"{repo}:{label}", repo),
                        digest=blob[0] if blob is not None and len(found.parts) == 1 else "",
                    )


def _snapshots(repo: Path) -> list[Path]:
    """A repository's snapshots, the one that ``main`` names first."""
    try:
        folders = sorted(entry.name for entry in os.scandir(repo / "snapshots") if entry.is_dir(follow_symlinks=False))
    except OSError:
        return []
    main = _small_text(repo / "refs" / "main")
    return [repo / "snapshots" / name for name in sorted(folders, key=lambda name: name != main)]


def _small_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(MAX_REF_BYTES).decode("ascii", "replace").strip()
    except OSError:
        return ""


# -- Ollama: manifests/REGISTRY/NAMESPACE/MODEL/TAG, a JSON file that names blobs/sha256-DIGEST -----------------------


def _in_ollama(place: ModelFolder) -> Iterator[FoundModel]:
    manifests = place.folder / "manifests"
    for path in _walk(manifests, suffix=""):
        blob = _ollama_blob(path, place.folder)
        if blob is None:
            continue
        name = plain(_ollama_name(path.relative_to(manifests).parts), _NAME_CHARS)
        try:
            size = blob.stat().st_size
        except OSError:
            continue
        yield FoundModel(
            name=name,
            aliases=(name.removesuffix(":latest"),) if name.endswith(":latest") else (),
            source=place.source,
            path=blob,
            parts=(blob,),
            size_bytes=size,
            quantization=quantization_of(name.replace(":", "-")),
            digest=blob.name.removeprefix("sha256-"),
        )


def _ollama_blob(manifest: Path, root: Path) -> Path | None:
    """The GGUF that a manifest names; ``None`` if it names none, several, or nothing that is there."""
    try:
        if not stat.S_ISREG(manifest.lstat().st_mode) or manifest.stat().st_size > MAX_MANIFEST_BYTES:
            return None
        layers = msgspec.json.decode(manifest.read_bytes(), type=_Manifest).layers
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    digests = [_DIGEST.fullmatch(layer.digest) for layer in layers if layer.mediaType == _OLLAMA_MODEL]
    if len(digests) != 1 or digests[0] is None:
        return None
    blob = root / "blobs" / f"sha256-{digests[0][1]}"
    try:
        with blob.open("rb") as file:
            return blob if blob.is_file() and file.read(4) == b"GGUF" else None
    except OSError:
        return None


def _ollama_name(parts: tuple[str, ...]) -> str:
    """What Ollama calls it: ``model:tag``, with namespace and registry where they are not its own."""
    *before, model, tag = ("", "", *parts)[-4:] if len(parts) > 1 else ("", "", parts[0], "latest")
    registry, namespace = before
    lead = "" if registry in {_OLLAMA_HOME, ""} else f"{registry}/"
    lead += "" if namespace in {"library", ""} and not lead else f"{namespace}/"
    return f"{lead}{model}:{tag}"
