"""An L1 that isn't the devnet's own: which chain it is, and whether the operator can pay there."""

from __future__ import annotations

from chain.devnet.home import L1Identity
from chain.errors import ChainRejectedError, IdlewattError
from chain.l1.connection import L1Connection, checksum
from chain.l1.discover import read_deployment
from chain.l1.protocol import Deployment
from chain.l1.rollup_l1 import JsonRpcRollupL1

ETHER_WEI = 10**18
GAS_RESERVE_WEI = ETHER_WEI // 10
"""What a new deployment and its first batches cost at common gas prices, generously."""
DEV_GRANT_WEI = 1_000 * ETHER_WEI


async def identify(l1: L1Connection) -> L1Identity:
    """Which chain this is.

    Raises:
        ChainUnavailableError: If it can't be reached.
    """
    chain_id = await l1.request(lambda: l1.web3.eth.chain_id)
    genesis = await l1.request(lambda: l1.web3.eth.get_block(0))
    return L1Identity(chain_id=chain_id, genesis_hash=bytes(genesis["hash"]))


async def check_funds(
    l1: L1Connection, operator: bytes, *, is_new: bool, use_dev_account: bool, bond_wei: int = ETHER_WEI
) -> None:
    """Make sure that the operator can deploy, put up its bond and pay for batches.

    Args:
        l1: The L1.
        operator: The address of the home's key.
        is_new: Whether the contracts are still to be deployed and the bond to be put up.
        use_dev_account: Whether to take what is missing from an account that the L1 itself holds the key of, as
            development chains such as anvil do.
        bond_wei: What the contract asks of a sequencer.

    Raises:
        IdlewattError: With code ``operator_unfunded`` or ``no_dev_account``.
        ChainUnavailableError: If L1 can't be reached.
    """
    eth = l1.web3.eth
    needed = GAS_RESERVE_WEI + (bond_wei if is_new else 0)
    held = int(await l1.request(lambda: eth.get_balance(checksum(operator))))
    if held < needed and use_dev_account:
        await _take_from_dev_account(l1, operator)
        held = int(await l1.request(lambda: eth.get_balance(checksum(operator))))
    # A sequencer that goes on needs no reserve to be told so at its next batch; a new one would stop half way.
    if held < needed and (is_new or held == 0):
        raise IdlewattError(
            f"The sequencer {checksum(operator)} holds {held / ETHER_WEI:.4f} ether on this L1 and needs "
            f"{needed / ETHER_WEI:.1f}: its bond, and gas.",
            code="operator_unfunded",
            fix="Send it ether there and start again; on a development chain, --l1-dev-funds takes it from there.",
        )


async def join(url: str, rollup_address: bytes, operator_key: bytes) -> Deployment:
    """Become one of the sequencers of a rollup that is there; puts up the bond where it is missing.

    Raises:
        ChainUnavailableError: If L1 can't be reached.
        ChainRejectedError: If it has no rollup there, or refuses the bond.
    """
    found = await read_deployment(url, rollup_address)
    l1 = JsonRpcRollupL1(url, found, operator_key)
    try:
        assert l1.sender is not None
        missing_wei = found.min_bond_wei - (await l1.bond(l1.sender)).amount_wei
        if missing_wei > 0:
            await l1.deposit_bond(missing_wei)
        return found
    finally:
        await l1.aclose()


async def _take_from_dev_account(l1: L1Connection, operator: bytes) -> None:
    eth = l1.web3.eth
    accounts = await l1.request(lambda: eth.accounts)
    if not accounts:
        raise IdlewattError(
            "This L1 holds no account that it would sign for.",
            code="no_dev_account",
            fix="Only development chains do; send the sequencer ether instead.",
        )
    fields = {"from": accounts[0], "to": checksum(operator), "value": DEV_GRANT_WEI}
    try:
        tx_hash = await l1.request(lambda: eth.send_transaction(fields))
    except ChainRejectedError as error:
        raise IdlewattError(
            f"This L1's own account did not pay. {error.message}",
            code="no_dev_account",
            fix="Send the sequencer ether instead.",
        ) from error
    await l1.mined(tx_hash)
