"""Deploying on any L1: `TestUSD` where no asset is given, the state transition, and the rollup with its inbox."""

from __future__ import annotations

from typing import Any

import msgspec

from chain.l1.answers import integer
from chain.l1.connection import L1Connection, L1Signer, checksum
from chain.l1.protocol import Deployment


class DeployParams(msgspec.Struct, frozen=True, kw_only=True):
    """What a new rollup is deployed with."""

    l2_chain_id: int
    genesis_root: bytes
    challenge_window_s: int
    force_delay_s: int
    takeover_delay_s: int
    freeze_delay_s: int
    close_delay_s: int
    unstake_delay_s: int
    reveal_delay_blocks: int
    max_time_ahead_s: int = 10
    min_bond_wei: int = 10**18
    turn_batches: int = 3_600
    turn_s: int = 3_600
    turn_grace_s: int = 60
    asset_address: bytes | None = None
    """An ERC-20 with 6 to 27 decimals; a new `TestUSD` if not given."""


def constructor_parameters(asset: bytes, stf: bytes, params: DeployParams) -> tuple[Any, ...]:
    """What the rollup's constructor takes, in its order.

    Args:
        asset: The settlement asset's address.
        stf: The state transition's address.
        params: Everything else.
    """
    return (
        checksum(asset),
        checksum(stf),
        params.genesis_root,
        params.challenge_window_s,
        params.force_delay_s,
        params.takeover_delay_s,
        params.freeze_delay_s,
        params.close_delay_s,
        params.unstake_delay_s,
        params.reveal_delay_blocks,
        params.l2_chain_id,
        params.max_time_ahead_s,
        params.min_bond_wei,
        params.turn_batches,
        params.turn_s,
        params.turn_grace_s,
    )


async def deploy(url: str, operator_key: bytes, params: DeployParams) -> Deployment:
    """Deploy the rollup with its state transition and inbox, and a `TestUSD` if no asset is given.

    The operator's sequencer bond is put up last.

    Args:
        url: The L1's JSON-RPC over HTTP.
        operator_key: 32 bytes; pays the gas, and posts the bond.
        params: Delays and ids of the new rollup.

    Raises:
        ChainUnavailableError: If L1 can't be reached.
        ChainRejectedError: If L1 refuses, for example because the operator has no ether.
    """
    connection = L1Connection(url)
    try:
        signer = L1Signer.of_key(connection, operator_key)
        asset = params.asset_address
        if asset is None:
            asset = _created(await signer.send(connection.contract("TestUSD").constructor()))
        stf = _created(await signer.send(connection.contract("Stf").constructor()))
        constructor = connection.contract("Rollup").constructor(constructor_parameters(asset, stf, params))
        receipt = await signer.send(constructor)
        rollup = connection.contract("Rollup", _created(receipt))
        await signer.send(rollup.functions.depositBond(), value_wei=params.min_bond_wei)
        return Deployment(
            l1_chain_id=integer(await connection.request(lambda: connection.web3.eth.chain_id)),
            l2_chain_id=params.l2_chain_id,
            rollup_address=_created(receipt),
            inbox_address=bytes.fromhex((await connection.call(rollup.functions.inbox()))[2:]),
            asset_address=asset,
            attestations_address=bytes.fromhex((await connection.call(rollup.functions.attestations()))[2:]),
            stf_address=stf,
            block_number=receipt["blockNumber"],
            block_hash=bytes(receipt["blockHash"]),
            challenge_window_s=params.challenge_window_s,
            force_delay_s=params.force_delay_s,
            takeover_delay_s=params.takeover_delay_s,
            freeze_delay_s=params.freeze_delay_s,
            close_delay_s=params.close_delay_s,
            unstake_delay_s=params.unstake_delay_s,
            reveal_delay_blocks=params.reveal_delay_blocks,
            deployment_salt=bytes(await connection.call(rollup.functions.deploymentSalt())),
            max_time_ahead_s=params.max_time_ahead_s,
            min_bond_wei=params.min_bond_wei,
            turn_batches=params.turn_batches,
            turn_s=params.turn_s,
            turn_grace_s=params.turn_grace_s,
            genesis_root=params.genesis_root,
            nano_per_unit=integer(await connection.call(rollup.functions.nanoPerUnit())),
        )
    finally:
        await connection.aclose()


def _created(receipt: Any) -> bytes:
    return bytes.fromhex(receipt["contractAddress"][2:])
