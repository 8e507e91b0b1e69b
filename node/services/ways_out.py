"""The ways out that need no sequencer: withdrawals forced through L1's inbox, and leaving a frozen rollup."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from chain.l1.protocol import SignedVoucher
from chain.signing import parse_address
from node.services.chain_desk import ChainDesk
from node.services.purse import Purse
from node.store.store import Store
from wallet.errors import WalletError
from wallet.forcing import force_withdraw
from wallet.l1 import open_rollup
from wallet.leaving import leave
from wallet.steps import Step

if TYPE_CHECKING:
    from chain.l1.rollup_l1 import JsonRpcRollupL1


class WaysOut:
    """One wallet's.

    Args:
        purse: Who leaves.
        chain: Knows, from now or from before, which rollup on which L1.
        store: Knows the best vouchers.
    """

    def __init__(self, purse: Purse, chain: ChainDesk, store: Store) -> None:
        self._purse = purse
        self._chain = chain
        self._store = store

    @asynccontextmanager
    async def force_withdraw(
        self, amount_nano: int | None, to: str, *, wait: bool, l1_url: str
    ) -> AsyncIterator[AsyncIterator[Step]]:
        """See ``NodeApi``."""
        recipient = parse_address(to) if to else None
        async with self._l1(l1_url) as l1:
            yield force_withdraw(l1, self._purse.unlocked(), amount_nano, recipient, wait=wait)

    @asynccontextmanager
    async def leave(self, *, freeze: bool, wait: bool, l1_url: str) -> AsyncIterator[AsyncIterator[Step]]:
        """See ``NodeApi``."""
        vouchers = {
            channel.channel_id: SignedVoucher(cumulative_nano=channel.voucher_nano, signature=channel.voucher_signature)
            for channel in await self._store.provider_channels()
            if channel.voucher_nano
        }
        async with self._l1(l1_url) as l1:
            yield leave(l1, self._purse.unlocked().address, vouchers, freeze=freeze, wait=wait)

    @asynccontextmanager
    async def _l1(self, l1_url: str) -> AsyncIterator[JsonRpcRollupL1]:
        account, info = self._purse.unlocked(), await self._chain.info_ever()
        if info is None:
            raise WalletError(
                "This home was never connected to a rollup, so it doesn't know which one to leave.",
                code="no_chain",
                fix="Pass --chain http://host:port once, while the chain answers.",
            )
        l1 = await open_rollup(l1_url or info.l1_rpc_url, parse_address(info.rollup_address), account)
        try:
            if (await l1.deployment()).l1_chain_id != info.l1_chain_id:
                raise WalletError(
                    "That L1 is another chain than the one the rollup lives on.",
                    code="foreign_chain",
                    fix="Give the right one with --l1.",
                )
            yield l1
        finally:
            await l1.aclose()
