"""The home's wallet as the node uses it: unlocking, signing, voucher keys, redeeming."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Literal

from cachetools import LRUCache

from chain.errors import UsageError
from chain.logs import get_logger
from chain.views import SoftReceipt
from node.rollup.monitor import RollupMonitor
from node.store.records import ChannelState
from node.store.store import Store
from node.values import WalletState
from wallet.account import UnlockedAccount, VoucherKey
from wallet.addresses import checksum_address, parse_address
from wallet.keystore import Keystore
from wallet.service import WalletService
from wallet.voucher_keys import VoucherKeyStore
from wallet.vouchers import Voucher, redemption
from wallet.wallet_error import WalletError

log = get_logger(__name__)

KEYS_IN_USE: Final = 64
"""Voucher keys kept in memory, so that not every request reads a file."""
_BACKUP_SETTING: Final = "backup_proven:"


class NodeWallet:
    """The node's only wallet.

    Args:
        keystore: Has its file; the oldest one counts.
        hot_keys: Where voucher keys are kept.
        chain: The rollup.
        store: Channels, vouchers, settings.
        on_change: Told when the wallet's state changed.
    """

    def __init__(
        self,
        keystore: Keystore,
        hot_keys: VoucherKeyStore,
        chain: RollupMonitor,
        store: Store,
        on_change: Callable[[], None],
    ) -> None:
        self._keystore = keystore
        self._hot_keys = hot_keys
        self._chain = chain
        self._store = store
        self._on_change = on_change
        self._account: UnlockedAccount | None = None
        self._service: tuple[str, WalletService] | None = None
        self._redeeming = asyncio.Lock()
        self._keys_in_use: LRUCache[bytes, VoucherKey] = LRUCache(KEYS_IN_USE)
        self.address: bytes | None = None
        self.backed_up = False

    @property
    def state(self) -> WalletState:
        """Whether there is a wallet, and whether it can sign."""
        if self.address is None:
            return WalletState.NONE
        return WalletState.LOCKED if self._account is None else WalletState.UNLOCKED

    @property
    def address_hex(self) -> str:
        """The checksummed address; empty without a wallet."""
        return checksum_address(self.address) if self.address else ""

    async def load(self) -> None:
        """Look for a wallet in the keystore."""
        entries = await self._keystore.accounts()
        self.address = entries[0].address if entries else None
        if self.address is not None:
            self.backed_up = await self._store.setting(_BACKUP_SETTING + self.address.hex()) is not None

    async def create(self, passphrase: str) -> str:
        """Make and unlock a wallet; returns its words.

        Raises:
            WalletError: ``wallet_exists`` if there is one; as the keystore.
        """
        self._check_none()
        wallet = await self._keystore.create_with_mnemonic(passphrase)
        await self.load()
        await self.unlock(passphrase)
        return wallet.mnemonic

    async def import_(
        self, kind: Literal["private_key", "mnemonic", "v3"], secret: str, passphrase: str, file_passphrase: str
    ) -> None:
        """Import and unlock a wallet; whoever imports has a copy, so it counts as backed up.

        Raises:
            WalletError: ``wallet_exists`` if there is one; as the keystore.
        """
        self._check_none()
        match kind:
            case "private_key":
                await self._keystore.import_private_key(secret, passphrase)
            case "mnemonic":
                await self._keystore.import_mnemonic(secret, passphrase)
            case "v3":
                data = secret.encode("utf-8", "replace")
                await self._keystore.import_v3(data, file_passphrase or passphrase, passphrase)
            case _:
                raise UsageError("A wallet is imported from a private key, words or a V3 file.")
        await self.load()
        await self.confirm_backup()
        await self.unlock(passphrase)

    async def unlock(self, passphrase: str) -> None:
        """Unlock for this run; unlocking twice still proves the passphrase.

        Raises:
            WalletError: ``no_wallet``, ``wrong_passphrase``, ``bad_keystore``.
        """
        account = await self._keystore.unlock(self.address, passphrase)
        self._account, self._service = account, None
        self._on_change()

    async def export(self, kind: Literal["v3", "private_key"], passphrase: str) -> str:
        """The wallet's file or key, after the passphrase proved right.

        Raises:
            WalletError: As the keystore.
        """
        if kind == "private_key":
            return await self._keystore.export_private_key(self.address, passphrase)
        (await self._keystore.unlock(self.address, passphrase)).forget()
        return (await self._keystore.export_v3(self.address)).decode()

    async def confirm_backup(self) -> None:
        """Remember that a backup was proven.

        Raises:
            WalletError: ``no_wallet``.
        """
        if self.address is None:
            raise WalletError("There is no wallet here yet.", code="no_wallet", fix="Create or import one.")
        await self._store.save_setting(_BACKUP_SETTING + self.address.hex(), "yes")
        self.backed_up = True
        self._on_change()

    def unlocked(self) -> UnlockedAccount:
        """The account that signs.

        Raises:
            WalletError: ``no_wallet`` or ``wallet_locked``.
        """
        if self.address is None:
            raise WalletError("There is no wallet here yet.", code="no_wallet", fix="Create or import one.")
        if self._account is None:
            raise WalletError("The wallet is locked.", code="wallet_locked", fix="Unlock it with its passphrase.")
        return self._account

    async def service(self) -> WalletService:
        """What the wallet can do on the chain.

        Raises:
            IdlewattError: If it is locked, or the chain was never reached.
        """
        account = self.unlocked()
        rollup = await self._chain.rollup()
        if self._service is None or self._service[0] != rollup.info.deployment:
            service = WalletService(
                account,
                rollup.client,
                expected_deployment=rollup.info.deployment,
                verifier=self._chain.verifier,
            )
            self._service = rollup.info.deployment, service
        return self._service[1]

    async def voucher_key(self, signer: bytes, salt: bytes) -> VoucherKey:
        """The voucher key of one channel: from its file, or derived again from the wallet.

        Raises:
            IdlewattError: If it is in neither.
        """
        if signer in self._keys_in_use:
            return self._keys_in_use[signer]
        key = await self._load_or_derive(signer, salt)
        self._keys_in_use[signer] = key
        return key

    async def _load_or_derive(self, signer: bytes, salt: bytes) -> VoucherKey:
        try:
            return await self._hot_keys.load(signer)
        except WalletError:
            rollup = await self._chain.rollup()
            key = self.unlocked().derive_voucher_key(rollup.info.deployment, salt)
            if key.address != signer:
                raise
            await self._hot_keys.save(key)
            return key

    async def keep_voucher_key(self, key: VoucherKey) -> None:
        """Save a new voucher key."""
        await self._hot_keys.save(key)

    async def drop_voucher_key(self, signer: bytes) -> None:
        """Delete the voucher key of a closed channel."""
        self._keys_in_use.pop(signer, None)
        await self._hot_keys.remove(signer)

    async def redeem(self, channel_id: int) -> str:
        """Redeem the best voucher held; returns the L2 transaction.

        Raises:
            WalletError: ``bad_channel`` or ``nothing_to_redeem``; and as the chain.
        """
        async with self._redeeming:
            channel = await self._store.provider_channel(channel_id)
            if channel is None:
                raise WalletError("That channel does not pay this wallet.", code="bad_channel")
            if not channel.claimable_nano:
                raise WalletError("Nothing is left to redeem in that channel.", code="nothing_to_redeem")
            voucher = Voucher(channel_id, channel.voucher_nano, channel.voucher_signature)
            try:
                receipt = await self._hand_in(voucher, channel.signer)
            except WalletError as error:
                if error.code == "nothing_to_redeem":
                    # It was redeemed, and a crash kept that from being saved.
                    await self._store.record_redeemed(channel_id, voucher.cumulative_nano)
                raise
            await self._store.record_redeemed(channel_id, voucher.cumulative_nano)
            self._chain.forget_channel(channel_id)
        log.info("voucher_redeemed", channel=channel_id, cumulative_nano=voucher.cumulative_nano)
        self._on_change()
        return receipt.l2_tx

    async def _hand_in(self, voucher: Voucher, signer: bytes) -> SoftReceipt:
        if self.state is WalletState.UNLOCKED:
            return await (await self.service()).redeem(voucher)
        # Any account may redeem a voucher for the payee, so a locked wallet loses no earnings.
        rollup = await self._chain.rollup()
        return await rollup.client.submit(redemption(rollup.domain, voucher, signer))

    async def agree_close(self, channel_id: int) -> tuple[int, bytes]:
        """As payee: redeem the best voucher, then sign the close at the redeemed amount.

        Raises:
            IdlewattError: If the chain or the wallet can't.
        """
        channel = await self._store.provider_channel(channel_id)
        if channel is not None and channel.claimable_nano:
            await self.redeem(channel_id)
        view = await self._chain.channel(channel_id, fresh=True)
        if view is None:
            raise WalletError("That channel is closed already.", code="bad_channel")
        # What this side holds vouchers of is closed, and nothing else that a number may have come to name.
        signer = parse_address(view.signer) if channel is None else channel.signer
        signature = await (await self.service()).sign_close(channel_id, signer, view.redeemed_nano)
        if channel is not None:
            await self._store.set_provider_channel_state(channel_id, ChannelState.CLOSING)
        return view.redeemed_nano, signature

    def forget(self) -> None:
        """Overwrite the unlocked key at the end."""
        if self._account is not None:
            self._account.forget()
            self._account = None

    def _check_none(self) -> None:
        if self.address is not None:
            raise WalletError(
                f"This home has the wallet {self.address_hex} already.",
                code="wallet_exists",
                fix="Use another home for another wallet.",
            )
