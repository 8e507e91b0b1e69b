"""What an auditor runs from Solidity passes: ``forge test`` in ``chain/contracts``, with the pinned compiler."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from chain.contracts import build
from tests.chain.foundry_tools import foundry_binary

TESTS = build.CONTRACTS / "test"
SEED = "0x1d1e"
DEADLINE_S = 900


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What forge says of each test contract, run once."""
    forge = foundry_binary("forge")
    folder = tmp_path_factory.mktemp("forge")
    done = subprocess.run(
        [forge, "test", "--json", "--fuzz-seed", SEED],
        cwd=build.CONTRACTS,
        env=os.environ
        | {
            "FOUNDRY_SOLC": str(_solc(folder)),
            "FOUNDRY_OUT": str(folder / "out"),
            "FOUNDRY_CACHE_PATH": str(folder / "cache"),
            "FOUNDRY_OFFLINE": "true",
        },
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.stdout.startswith("{"), done.stdout[-2_000:] + done.stderr[-2_000:]
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_every_test_contract_passes(results: dict[str, Any]) -> None:
    failed = {
        f"{suite}: {name}": (one["reason"], one["counterexample"])
        for suite, result in results.items()
        for name, one in result["test_results"].items()
        if one["status"] != "Success"
    }
    assert not failed


def test_every_file_of_tests_ran(results: dict[str, Any]) -> None:
    ran = {Path(suite.split(":")[0]).name for suite in results}

    assert ran == {path.name for path in TESTS.glob("*.t.sol")}


def _solc(folder: Path) -> Path:
    """The compiler that `chain.contracts.build` pins, as a program that forge can start."""
    home = build._install_compiler(build._default_cache())
    script = Path(__file__).parent / "solc.cjs"
    program = folder / "solc"
    modules = shlex.quote(str(home / "node_modules"))
    call = shlex.join([build._node(), str(script)])
    program.write_text(f'#!/bin/sh\nNODE_PATH={modules} exec {call} "$@"\n')
    program.chmod(0o755)
    return program
