"""Stakes behind a provider's receipts, and slashing one for two receipts that contradict each other."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from chain.eip712 import SigningDomain
from chain.money import format_usd
from chain.txs import FinishUnstake, Slash, Stake, Unstake
from chain.views import AccountView, ChainInfo, SoftReceipt
from wallet.account import UnlockedAccount
from wallet.receipts import Receipt, check_conflict, receipt_evidence
from wallet.sender import TxSender, check_amount
from wallet.wallet_error import WalletError

if TYPE_CHECKING:
    from chain.client import RollupClient


class Staking(ABC):
    """The part of `WalletService` that is about stakes; each may raise what every method there may."""

    _account: UnlockedAccount
    _client: RollupClient
    _sender: TxSender

    @abstractmethod
    async def info(self) -> ChainInfo:
        """Which chain this is, read afresh and checked."""

    @abstractmethod
    async def domain(self) -> SigningDomain:
        """What this chain's signatures are bound to."""

    @abstractmethod
    async def view(self) -> AccountView | None:
        """The L2 account."""

    @abstractmethod
    async def ensure_account(self) -> AccountView:
        """The L2 account, created if there is none."""

    async def stake(self, amount_nano: int, *, max_fee_nano: int | None = None) -> SoftReceipt:
        """Put money behind the receipts that this account signs as a provider.

        Raises:
            WalletError: ``bad_amount`` or ``no_funds``.
        """
        info = await self.info()
        check_amount(amount_nano)
        return await self._sender.sign_and_submit(
            info,
            Stake,
            amount_nano,
            lambda sender, fee_nano: Stake(sender.index, amount_nano, fee_nano),
            max_fee_nano=max_fee_nano,
        )

    async def unstake(self, amount_nano: int | None, *, max_fee_nano: int | None = None) -> SoftReceipt:
        """Begin to take a part of the stake out, or with ``None`` all of it; it stays slashable for the unstake delay.

        Raises:
            WalletError: ``bad_amount`` if there is less, ``unstaking`` if another part is on its way out, ``no_funds``.
        """
        info, view = await self.info(), await self.view()
        staked_nano = view.stake_nano if view else 0
        wanted_nano = staked_nano if amount_nano is None else amount_nano
        if view is not None and view.unlocking_nano:
            raise WalletError(
                "A part of the stake is on its way out already.",
                code="unstaking",
                fix="Finish that one first, once its delay is over: idlewatt wallet unstake --finish.",
            )
        if not 0 < wanted_nano <= staked_nano:
            raise WalletError(f"The stake is {format_usd(staked_nano)}.", code="bad_amount", fix="Take out less.")
        return await self._sender.sign_and_submit(
            info,
            Unstake,
            0,
            lambda sender, fee_nano: Unstake(sender.index, wanted_nano, fee_nano),
            max_fee_nano=max_fee_nano,
        )

    async def finish_unstake(self) -> SoftReceipt:
        """Take back the part of the stake whose delay is over; anyone could, and it costs nothing.

        Raises:
            WalletError: ``too_early`` with the time left, or ``nothing_to_unstake``.
        """
        info, view = await self.info(), await self.view()
        if view is None or not view.unlocking_nano:
            raise WalletError("No part of a stake is on its way out.", code="nothing_to_unstake")
        if info.l2_time_s < view.unlock_at_s:
            raise WalletError(
                "The unstake delay is not over yet.",
                code="too_early",
                fix=f"Try again in {view.unlock_at_s - info.l2_time_s} seconds.",
            )
        return await self._sender.submit(FinishUnstake(view.index).encode())

    async def provider(self, address: bytes) -> AccountView | None:
        """Another account, with its stake."""
        await self.info()
        return await self._client.account(address)

    async def slash(self, first: Receipt, second: Receipt) -> SoftReceipt:
        """Take the stake of a provider that signed two different receipts for one request; half comes to this account.

        Raises:
            WalletError: ``bad_receipt`` if the two prove nothing on this chain.
        """
        domain = await self.domain()
        check_conflict(domain, first, second)
        provider, reporter = await self.provider(first.provider), await self.ensure_account()
        if provider is None:
            raise WalletError("That provider has no account, so no stake.", code="nothing_to_slash")
        if first.channel_id < provider.slash_from:
            raise WalletError(
                "Those receipts are of a channel older than the provider's stake, which doesn't answer for them.",
                code="nothing_to_slash",
            )
        evidence = receipt_evidence(first), receipt_evidence(second)
        tx = Slash(provider.index, reporter.index, first.channel_id, first.sequence, *evidence)
        return await self._sender.submit(tx.encode(self._account.sign_digest(tx.digest(domain, first.provider))))
