"""Reading a deployment back from its contract, with nothing but an L1 and the rollup's address on it.

Whoever sends money or signs for a rollup that somebody else named reads it with this first: the contracts' code must be
this program's, whatever their immutables are, and what the immutables say must fit together.
"""

from __future__ import annotations

from typing import Any

import msgspec

from chain.delays import Delays, broken_rules
from chain.errors import ChainRejectedError
from chain.l1.answers import integer
from chain.l1.artifacts import artifact
from chain.l1.connection import L1Connection, checksum
from chain.l1.protocol import Deployment
from chain.replay import deployment_id, rules_of
from chain.state import GENESIS_ROOT


async def read_deployment(url: str, rollup_address: bytes) -> Deployment:
    """The contracts and parameters of the rollup at an address, as its contract has them.

    Args:
        url: The L1's JSON-RPC over HTTP.
        rollup_address: 20 bytes.

    Raises:
        ChainUnavailableError: If L1 can't be reached, or answers nonsense.
        ChainRejectedError: With code ``foreign_chain`` if this L1 has no contract there, ``foreign_contract`` if what
            is there is not this version's rollup.
    """
    connection = L1Connection(url)
    try:
        await _check_code(connection, "Rollup", rollup_address)
        deployment = await _read(connection, rollup_address)
        await check_code(connection, deployment)
        await _check_links(connection, deployment)
        return deployment
    finally:
        await connection.aclose()


def check_told(found: Deployment, *, deployment: str, **told: object) -> None:
    """Hold what a sequencer told of its deployment against what L1 has.

    Args:
        found: As `read_deployment` found it.
        deployment: Its id, in hex.
        told: Any of its fields, as they were told.

    Raises:
        ChainRejectedError: With code ``foreign_contract`` where they differ.
    """
    has = msgspec.structs.asdict(found)
    for name, value in told.items():
        if has[name] != value:
            raise foreign_contract(f"its {name.replace('_', ' ')} is another than the sequencer says")
    if deployment != "0x" + deployment_id(found).hex():
        raise foreign_contract("it was deployed in another block than the sequencer says")


async def check_code(connection: L1Connection, deployment: Deployment) -> None:
    """Hold the code of a deployment's contracts against this version's, whatever their immutables are.

    Raises:
        ChainUnavailableError: If L1 can't be reached.
        ChainRejectedError: With code ``foreign_chain`` or ``foreign_contract``.
    """
    await _check_code(connection, "Rollup", deployment.rollup_address)
    await _check_code(connection, "Inbox", deployment.inbox_address)
    await _check_code(connection, "Stf", deployment.stf_address)
    await _check_code(connection, "Attestations", deployment.attestations_address)


def foreign_contract(why: str) -> ChainRejectedError:
    """The error for contracts that are not this version's rollup."""
    return ChainRejectedError(
        f"The contract there is not this version's rollup: {why}.",
        code="foreign_contract",
        fix="Send nothing there. Check the address, or use the version that it was deployed by.",
    )


async def _check_code(connection: L1Connection, name: str, address: bytes) -> None:
    eth = connection.web3.eth
    code = bytes(await connection.request(lambda: eth.get_code(checksum(address))))
    if not code and name == "Rollup":
        raise ChainRejectedError(
            "This L1 has no rollup at that address.",
            code="foreign_chain",
            fix="Point to the L1 that the rollup was deployed on.",
        )
    if not artifact(name).is_deployed_as(code):
        raise foreign_contract(f"the code of its {name} differs")


async def _read(connection: L1Connection, rollup_address: bytes) -> Deployment:
    eth, functions = connection.web3.eth, connection.contract("Rollup", rollup_address).functions

    async def read(name: str) -> Any:
        return await connection.call(functions[name]())

    block_number = integer(await read("deployedAt"))
    block = await connection.request(lambda: eth.get_block(block_number))
    if bytes(block["parentHash"]) != bytes(await read("deploymentSalt")):
        raise foreign_contract("it was deployed on another chain than this L1")
    return Deployment(
        l1_chain_id=integer(await connection.request(lambda: eth.chain_id)),
        l2_chain_id=integer(await read("l2ChainId")),
        rollup_address=rollup_address,
        inbox_address=_address(await read("inbox")),
        asset_address=_address(await read("asset")),
        stf_address=_address(await read("stf")),
        attestations_address=_address(await read("attestations")),
        block_number=block_number,
        block_hash=bytes(block["hash"]),
        genesis_root=bytes(await read("genesisRoot")),
        challenge_window_s=integer(await read("challengeWindow")),
        force_delay_s=integer(await read("forceDelay")),
        takeover_delay_s=integer(await read("takeoverDelay")),
        freeze_delay_s=integer(await read("freezeDelay")),
        close_delay_s=integer(await read("closeDelay")),
        unstake_delay_s=integer(await read("unstakeDelay")),
        reveal_delay_blocks=integer(await read("revealDelay")),
        max_time_ahead_s=integer(await read("maxTimeAhead")),
        min_bond_wei=integer(await read("minBond")),
        turn_batches=integer(await read("turnBatches")),
        turn_s=integer(await read("turnSeconds")),
        turn_grace_s=integer(await read("turnGrace")),
        deployment_salt=bytes(await read("deploymentSalt")),
        nano_per_unit=integer(await read("nanoPerUnit")),
    )


async def _check_links(connection: L1Connection, deployment: Deployment) -> None:
    """Hold the immutables against each other: the code alone doesn't say what they were filled with."""
    rollup = connection.contract("Rollup", deployment.rollup_address).functions
    inbox = connection.contract("Inbox", deployment.inbox_address).functions
    if deployment.genesis_root != GENESIS_ROOT:
        raise foreign_contract("it starts from another genesis state")
    broken = broken_rules(delays_of(deployment))
    if broken:
        raise foreign_contract(f"its delays break a rule ({next(iter(broken.values()))})")
    if bytes(await connection.call(rollup.domainSeparator())) != rules_of(deployment).domain.separator:
        raise foreign_contract("what is signed for it is bound to something else")
    if _address(await connection.call(inbox.rollup())) != deployment.rollup_address:
        raise foreign_contract("its inbox belongs to another rollup")
    if _address(await connection.call(inbox.asset())) != deployment.asset_address:
        raise foreign_contract("its inbox takes another asset")
    attestations = connection.contract("Attestations", deployment.attestations_address).functions
    if _address(await connection.call(attestations.rollup())) != deployment.rollup_address:
        raise foreign_contract("its watchtowers' bonds answer for another rollup")
    if bytes(await connection.call(attestations.domainSeparator())) != rules_of(deployment).domain.separator:
        raise foreign_contract("what its watchtowers sign is bound to something else")
    if await connection.call(attestations.withdrawDelay()) != 2 * deployment.challenge_window_s:
        raise foreign_contract("its watchtowers' bonds leave too early")
    for name in ("unitsPerNano", "nanoPerUnit"):
        if await connection.call(inbox[name]()) != await connection.call(rollup[name]()):
            raise foreign_contract("its inbox counts in other units")


def delays_of(deployment: Deployment) -> Delays:
    """A deployment's delays, as the rules about them take them."""
    has = msgspec.structs.asdict(deployment)
    return Delays(**{name: has[name] for name in Delays.__struct_fields__})


def _address(text: str) -> bytes:
    return bytes.fromhex(text[2:])
