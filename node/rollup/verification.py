"""Opens the way to check what the rollup's RPC says: the person's own L1, or the one that the RPC names."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from chain.client import RollupClient
from chain.errors import ChainRejectedError, IdlewattError
from chain.logs import get_logger
from chain.urls import shown_url
from chain.views import ChainInfo, ChannelView
from wallet.l1 import open_roots
from wallet.verifier import StateVerifier, check_deployment, contradicted

if TYPE_CHECKING:
    from chain.l1.roots import RootsL1

log = get_logger(__name__)

RETRY_S: Final = 10.0
"""How long an L1 that can't be reached is left alone."""
KEPT_CHANNELS: Final = 4_096


class Verification:
    """Checks of one deployment; an L1 that can't be reached leaves everything ``soft``.

    Args:
        l1_url: The person's own L1; empty to ask the one that the RPC names, which is only as honest as the RPC.
        soft_credit_nano: What vouchers may promise on a channel that isn't proven on L1.
    """

    def __init__(self, l1_url: str = "", soft_credit_nano: int = 0) -> None:
        self.l1_url = l1_url
        self._soft_credit_nano = soft_credit_nano
        self._opening = asyncio.Lock()
        self._roots: RootsL1 | None = None
        self._verifier: StateVerifier | None = None
        self._retry_at = 0.0
        self._proven: dict[int, tuple[tuple[str, str, str, int], int]] = {}

    async def verifier(self, client: RollupClient, info: ChainInfo) -> StateVerifier | None:
        """What checks the RPC's answers; ``None`` while no L1 can be asked.

        Raises:
            WalletError: ``contradicted`` if that L1 has no such rollup, or another one than the RPC says.
        """
        async with self._opening:
            if self._verifier is None and time.monotonic() >= self._retry_at:
                await self._open(client, info)
            return self._verifier

    async def proven_deposit_nano(self, client: RollupClient, info: ChainInfo, view: ChannelView) -> int:
        """How much of a channel's deposit stands on L1, with its parties and voucher key; asked again as it grows.

        Raises:
            WalletError: ``contradicted``.
            ChainUnavailableError: If the RPC or L1 can't be asked.
        """
        known = self._proven.get(view.channel_id)
        if known is not None and known[0] == _fixed(view) and known[1] >= view.deposit_nano:
            return view.deposit_nano
        verifier = await self.verifier(client, info)
        found = await verifier.channel(view.channel_id) if verifier else None
        if found is None or _fixed(found[0]) != _fixed(view):
            return 0
        if len(self._proven) >= KEPT_CHANNELS:
            self._proven.clear()
        self._proven[view.channel_id] = _fixed(view), found[1].proven_nano
        return min(found[1].proven_nano, view.deposit_nano)

    async def check_credit(self, client: RollupClient, info: ChainInfo, view: ChannelView, held_nano: int) -> None:
        """Serve beyond the soft credit only on what L1 has: a sequencer can make up a channel, and so its vouchers.

        Args:
            client: The RPC.
            info: Which rollup.
            view: The channel as it is told.
            held_nano: What the best voucher on it promises in all.

        Raises:
            IdlewattError: ``unconfirmed``.
        """
        if held_nano < self._soft_credit_nano:
            return
        try:
            proven_nano = await self.proven_deposit_nano(client, info, view)
        except IdlewattError as error:
            log.error("channel_not_proven", channel=view.channel_id, error=error.line())
            proven_nano = 0
        # What is told to be redeemed is the sequencer's word too.
        if held_nano - proven_nano >= self._soft_credit_nano:
            raise IdlewattError(
                "The channel's deposit is not proven on L1 yet.", code="unconfirmed", fix="Ask again in a moment."
            )

    async def forget(self) -> None:
        """Close what was opened: the chain is another one now, or the node ends."""
        self._verifier, self._retry_at = None, 0.0
        self._proven.clear()
        if self._roots is not None:
            roots, self._roots = self._roots, None
            await roots.aclose()

    async def _open(self, client: RollupClient, info: ChainInfo) -> None:
        url = self.l1_url or info.l1_rpc_url
        try:
            roots = await open_roots(url, info)
        except ChainRejectedError as error:
            raise contradicted(client.url, f"on the L1 at {shown_url(url)}: {error.message.rstrip('.')}") from error
        except IdlewattError as error:
            log.warning("l1_cannot_check", l1=shown_url(url), error=error.line())
            self._retry_at = time.monotonic() + RETRY_S
            return
        try:
            check_deployment(client.url, info, await roots.deployment())
        except BaseException:
            await roots.aclose()
            raise
        self._roots, self._verifier = roots, StateVerifier(client, roots)


def _fixed(view: ChannelView) -> tuple[str, str, str, int]:
    """What never changes of a channel."""
    return view.payer, view.payee, view.signer, view.expiry_s
