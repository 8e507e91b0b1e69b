"""Pin the versions of every dependency, and say what moved: `make lock`, or `make lock ARGS=--keep`."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

# Without `--no-strip-extras`, pip takes `coverage[toml]` for a requirement that the lock doesn't pin.
EXACT = ["--generate-hashes", "--no-strip-extras"]
LOCKS = {
    "requirements.lock": ["pyproject.toml", *EXACT],
    "requirements-dev.lock": ["pyproject.toml", "--group", "dev", "-c", "requirements.lock", *EXACT],
    # What builds packages. pip takes it as a constraint file, which may hold no extras.
    "requirements-build.lock": ["--group", "build", "-c", "requirements-dev.lock"],
    "tests/chain/eels/requirements.lock": ["tests/chain/eels/requirements.in", *EXACT],
    "tests/suites/requirements.lock": ["tests/suites/requirements.in", *EXACT],
}
FORM = ["--universal", "--python-version", "3.11", "--no-emit-index-url"]
COMMAND = ["--custom-compile-command", "make lock"]
_PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)(?P<extras>\[[^\]]*\])?==(?P<version>\S+)", re.MULTILINE)


def versions(lock: str) -> dict[str, str]:
    """What a lock's text pins, by package: ``2.4.6``, ``[toml] 7.17.3``, or several where markers part them."""
    found: dict[str, list[str]] = {}
    for pin in _PIN.finditer(lock):
        said = f"{pin['extras']} {pin['version']}" if pin["extras"] else pin["version"]
        found.setdefault(pin["name"], []).append(said)
    return {name: ", ".join(each) for name, each in found.items()}


def moves(before: str, after: str) -> Iterator[str]:
    """One line for each package that was added, removed or changed between two texts of a lock."""
    old, new = versions(before), versions(after)
    width = max(map(len, old | new), default=0)
    for name in sorted(old | new):
        if name not in old:
            yield f"+ {name:{width}}  {new[name]}"
        elif name not in new:
            yield f"- {name:{width}}  {old[name]}"
        elif old[name] != new[name]:
            yield f"  {name:{width}}  {old[name]} -> {new[name]}"


def main(arguments: list[str]) -> int:
    """Compile each lock with uv and print what moved; the exit status is uv's first failure, or 0."""
    parser = argparse.ArgumentParser(prog="make lock", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="keep each pinned version that is still allowed")
    upgrade = [] if parser.parse_args(arguments).keep else ["--upgrade"]
    for lock, sources in LOCKS.items():
        path = Path(lock)
        before = path.read_text() if path.exists() else ""
        uv = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", *sources, *FORM, *COMMAND, *upgrade, "-o", lock]
        status = subprocess.run(uv, check=False).returncode
        if status != 0:
            print(f"{lock}: uv could not pin it; it stays as it was", file=sys.stderr)
            return status
        print(lock)
        print("\n".join(f"  {line}" for line in moves(before, path.read_text())) or "    nothing moved")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
