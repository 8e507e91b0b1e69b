"""Ways out that need no sequencer: withdrawals forced through the L1 inbox, and exits from a frozen rollup."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from msgspec.structs import replace

from chain.errors import IdlewattError
from chain.l1.protocol import SignedVoucher
from chain.logs import get_logger
from chain.replay import rules_of
from chain.signing import parse_address
from chain.snapshot_source import SNAPSHOT_PATH
from node.payments.wallet import NodeWallet
from node.rollup.monitor import RollupMonitor
from node.rollup.timing import L1Timing
from node.store.store import Store
from node.values import WalletState
from wallet.claims import claim_all
from wallet.exits import leave
from wallet.fast_withdrawal import fast_withdraw
from wallet.forced_slash import force_slash
from wallet.forced_withdrawal import force_withdraw
from wallet.l1 import open_rollup
from wallet.receipts import Receipt
from wallet.steps import WithdrawalStep
from wallet.vouchers import provable
from wallet.wallet_error import WalletError

if TYPE_CHECKING:
    from chain.l1.rollup_l1 import JsonRpcRollupL1
    from wallet.service import WalletService


log = get_logger(__name__)


class EscapeHatch:
    """Takes one wallet's money out of the rollup, from L1's data alone.

    Args:
        wallet: The wallet that leaves.
        chain: Knows which rollup on which L1, also from an earlier run.
        store: Has the newest vouchers.
        is_frozen: Whether L1 says that the rollup froze.
        timing: How often the exits of channels are looked at once it froze.
    """

    def __init__(
        self,
        wallet: NodeWallet,
        chain: RollupMonitor,
        store: Store,
        is_frozen: Callable[[], bool] = lambda: False,
        *,
        timing: L1Timing,
    ) -> None:
        self._timing = timing
        self._is_frozen = is_frozen
        self._wallet = wallet
        self._chain = chain
        self._store = store

    async def guard(self) -> None:
        """After a freeze, answer every channel exit that pays us less than our newest voucher, until cancelled.

        The payer that begins an exit may leave the newest voucher out. The payee can hand it in within one window.
        """
        while True:
            await asyncio.sleep(self._timing.look_s)
            if self._is_frozen() and self._wallet.state is WalletState.UNLOCKED:
                try:
                    await self._answer_exits()
                except IdlewattError as error:
                    log.warning("channel_exit_not_answered", error=error.line())

    async def _answer_exits(self) -> None:
        held = [channel for channel in await self._store.provider_channels() if channel.claimable_nano]
        if not held:
            return
        async with self._l1("") as l1:
            domain = rules_of(await l1.deployment()).domain
            for channel in held:
                leaving = await l1.channel_exit(channel.channel_id)
                if leaving is None or leaving.settle_at_s <= await l1.time_s():
                    continue
                if channel.claimable_nano > leaving.to_payee_nano:
                    best = SignedVoucher(cumulative_nano=channel.voucher_nano, signature=channel.voucher_signature)
                    voucher = provable(domain, channel.channel_id, best, channel.signer)
                    if voucher is not None:
                        await l1.raise_channel_exit(channel.channel_id, voucher)
                        log.warning(
                            "channel_exit_answered", channel=channel.channel_id, voucher_nano=channel.voucher_nano
                        )

    @asynccontextmanager
    async def force_withdraw(
        self, amount_nano: int | None, to: str, *, wait: bool, l1_url: str
    ) -> AsyncIterator[AsyncIterator[WithdrawalStep]]:
        """See ``NodeApi``."""
        recipient = parse_address(to) if to else None
        async with self._l1(l1_url) as l1:
            yield force_withdraw(
                l1, self._wallet.unlocked(), amount_nano, recipient, wait=wait, snapshot=self._snapshot()
            )

    @asynccontextmanager
    async def force_slash(
        self, pairs: Sequence[tuple[Receipt, Receipt]], *, wait: bool, l1_url: str
    ) -> AsyncIterator[AsyncIterator[WithdrawalStep]]:
        """See ``NodeApi``."""
        async with self._l1(l1_url) as l1:
            yield self._slashed(l1, pairs, wait=wait)

    async def _slashed(
        self, l1: JsonRpcRollupL1, pairs: Sequence[tuple[Receipt, Receipt]], *, wait: bool
    ) -> AsyncIterator[WithdrawalStep]:
        refused: WalletError | None = None
        is_any = False
        for number, (first, second) in enumerate(pairs):
            steps = force_slash(l1, self._wallet.unlocked(), first, second, wait=wait, snapshot=self._snapshot())
            try:
                async for step in steps:
                    yield replace(step, key=f"{step.key} {number}") if number else step
                is_any = True
            except WalletError as error:
                if error.code not in ("nothing_to_slash", "no_effect"):
                    raise
                refused = error
        if not is_any and refused is not None:
            raise refused

    @asynccontextmanager
    async def claim(self, *, l1_url: str) -> AsyncIterator[AsyncIterator[WithdrawalStep]]:
        """See ``NodeApi``."""
        rollup = await self._chain.rollup()
        async with self._l1(l1_url) as l1:
            yield claim_all(l1, rollup.client, self._wallet.unlocked().address)

    @asynccontextmanager
    async def fast_withdraw(
        self, service: WalletService, amount_nano: int | None, max_fee_nano: int, within_s: int, l1_url: str
    ) -> AsyncIterator[AsyncIterator[WithdrawalStep]]:
        """See ``NodeApi``."""
        client = (await self._chain.rollup()).client
        async with self._l1(l1_url) as l1:
            yield fast_withdraw(l1, client, service, amount_nano, max_fee_nano, within_s=within_s)

    @asynccontextmanager
    async def leave(self, *, freeze: bool, wait: bool, l1_url: str) -> AsyncIterator[AsyncIterator[WithdrawalStep]]:
        """See ``NodeApi``."""
        vouchers = {
            channel.channel_id: SignedVoucher(cumulative_nano=channel.voucher_nano, signature=channel.voucher_signature)
            for channel in await self._store.provider_channels()
            if channel.voucher_nano
        }
        async with self._l1(l1_url) as l1:
            yield leave(
                l1, self._wallet.unlocked().address, vouchers, freeze=freeze, wait=wait, snapshot=self._snapshot()
            )

    def _snapshot(self) -> str | None:
        """Where the chain offers a final state; L1 says whether it is one, not its sequencer."""
        return self._chain.url.rstrip("/") + SNAPSHOT_PATH if self._chain.url else None

    @asynccontextmanager
    async def _l1(self, l1_url: str) -> AsyncIterator[JsonRpcRollupL1]:
        account, info = self._wallet.unlocked(), await self._chain.info_ever()
        if info is None:
            raise WalletError(
                "This home was never connected to a rollup, so it doesn't know which one to leave.",
                code="no_chain",
                fix="Pass --chain http://host:port once, while the chain answers.",
            )
        l1 = await open_rollup(
            l1_url or self._chain.l1_url or info.l1_rpc_url, parse_address(info.rollup_address), account
        )
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
