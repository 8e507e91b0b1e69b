"""Reading a deployment back from its contract, with nothing but an L1 and the rollup's address on it."""

from __future__ import annotations

from typing import Any

from chain.errors import ChainRejectedError
from chain.l1.connection import L1Connection, checksum
from chain.l1.contracts import integer
from chain.l1.protocol import Deployment


async def read_deployment(url: str, rollup_address: bytes) -> Deployment:
    """The contracts and parameters of the rollup at an address, as its contract has them.

    ``block_number`` and ``block_hash`` are those of the L1's first block, since a contract doesn't know its own:
    they tell the L1 from another one, and a search for the rollup's events begins early enough.

    Args:
        url: The L1's JSON-RPC over HTTP.
        rollup_address: 20 bytes.

    Raises:
        ChainUnavailableError: If L1 can't be reached, or answers nonsense.
        ChainRejectedError: With code ``foreign_chain`` if this L1 has no rollup there.
    """
    connection = L1Connection(url)
    eth = connection.web3.eth
    try:
        if not await connection.request(lambda: eth.get_code(checksum(rollup_address))):
            raise ChainRejectedError(
                "This L1 has no rollup at that address.",
                code="foreign_chain",
                fix="Point to the L1 that the rollup was deployed on.",
            )
        functions = connection.contract("Rollup", rollup_address).functions

        async def read(name: str) -> Any:
            return await connection.call(functions[name]())

        genesis = await connection.request(lambda: eth.get_block(0))
        return Deployment(
            l1_chain_id=integer(await connection.request(lambda: eth.chain_id)),
            l2_chain_id=integer(await read("l2ChainId")),
            rollup_address=rollup_address,
            inbox_address=_address(await read("inbox")),
            asset_address=_address(await read("asset")),
            stf_address=_address(await read("stf")),
            block_number=0,
            block_hash=bytes(genesis["hash"]),
            genesis_root=bytes(await read("genesisRoot")),
            challenge_window_s=integer(await read("challengeWindow")),
            force_delay_s=integer(await read("forceDelay")),
            takeover_delay_s=integer(await read("takeoverDelay")),
            freeze_delay_s=integer(await read("freezeDelay")),
            close_delay_s=integer(await read("closeDelay")),
            unstake_delay_s=integer(await read("unstakeDelay")),
            reveal_delay_blocks=integer(await read("revealDelay")),
            deployment_salt=bytes(await read("deploymentSalt")),
        )
    finally:
        await connection.aclose()


def _address(text: str) -> bytes:
    return bytes.fromhex(text[2:])
