"""The part of ``NodeApi`` that is about the wallet and its channels."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, Literal

from node.buyer.service import BuyerService
from node.payments.account_monitor import AccountMonitor
from node.payments.balances import money_view
from node.payments.channel_list import channel_summaries
from node.payments.escape import EscapeHatch
from node.payments.slashing import evidence_of, slash_by_evidence
from node.payments.wallet import NodeWallet
from node.provider.service import ProviderService
from node.rollup.monitor import RollupMonitor
from node.store.store import Store
from node.values import ChannelSummary, FeeQuote, MergeView, MoneyView, SlashView, WalletView, WithdrawalStep
from wallet.addresses import parse_address
from wallet.wallet_error import WalletError

WALLET_ID: Final = "main"


class WalletCalls:
    """What ``NodeApi`` says about wallets.

    Args:
        wallet: The node's only wallet.
        chain: The rollup.
        store: Channels and receipts.
        account: The wallet's account on the rollup.
        buyer: Closes channels that this node pays through.
        provider: Redeems and closes channels that this node is paid through.
        escape: The ways out that need no sequencer.
        on_change: Told when the wallet's money or state changed.
    """

    def __init__(
        self,
        wallet: NodeWallet,
        chain: RollupMonitor,
        store: Store,
        account: AccountMonitor,
        *,
        buyer: BuyerService,
        provider: ProviderService,
        escape: EscapeHatch,
        on_change: Callable[[], None],
    ) -> None:
        self._wallet = wallet
        self._chain = chain
        self._store = store
        self._account = account
        self._buyer = buyer
        self._provider = provider
        self._escape = escape
        self._wallet_changed = on_change
        self._money: MoneyView | None = None

    async def create_wallet(self, wallet_id: str, passphrase: str) -> str:
        """See ``NodeApi``."""
        self._check_wallet(wallet_id)
        words = await self._wallet.create(passphrase)
        self._wallet_changed()
        return words

    async def import_wallet(
        self,
        wallet_id: str,
        kind: Literal["private_key", "mnemonic", "v3"],
        secret: str,
        passphrase: str,
        file_passphrase: str = "",
    ) -> None:
        """See ``NodeApi``."""
        self._check_wallet(wallet_id)
        await self._wallet.import_(kind, secret, passphrase, file_passphrase)

    async def unlock(self, wallet_id: str, passphrase: str) -> None:
        """See ``NodeApi``."""
        self._check_wallet(wallet_id)
        await self._wallet.unlock(passphrase)

    async def export_wallet(self, wallet_id: str, kind: Literal["v3", "private_key"], passphrase: str) -> str:
        """See ``NodeApi``."""
        self._check_wallet(wallet_id)
        return await self._wallet.export(kind, passphrase)

    async def confirm_backup(self, wallet_id: str) -> None:
        """See ``NodeApi``."""
        self._check_wallet(wallet_id)
        await self._wallet.confirm_backup()

    async def money(self, wallet_id: str) -> MoneyView:
        """See ``NodeApi``."""
        self._check_wallet(wallet_id)
        self._money = await money_view(self._wallet, self._chain, self._store)
        self._account.balance_is(sum(line.amount_nano for line in self._money.lines if line.place == "wallet"))
        return self._money

    async def faucet(self, wallet_id: str) -> int:
        """See ``NodeApi``."""
        self._check_wallet(wallet_id)
        grant = await (await self._wallet.service()).faucet()
        self._wallet_changed()
        return grant.l2_amount_nano

    async def deposit(self, wallet_id: str, amount_nano: int) -> str:
        """See ``NodeApi``."""
        self._check_wallet(wallet_id)
        l1_tx = await (await self._wallet.service()).deposit(amount_nano)
        self._wallet_changed()
        return l1_tx

    async def fees(self) -> FeeQuote:
        """See ``NodeApi``."""
        return await (await self._chain.rollup()).client.fees()

    async def withdraw(
        self, wallet_id: str, amount_nano: int | None, to: str = "", *, max_fee_nano: int | None = None
    ) -> str:
        """See ``NodeApi``."""
        self._check_wallet(wallet_id)
        recipient = parse_address(to) if to else None
        service = await self._wallet.service()
        if amount_nano is None:
            await self._provider.earnings.redeem_all()
        receipt = await service.withdraw(amount_nano, recipient, max_fee_nano=max_fee_nano)
        self._wallet_changed()
        return receipt.l2_tx

    async def merge(self, wallet_id: str) -> MergeView:
        """See ``NodeApi``."""
        self._check_wallet(wallet_id)
        merged = await (await self._wallet.service()).merge()
        self._wallet_changed()
        return MergeView(
            accounts=merged.accounts, moved_nano=merged.moved_nano, fees_nano=merged.fees_nano, l2_txs=merged.l2_txs
        )

    @asynccontextmanager
    async def fast_withdraw(
        self, wallet_id: str, amount_nano: int | None, max_fee_nano: int, *, within_s: int, l1_url: str = ""
    ) -> AsyncIterator[AsyncIterator[WithdrawalStep]]:
        """See ``NodeApi``."""
        self._check_wallet(wallet_id)
        service = await self._wallet.service()
        if amount_nano is None:
            await self._provider.earnings.redeem_all()
        async with self._escape.fast_withdraw(service, amount_nano, max_fee_nano, within_s, l1_url) as steps:
            yield steps
        self._wallet_changed()

    def force_withdraw(
        self, wallet_id: str, amount_nano: int | None, to: str = "", *, wait: bool = True, l1_url: str = ""
    ) -> AbstractAsyncContextManager[AsyncIterator[WithdrawalStep]]:
        """See ``NodeApi``."""
        self._check_wallet(wallet_id)
        return self._escape.force_withdraw(amount_nano, to, wait=wait, l1_url=l1_url)

    def claim(self, wallet_id: str, *, l1_url: str = "") -> AbstractAsyncContextManager[AsyncIterator[WithdrawalStep]]:
        """See ``NodeApi``."""
        self._check_wallet(wallet_id)
        return self._escape.claim(l1_url=l1_url)

    def leave(
        self, wallet_id: str, *, freeze: bool = False, wait: bool = True, l1_url: str = ""
    ) -> AbstractAsyncContextManager[AsyncIterator[WithdrawalStep]]:
        """See ``NodeApi``."""
        self._check_wallet(wallet_id)
        return self._escape.leave(freeze=freeze, wait=wait, l1_url=l1_url)

    async def stake(self, wallet_id: str, amount_nano: int, *, max_fee_nano: int | None = None) -> str:
        """See ``NodeApi``."""
        self._check_wallet(wallet_id)
        receipt = await (await self._wallet.service()).stake(amount_nano, max_fee_nano=max_fee_nano)
        self._wallet_changed()
        return receipt.l2_tx

    async def unstake(self, wallet_id: str, amount_nano: int | None, *, max_fee_nano: int | None = None) -> str:
        """See ``NodeApi``."""
        self._check_wallet(wallet_id)
        receipt = await (await self._wallet.service()).unstake(amount_nano, max_fee_nano=max_fee_nano)
        self._wallet_changed()
        return receipt.l2_tx

    async def finish_unstake(self, wallet_id: str) -> str:
        """See ``NodeApi``."""
        self._check_wallet(wallet_id)
        receipt = await (await self._wallet.service()).finish_unstake()
        self._wallet_changed()
        return receipt.l2_tx

    async def slash(self, wallet_id: str) -> tuple[SlashView, ...]:
        """See ``NodeApi``."""
        self._check_wallet(wallet_id)
        found = await slash_by_evidence(self._wallet, self._store)
        self._wallet_changed()
        return found

    @asynccontextmanager
    async def force_slash(
        self, wallet_id: str, *, wait: bool = True, l1_url: str = ""
    ) -> AsyncIterator[AsyncIterator[WithdrawalStep]]:
        """See ``NodeApi``."""
        self._check_wallet(wallet_id)
        async with self._escape.force_slash(await evidence_of(self._store), wait=wait, l1_url=l1_url) as steps:
            yield steps
        self._wallet_changed()

    async def channels(self) -> tuple[ChannelSummary, ...]:
        """See ``NodeApi``."""
        return await channel_summaries(self._store, self._chain, self._wallet.address)

    async def redeem(self, channel_id: int) -> str:
        """See ``NodeApi``."""
        l2_tx = await self._wallet.redeem(channel_id)
        await self._provider.earnings.load_totals()
        return l2_tx

    async def close_channel(self, channel_id: int, *, alone: bool = False) -> str:
        """See ``NodeApi``."""
        if await self._store.buyer_channel(channel_id) is not None:
            return await self._buyer.settlement.close(channel_id, alone=alone)
        if await self._store.provider_channel(channel_id) is None:
            raise WalletError("That channel is not known here.", code="bad_channel", fix="List the open ones.")
        return await self._provider.earnings.close_channel(channel_id)

    def _wallet_view(self) -> WalletView:
        account = self._account.account
        return WalletView(
            wallet_id=WALLET_ID,
            label="Wallet",
            state=self._wallet.state,
            address=self._wallet.address_hex,
            balance_nano=self._account.balance_nano,
            money=self._money,
            backed_up=self._wallet.backed_up,
            stake_nano=account.stake_nano if account else 0,
            unlocking_nano=account.unlocking_nano if account else 0,
            unlock_at_s=account.unlock_at_s if account else 0,
        )

    def _check_wallet(self, wallet_id: str) -> None:
        if wallet_id != WALLET_ID:
            raise WalletError("This node has one wallet: main.", code="no_wallet", fix="Name it, or leave it out.")
