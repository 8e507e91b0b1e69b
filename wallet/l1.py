"""The wallet's way to L1, loaded only when it is taken: web3 takes a second to import."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from chain.recursion import restore_recursion_limit
from chain.signing import parse_address
from chain.views import ChainInfo

if TYPE_CHECKING:
    from chain.l1.bridge import Bridge


async def open_bridge(info: ChainInfo) -> Bridge:
    """The way to this chain's L1; loads web3, off the loop. The caller closes it."""
    bridge_class = await asyncio.to_thread(_load_bridge)
    return bridge_class(
        info.l1_rpc_url,
        inbox_address=parse_address(info.inbox_address),
        asset_address=parse_address(info.asset_address),
    )


def _load_bridge() -> type[Bridge]:
    from chain.l1.bridge import Bridge

    restore_recursion_limit()
    return Bridge
