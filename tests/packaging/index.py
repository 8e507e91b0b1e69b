"""A package index made by hand: empty wheels that ask for what the real ones ask for, and a newer release of each."""

from __future__ import annotations

import base64
import hashlib
import re
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.packaging import llama

_ENTRY = re.compile(
    r"^(?P<requirement>[A-Za-z0-9][^\\\n#]*?) \\\n(?P<hashes>(?: +--hash=\S+(?: \\)?\n)+)", re.MULTILINE
)


WHEEL = "Wheel-Version: 1.0\nGenerator: idlewatt\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


@dataclass(frozen=True, slots=True)
class Pin:
    """One entry of a lock."""

    requirement: Requirement
    text: str

    @property
    def name(self) -> str:
        """The package's normalized name."""
        return canonicalize_name(self.requirement.name)

    @property
    def version(self) -> str:
        """The version behind the ``==``."""
        (specifier,) = self.requirement.specifier
        assert specifier.operator == "==", self.text
        return specifier.version

    @property
    def holds_here(self) -> bool:
        """Whether the entry's marker is true for this interpreter and machine."""
        return self.requirement.marker is None or self.requirement.marker.evaluate()


def pins(lock: str) -> list[Pin]:
    """Every entry of a lock's text."""
    found = [Pin(Requirement(match["requirement"]), match["requirement"]) for match in _ENTRY.finditer(lock)]
    assert len(found) == len(re.findall(r"^[A-Za-z0-9]", lock, re.MULTILINE)), (
        "an entry has a form that is not read here"
    )
    return found


def without_extras(lock: str) -> str:
    """The lock as uv writes it when it strips extras: each package once, by its bare name."""
    seen: set[str] = set()

    def bare(match: re.Match[str]) -> str:
        text = re.sub(r"\[[^\]]*\](?===)", "", match["requirement"])
        pin = text.partition(" ;")[0]
        if pin in seen:
            return ""
        seen.add(pin)
        return f"{text} \\\n{match['hashes']}"

    return _ENTRY.sub(bare, lock)


def only(lock: str, package: str) -> str:
    """The lock without any other package."""
    return _ENTRY.sub(lambda match: match[0] if Requirement(match["requirement"]).name == package else "", lock)


def rehashed(lock: str, hashes: dict[tuple[str, str], str]) -> str:
    """The lock with the hash of the hand-made wheel in every entry that has one; all else stays."""

    def entry(match: re.Match[str]) -> str:
        pin = Pin(Requirement(match["requirement"]), match["requirement"])
        made = hashes.get((pin.name, pin.version))
        lines = match["hashes"] if made is None else f"    --hash=sha256:{made}\n"
        return f"{pin.text} \\\n{lines}"

    return _ENTRY.sub(entry, lock)


def newer(version: str) -> str:
    """A release after ``version`` that no sensible upper bound leaves out."""
    return f"{Version(version).base_version}.1"


def installed(site_packages: Iterable[str]) -> dict[str, Distribution]:
    """What is installed in these folders, by normalized name."""
    return {canonicalize_name(found.metadata["Name"]): found for found in distributions(path=list(site_packages))}


def fill(folder: Path, lock: str, real: dict[str, Distribution]) -> dict[tuple[str, str], str]:
    """Write the wheels of every entry that holds here, and a newer release of each, into an index in ``folder``.

    Args:
        folder: What pip takes as its index (``--index-url``): a folder a package, with a page of links.
        lock: The lock's text.
        real: The real distributions, whose metadata the wheels carry.

    Returns:
        The SHA-256 of each pinned wheel by name and version.
    """
    hashes = {}
    for pin in pins(lock):
        if not pin.holds_here or (pin.name, pin.version) in hashes:
            continue
        found = real.get(pin.name)
        assert found is not None, f"{pin.text} is not installed: run `make dev`"
        assert found.version == pin.version, f"{pin.text}, but {found.version} is installed: run `make dev`"
        asks = list(_asks(found))
        page = folder / pin.name
        page.mkdir()
        hashes[pin.name, pin.version] = hashlib.sha256(wheel(page, pin.name, pin.version, asks)).hexdigest()
        wheel(page, pin.name, newer(pin.version), asks)
        (page / "index.html").write_text(
            "".join(f'<a href="{file.name}">{file.name}</a>\n' for file in page.glob("*.whl"))
        )
    return hashes


def _asks(real: Distribution) -> Iterator[str]:
    for extra in real.metadata.get_all("Provides-Extra") or ():
        yield f"Provides-Extra: {extra}"
    for requirement in real.requires or ():
        yield f"Requires-Dist: {requirement}"


def wheel(folder: Path, name: str, version: str, asks: list[str]) -> bytes:
    """Write a wheel into ``folder`` and return its bytes; ``asks`` are the metadata lines after the version.

    It is empty, but for llama.cpp's binding: that one has to work before it is installed.
    """
    stem = f"{name.replace('-', '_')}-{version}"
    files = llama.files() if name == llama.PACKAGE else {}
    files |= {
        f"{stem}.dist-info/METADATA": "\n".join(
            ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *asks, ""]
        ),
        f"{stem}.dist-info/WHEEL": WHEEL,
    }
    record = [f"{path},sha256={_digest(text)},{len(text.encode())}" for path, text in files.items()]
    files[f"{stem}.dist-info/RECORD"] = "\n".join([*record, f"{stem}.dist-info/RECORD,,", ""])
    path = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in files.items():
            archive.writestr(file, text)
    return path.read_bytes()


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
