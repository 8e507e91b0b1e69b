"""Reads what file names of GGUFs say: the quantization, the parts of a split model, and what is no chat model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from chain.errors import IdlewattError
from node.values.text import plain

SUFFIX: Final = ".gguf"
PREFERRED: Final = (
    "Q4_K_M",
    "Q4_K_S",
    "Q5_K_M",
    "Q4_K_XL",
    "Q4_K",
    "IQ4_XS",
    "IQ4_NL",
    "Q4_0",
    "MXFP4",
    "Q5_K_S",
    "Q4_1",
    "Q6_K",
    "Q8_0",
    "Q3_K_M",
    "BF16",
    "F16",
)
"""What is pulled when no quantization is named, best first: about four bits lose little and fit most machines."""
MAX_PARTS: Final = 256
MAX_NAMED: Final = 12

_QUANTIZATION = re.compile(
    r"(?:^|[-_.])(IQ[1-4]_(?:XXS|XS|S|M|NL)|Q[1-8]_K(?:_(?:XS|S|M|L|XL))?|Q[1-8]_[01]|TQ[12]_0|MXFP4|NVFP4|BF16|FP?16|FP?32)"
    r"(?=$|[-_.])",
    re.IGNORECASE,
)
_PART = re.compile(r"^(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf$", re.IGNORECASE)
_UNDECODED = re.compile("[\ud800-\udfff]")
_NO_CHAT_MODEL = re.compile(r"(?:^|[-_.])(?:mmproj|imatrix|lora|adapter)(?:$|[-_.])", re.IGNORECASE)


class ChoiceError(IdlewattError):
    """The repository has not what was asked for; the line says what there is."""

    default_code = "no_such_quantization"


class HubFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a repository: its path there, its size, and the SHA-256 that the hub keeps for it (or empty)."""

    path: str
    size_bytes: int
    sha256: str = ""


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """One model of a repository: all its parts, in order."""

    name: str
    quantization: str
    files: tuple[HubFile, ...]
    is_complete: bool = True

    @property
    def size_bytes(self) -> int:
        """Bytes of all parts."""
        return sum(file.size_bytes for file in self.files)


def quantization_of(path: str) -> str:
    """The quantization that a file's name says, else its folder's, else nothing."""
    for piece in reversed((path[: -len(SUFFIX)] if is_gguf(path) else path).split("/")):
        found = _QUANTIZATION.findall(piece)
        if found:
            label = str(found[-1]).upper()
            return label.replace("FP", "F") if label.startswith("FP") else label
    return ""


def part_of(file_name: str) -> tuple[str, int, int] | None:
    """Stem, number and count of a split model's part (``stem-00001-of-00003.gguf``); ``None`` for a whole file."""
    found = _PART.match(file_name)
    if found is None:
        return None
    number, count = int(found["number"]), int(found["count"])
    return (found["stem"], number, count) if 1 <= number <= count <= MAX_PARTS else None


def part_names(file_name: str) -> tuple[str, ...]:
    """The names of all parts of the model that this file begins or belongs to; the name itself for a whole file."""
    part = part_of(file_name)
    if part is None:
        return (file_name,)
    stem, _, count = part
    end = file_name[-len(SUFFIX) :]
    return tuple(f"{stem}-{number:05d}-of-{count:05d}{end}" for number in range(1, count + 1))


def stem_of(file_name: str) -> str:
    """A model's name by its file: without the suffix and without a part's number."""
    part = part_of(file_name)
    return part[0] if part is not None else file_name[: -len(SUFFIX)] if is_gguf(file_name) else file_name


def readable(name: str) -> str:
    """A name as text: each byte of a file's name that is no UTF-8 becomes U+FFFD, so that it can be sent and kept."""
    return _UNDECODED.sub("\N{REPLACEMENT CHARACTER}", name)


def is_gguf(file_name: str) -> bool:
    """Whether a name ends as GGUF files do."""
    return file_name.lower().endswith(SUFFIX)


def may_chat(file_name: str) -> bool:
    """Whether a GGUF by this name may be a chat model: not an image projector, an adapter or an importance matrix."""
    return is_gguf(file_name) and _NO_CHAT_MODEL.search(file_name[: -len(SUFFIX)]) is None


def variants(files: Iterable[HubFile]) -> tuple[Variant, ...]:
    """The models among a repository's files, the smallest first; a split one is one of them."""
    together: dict[str, list[HubFile]] = {}
    for file in files:
        folder, _, name = file.path.rpartition("/")
        if may_chat(name):
            together.setdefault(f"{folder}/{'/'.join(part_names(name))}", []).append(file)
    found = []
    for parts in together.values():
        parts.sort(key=lambda file: file.path)
        name = parts[0].path.rpartition("/")[2]
        wanted = {each.lower() for each in part_names(name)}
        here = {part.path.rpartition("/")[2].lower() for part in parts}
        found.append(
            Variant(
                name=stem_of(name),
                quantization=quantization_of(parts[0].path),
                files=tuple(parts),
                is_complete=here == wanted,
            )
        )
    return tuple(sorted(found, key=lambda variant: (variant.size_bytes, variant.name)))


def choose(there: Sequence[Variant], wanted: str = "") -> Variant:
    """The model to pull: of that quantization, or that file or name; by default the most preferred one there is.

    Raises:
        ChoiceError: If there is none; the line names what there is.
    """
    whole = [variant for variant in there if variant.is_complete]
    if not whole:
        raise ChoiceError("This repository has no complete GGUF chat model.", fix="Search for another: models search.")
    if not wanted:
        ranks = {label: rank for rank, label in enumerate(PREFERRED)}
        return min(whole, key=lambda variant: ranks.get(variant.quantization, len(ranks)))
    asked = wanted.strip().lower()
    tests = (
        lambda variant: asked in {file.path.lower() for file in variant.files},
        lambda variant: asked in {file.path.rpartition("/")[2].lower() for file in variant.files},
        lambda variant: asked == variant.name.lower(),
        lambda variant: asked == variant.quantization.lower(),
    )
    for test in tests:
        matching = [variant for variant in whole if test(variant)]
        if matching:
            return matching[0]
    listed = dict.fromkeys(plain(variant.quantization or variant.name, 60) for variant in whole)
    names = ", ".join(list(listed)[:MAX_NAMED]) + (f" and {len(listed) - MAX_NAMED} more" * (len(listed) > MAX_NAMED))
    raise ChoiceError(f"There is no {plain(wanted, 60)!r} in this repository; there is {names}.", fix="Name one.")
