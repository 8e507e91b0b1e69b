"""The committed contract artifacts, read once: ABI, bytecode, and the names behind custom-error selectors."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from typing import Any

import msgspec

from chain.signing import keccak256

CONTRACT_NAMES = ("Attestations", "Inbox", "Rollup", "Stf", "TestUSD")


class DeployedCode(msgspec.Struct, frozen=True, kw_only=True):
    """Where a contract's deployed code lies in its creation code, and its immutables in the deployed code."""

    offset_bytes: int
    size_bytes: int
    immutables: str
    """``offset+size`` of each, in bytes; the constructor fills them in."""


class Artifact(msgspec.Struct, frozen=True, kw_only=True):
    """One compiled contract."""

    contract: str
    compiler: str
    evm_version: str
    source_sha256: str
    deployed: DeployedCode
    abi: list[dict[str, Any]]
    bytecode: str

    def is_deployed_as(self, code: bytes) -> bool:
        """Whether a contract's code is this one's, whatever its immutables are."""
        start = 2 + 2 * self.deployed.offset_bytes
        ours = bytearray.fromhex(self.bytecode[start : start + 2 * self.deployed.size_bytes])
        theirs = bytearray(code)
        if len(theirs) != len(ours):
            return False
        for place in self.deployed.immutables.split():
            offset, size = map(int, place.split("+"))
            theirs[offset : offset + size] = ours[offset : offset + size]
        return theirs == ours


@cache
def artifact(name: str) -> Artifact:
    """A contract's artifact by name."""
    file = resources.files("chain.contracts").joinpath("artifacts", f"{name}.json")
    return msgspec.json.decode(file.read_bytes(), type=Artifact)


@cache
def error_names() -> dict[bytes, str]:
    """Every custom error's name in snake_case, by its 4-byte selector."""
    names = {}
    for contract in CONTRACT_NAMES:
        for entry in artifact(contract).abi:
            if entry["type"] == "error":
                signature = f"{entry['name']}({','.join(argument['type'] for argument in entry['inputs'])})"
                names[keccak256(signature.encode())[:4]] = re.sub(r"(?<!^)(?=[A-Z])", "_", entry["name"]).lower()
    return names
