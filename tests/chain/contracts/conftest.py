"""A deployed rollup for each test, and the odd contracts that only tests deploy."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from eth_account import Account

from chain.contracts import build
from chain.l1.artifacts import artifact
from chain.signing import address_of, keccak256
from tests.chain.contracts.harness import KEYS, Handle, Ledger

GENESIS = keccak256(b"genesis")
WINDOW_S = 60
FORCE_S, TAKEOVER_S, FREEZE_S = 20, 40, 120
REVEAL_BLOCKS = 10
AHEAD_S = 10
TURN_BATCHES, TURN_S, GRACE_S = 50, 1_000, 30
NANO = 10**9


class Template(NamedTuple):
    """A chain on which everything is deployed that most tests begin with."""

    folder: Path
    asset: bytes
    stf: bytes
    rollup: bytes


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    """Deployed once; each test has a copy of its own."""
    folder = tmp_path_factory.mktemp("deployed")
    ledger = Ledger(folder)
    try:
        asset, stf = ledger.deploy("TestUSD"), ledger.deploy("Stf")
        rollup = ledger.deploy("Rollup", rollup_parameters(asset, stf))
        rollup.send("depositBond", value_wei=10**18)
    finally:
        ledger.evm.close()
    return Template(folder, asset.address, stf.address, rollup.address)


@pytest.fixture
def ledger(tmp_path: Path, template: Template) -> Iterator[Ledger]:
    for file in template.folder.glob("l1.db*"):
        shutil.copy(file, tmp_path / file.name)
    ledger = Ledger(tmp_path)
    yield ledger
    ledger.evm.close()


@pytest.fixture
def asset(ledger: Ledger, template: Template) -> Handle:
    return ledger.at(artifact("TestUSD").abi, template.asset)


@pytest.fixture
def stf(ledger: Ledger, template: Template) -> Handle:
    return ledger.at(artifact("Stf").abi, template.stf)


@pytest.fixture
def deploy_rollup(ledger: Ledger, asset: Handle, stf: Handle) -> Callable[..., Handle]:
    """Deploys a rollup, with the usual parameters unless told otherwise; nobody is bonded."""

    def deploy(token: Handle = asset, **changes: Any) -> Handle:
        return ledger.deploy("Rollup", rollup_parameters(token, stf, **changes))

    return deploy


@pytest.fixture
def rollup(ledger: Ledger, template: Template) -> Handle:
    """A rollup whose deployer is bonded."""
    return ledger.at(artifact("Rollup").abi, template.rollup)


@pytest.fixture
def inbox(ledger: Ledger, rollup: Handle, asset: Handle) -> Handle:
    """Its inbox, which may take everything that the deployer has."""
    return inbox_of(ledger, rollup, asset)


@cache
def compiled_odd_contracts() -> dict[str, Any]:
    """The contracts of ``src/Odd.sol``, compiled with the pinned compiler."""
    shipped = build.read_sources(build.SOURCES)
    sources = build.read_sources(Path(__file__).parent / "src")
    sources |= {name: shipped[name] for name in ("Asset.sol", "Frames.sol", "TestUSD.sol")}
    contracts: dict[str, Any] = build.compile_sources(sources)[0]["Odd.sol"]
    return contracts


def deploy_odd(ledger: Ledger, name: str, *arguments: Any) -> Handle:
    """One of them on a chain."""
    compiled = compiled_odd_contracts()[name]
    return ledger.deploy_compiled(compiled["abi"], "0x" + compiled["evm"]["bytecode"]["object"], *arguments)


@pytest.fixture
def odd(ledger: Ledger) -> Callable[..., Handle]:
    """Deploys one of them."""
    return partial(deploy_odd, ledger)


def rollup_parameters(token: Handle, stf: Handle, /, **changes: Any) -> tuple[Any, ...]:
    """What a rollup is constructed with: the usual parameters with these changes."""
    parameters = {
        "asset": token.contract.address,
        "stf": stf.contract.address,
        "genesisRoot": GENESIS,
        "challengeWindow": WINDOW_S,
        "forceDelay": FORCE_S,
        "takeoverDelay": TAKEOVER_S,
        "freezeDelay": FREEZE_S,
        "closeDelay": 90,
        "unstakeDelay": 91,
        "revealDelay": REVEAL_BLOCKS,
        "l2ChainId": 31_338,
        "maxTimeAhead": AHEAD_S,
        "minBond": 10**18,
        "turnBatches": TURN_BATCHES,
        "turnSeconds": TURN_S,
        "turnGrace": GRACE_S,
    }
    return tuple((parameters | changes).values())


def inbox_of(ledger: Ledger, rollup: Handle, asset: Handle) -> Handle:
    """A rollup's inbox, which may take everything that the deployer has."""
    inbox = ledger.at(artifact("Inbox").abi, bytes.fromhex(rollup.call("inbox")[2:]))
    asset.send("mint", Account.from_key(KEYS[0]).address, 1_000 * NANO * NANO)
    asset.send("approve", inbox.contract.address, 2**256 - 1)
    return inbox


def inbox_hash(rollup: Handle, inbox_to: int) -> bytes:
    """The inbox's hash that a batch names which executes so many messages, or as many as there are."""
    inbox = rollup.ledger.at(artifact("Inbox").abi, bytes.fromhex(rollup.call("inbox")[2:]))
    return bytes(inbox.call("hashOf", min(inbox_to, inbox.call("length"))))


def person(number: int) -> bytes:
    """A test key's address."""
    return address_of(KEYS[number])
