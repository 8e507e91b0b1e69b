"""The wallet's connection to L1, imported only when it is needed: web3 takes a second to import."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from chain.recursion import restore_recursion_limit
from chain.signing import parse_address
from chain.views import ChainInfo

if TYPE_CHECKING:
    from chain.l1.bridge import Bridge
    from chain.l1.protocol import Deployment
    from chain.l1.rollup_l1 import JsonRpcRollupL1
    from chain.l1.roots import RootsL1
    from wallet.account import UnlockedAccount


_checked: dict[tuple[str, ...], Deployment] = {}
"""The deployments that sequencers told of and L1 confirmed; the contracts there never change."""


async def open_bridge(info: ChainInfo) -> Bridge:
    """The way to this chain's L1; loads web3, off the loop. The caller closes it.

    Raises:
        ChainUnavailableError: If L1 can't be reached.
        ChainRejectedError: With code ``foreign_contract`` if L1 has other contracts than the sequencer says.
    """
    bridge_class = await asyncio.to_thread(_load_bridge)
    await check_on_l1(info)
    return bridge_class(
        info.l1_rpc_url,
        inbox_address=parse_address(info.inbox_address),
        asset_address=parse_address(info.asset_address),
    )


def _load_bridge() -> type[Bridge]:
    from chain.l1.bridge import Bridge

    restore_recursion_limit()
    return Bridge


async def check_on_l1(info: ChainInfo, l1_rpc_url: str | None = None) -> Deployment:
    """Hold what a sequencer tells of its deployment against L1, once, before anything is signed or sent for it.

    Args:
        info: What it tells.
        l1_rpc_url: The L1's JSON-RPC over HTTP; the one that the sequencer names if not given.

    Raises:
        ChainUnavailableError: If L1 can't be reached.
        ChainRejectedError: With code ``foreign_contract`` if L1 has other contracts than the sequencer says, or what
            it would have signed is bound to another deployment.
    """
    url = l1_rpc_url or info.l1_rpc_url
    told = {
        "inbox_address": parse_address(info.inbox_address),
        "asset_address": parse_address(info.asset_address),
        "l1_chain_id": info.l1_chain_id,
        "l2_chain_id": info.l2_chain_id,
        "deployment_salt": bytes.fromhex(info.deployment_salt.removeprefix("0x")),
    }
    key = (url, info.deployment, info.rollup_address, *map(repr, told.values()))
    if key not in _checked:
        discover = await asyncio.to_thread(_load_discover)
        found = await discover.read_deployment(url, parse_address(info.rollup_address))
        discover.check_told(found, deployment=info.deployment, **told)
        _checked[key] = found
    return _checked[key]


def _load_discover() -> Any:
    import chain.l1.discover

    restore_recursion_limit()
    return chain.l1.discover


async def open_roots(l1_rpc_url: str, info: ChainInfo) -> RootsL1:
    """The state roots of a rollup on an L1, whose contracts are checked to be this version's; the caller closes it.

    Args:
        l1_rpc_url: The L1's JSON-RPC over HTTP.
        info: Says which rollup.

    Raises:
        ChainUnavailableError: If L1 can't be reached.
        ChainRejectedError: If it has no such rollup there.
    """
    roots_class, read_deployment = await asyncio.to_thread(_load_roots)
    deployment = await read_deployment(l1_rpc_url, parse_address(info.rollup_address))
    roots: RootsL1 = roots_class(l1_rpc_url, deployment)
    return roots


def _load_roots() -> tuple[Any, Any]:
    from chain.l1.discover import read_deployment
    from chain.l1.roots import RootsL1

    restore_recursion_limit()
    return RootsL1, read_deployment


async def open_rollup(
    l1_rpc_url: str, rollup_address: bytes, account: UnlockedAccount | None = None
) -> JsonRpcRollupL1:
    """The rollup's contracts, read without any sequencer; loads web3, off the loop. The caller closes it.

    Args:
        l1_rpc_url: The L1's JSON-RPC over HTTP.
        rollup_address: 20 bytes.
        account: Sends, and pays the gas; without it this only reads.

    Raises:
        ChainUnavailableError: If L1 can't be reached.
        ChainRejectedError: If it has no rollup there.
    """
    rollup_class, signer_class, read_deployment = await asyncio.to_thread(_load_rollup)
    deployment = await read_deployment(l1_rpc_url, rollup_address)
    make_signer = None if account is None else partial(signer_class, account=account)
    rollup: JsonRpcRollupL1 = rollup_class(l1_rpc_url, deployment, make_signer=make_signer)
    return rollup


def _load_rollup() -> tuple[Any, Any, Any]:
    from chain.l1.discover import read_deployment
    from chain.l1.rollup_l1 import JsonRpcRollupL1
    from wallet.l1_signer import WalletSigner

    restore_recursion_limit()
    return JsonRpcRollupL1, WalletSigner, read_deployment
