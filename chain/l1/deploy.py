"""Deploying on any L1: `TestUSD` where no asset is given, the state transition, and the rollup with its inbox."""

from __future__ import annotations

from typing import Any

import msgspec

from chain.l1.answers import integer
from chain.l1.connection import L1Connection, L1Signer, checksum
from chain.l1.protocol import Deployment

SEQUENCER_BOND_WEI = 10**18


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
    asset_address: bytes | None = None
    """An ERC-20 with 6 to 27 decimals; a new `TestUSD` if not given."""


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
        parameters = (
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
        )
        constructor = connection.contract("Rollup").constructor(parameters)
        receipt = await signer.send(constructor)
        rollup = connection.contract("Rollup", _created(receipt))
        await signer.send(rollup.functions.depositBond(), value_wei=SEQUENCER_BOND_WEI)
        return Deployment(
            l1_chain_id=integer(await connection.request(lambda: connection.web3.eth.chain_id)),
            l2_chain_id=params.l2_chain_id,
            rollup_address=_created(receipt),
            inbox_address=bytes.fromhex((await connection.call(rollup.functions.inbox()))[2:]),
            asset_address=asset,
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
            genesis_root=params.genesis_root,
            nano_per_unit=integer(await connection.call(rollup.functions.nanoPerUnit())),
        )
    finally:
        await connection.aclose()


def _created(receipt: Any) -> bytes:
    return bytes.fromhex(receipt["contractAddress"][2:])
