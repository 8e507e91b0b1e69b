"""What a wallet does on the rollup: every signed transaction, with its checks and its errors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from chain.eip712 import SigningDomain
from chain.money import MAX_NANO
from chain.retry import poll
from chain.signing import parse_address
from chain.tx_format import NoncedTx
from chain.txs import CloseTogether, Expire, OpenChannel, StartClose, TopUp, Withdraw
from chain.views import AccountView, ChainInfo, ChannelView, FaucetGrant, SoftReceipt
from wallet.account import UnlockedAccount
from wallet.accounts import Merged, balance_of
from wallet.fees import fee_of
from wallet.l1 import open_bridge
from wallet.sender import TxSender, check_amount, check_whole_units, checked_address, domain_of
from wallet.staking import Staking
from wallet.vouchers import Voucher, redemption
from wallet.wallet_error import WalletError

if TYPE_CHECKING:
    from chain.client import RollupClient
    from wallet.verifier import StateVerifier


FindVerifier = Callable[[], Awaitable["StateVerifier | None"]]


class WalletService(Staking):
    """One unlocked account on one rollup. Calls may run at once; signed transactions queue for their nonces.

    Every method may raise ``ChainUnavailableError`` or ``ChainRejectedError`` from the chain, and ``WalletError`` with
    code ``foreign_chain`` if the chain is another deployment than expected, or than it was before.

    Args:
        account: Signs.
        client: The rollup's RPC; not closed here.
        expected_deployment: The deployment that this home's channels live on (``Store.deployment``), if one is known.
        verifier: What checks the chain's answers against L1; ``None`` while none can be asked.
    """

    def __init__(
        self,
        account: UnlockedAccount,
        client: RollupClient,
        *,
        expected_deployment: str | None = None,
        verifier: FindVerifier | None = None,
    ) -> None:
        self._find_verifier = verifier
        self._account = account
        self._client = client
        self._deployment = expected_deployment.lower() if expected_deployment else None
        self._sender = TxSender(account, client)

    @property
    def address(self) -> bytes:
        """The account's 20 bytes."""
        return self._account.address

    @property
    def account(self) -> UnlockedAccount:
        """The account that signs."""
        return self._account

    async def info(self) -> ChainInfo:
        """Which chain this is, read afresh and checked against the one this wallet knows.

        Raises:
            WalletError: ``foreign_chain``.
        """
        info = await self._client.info()
        if self._deployment is None:
            self._deployment = info.deployment.lower()
        if info.deployment.lower() != self._deployment:
            raise WalletError(
                "This is another chain than the one this home's channels live on.",
                code="foreign_chain",
                fix="If it was reset, archive the old channels and go on; if not, connect to the former chain.",
            )
        return info

    async def fee(self, kind: type[NoncedTx], *, max_fee_nano: int | None = None) -> int:
        """What a transaction of a kind costs now.

        Raises:
            WalletError: ``absurd_fee`` if that is above the limit.
        """
        return fee_of((await self.info()).fees, kind.KIND, max_fee_nano)

    async def domain(self) -> SigningDomain:
        """What this chain's signatures are bound to, after the same check."""
        return domain_of(await self.info())

    async def view(self) -> AccountView | None:
        """The L2 account, or ``None`` where there is none yet."""
        await self.info()
        return await self._client.account(self.address)

    async def balance(self) -> int:
        """Nano on L2, in all accounts of this address."""
        return balance_of(await self.accounts())

    async def accounts(self) -> list[AccountView]:
        """Every account of this address, by number; the first is the one that it spends from."""
        await self.info()
        return await self._client.accounts_of(self.address)

    async def merge(self) -> Merged:
        """Move what further accounts hold into the first, for one fee each; nothing where that isn't worth a fee.

        Raises:
            WalletError: ``absurd_fee`` or ``unconfirmed``.
        """
        return await self._sender.merge(await self.info())

    async def ensure_account(self) -> AccountView:
        """The L2 account, created if there is none (which costs nothing)."""
        await self.info()
        return await self._ensure(self.address)

    async def open_channel(
        self,
        provider: bytes,
        deposit_nano: int,
        signer: bytes,
        expiry_s: int,
        *,
        max_fee_nano: int | None = None,
    ) -> tuple[int, SoftReceipt]:
        """Lock ``deposit_nano`` for ``provider``, to be paid out against vouchers signed by ``signer``.

        Write the opening down first (``Store.record_opening``): if this is cut off, the chain still shows the channel
        by its ``signer``.

        Args:
            provider: Its account's address; an L2 account is created for it if it has none.
            deposit_nano: How much.
            signer: The voucher key's address.
            expiry_s: L2 time after which the rest can be taken back.
            max_fee_nano: The most to pay as a fee; the usual limit if not given, here as below.

        Returns:
            The channel's number, and the sequencer's promise.

        Raises:
            WalletError: ``bad_amount``, ``bad_channel``, ``no_funds`` or ``unconfirmed``; ``contradicted`` if the
                chain names another account as the provider's than L1.
        """
        info = await self.info()
        check_amount(deposit_nano)
        if expiry_s <= info.l2_time_s or expiry_s > MAX_NANO:
            raise WalletError("The channel would be over already.", code="bad_channel", fix="Give it a later expiry.")
        payee = await self._ensure(provider)
        if self._find_verifier is not None and (verifier := await self._find_verifier()) is not None:
            await verifier.payee(payee.index, provider)

        def build(payer: AccountView, fee_nano: int) -> NoncedTx:
            return OpenChannel(
                sender=payer.index,
                payee=payee.index,
                signer=signer,
                amount_nano=deposit_nano,
                expiry_s=expiry_s,
                fee_nano=fee_nano,
            )

        receipt = await self._sender.sign_and_submit(
            info, OpenChannel, deposit_nano, build, bound=provider, max_fee_nano=max_fee_nano
        )
        channel = await self._client.channel(receipt.allocated_index) if receipt.allocated_index is not None else None
        if channel is None or parse_address(channel.signer) != signer:
            raise WalletError(
                "The chain took the opening but does not show the channel.",
                code="unconfirmed",
                fix=f"Look at it again: transaction {receipt.l2_tx}.",
            )
        return channel.channel_id, receipt

    async def top_up(
        self, channel_id: int, signer: bytes, amount_nano: int, *, max_fee_nano: int | None = None
    ) -> SoftReceipt:
        """Add to a channel's deposit.

        Args:
            channel_id: The channel.
            signer: The address of its voucher key, as this side wrote it down.
            amount_nano: How much.
            max_fee_nano: The most to pay for it; the usual limit if not given.

        Raises:
            WalletError: ``bad_amount``, ``bad_channel`` or ``no_funds``.
        """
        info = await self.info()
        check_amount(amount_nano)
        await self._own_channel(channel_id, signer)
        return await self._sender.sign_and_submit(
            info,
            TopUp,
            amount_nano,
            lambda _, fee_nano: TopUp(channel_id, amount_nano, fee_nano),
            bound=signer,
            max_fee_nano=max_fee_nano,
        )

    async def redeem(self, voucher: Voucher) -> SoftReceipt:
        """Have the provider paid what a voucher promises beyond what was redeemed; harmless when repeated.

        Raises:
            WalletError: ``bad_channel`` if the channel is gone; ``nothing_to_redeem`` if the voucher was redeemed;
                ``bad_voucher`` if it isn't signed by the channel's voucher key.
        """
        info = await self.info()
        channel = await self._channel(voucher.channel_id)
        if voucher.cumulative_nano <= channel.redeemed_nano:
            raise WalletError("That voucher is redeemed already.", code="nothing_to_redeem")
        return await self._sender.submit(redemption(domain_of(info), voucher, parse_address(channel.signer)))

    async def sign_close(self, channel_id: int, signer: bytes, cumulative_nano: int) -> bytes:
        """As the payee, agree to end a channel; everything above ``cumulative_nano`` goes back to the payer.

        Redeem first: the chain takes this only while exactly ``cumulative_nano`` is redeemed, and
        later vouchers are void.

        Args:
            channel_id: The channel.
            signer: The address of its voucher key, as this side knows it from its vouchers.
            cumulative_nano: What is redeemed.

        Returns:
            64 bytes for :meth:`close_together`, which either side may call.
        """
        closing = CloseTogether(channel_id, cumulative_nano)
        return self._account.sign_digest(closing.digest(await self.domain(), signer))

    async def close_together(self, channel_id: int, cumulative_nano: int, payee_signature: bytes) -> SoftReceipt:
        """End a channel at once with the payee's agreement (:meth:`sign_close`).

        Args:
            channel_id: The channel.
            cumulative_nano: What is redeemed on it now, and stays with the payee.
            payee_signature: 64 bytes of :meth:`sign_close`.

        Raises:
            WalletError: ``bad_channel`` if it is gone, or something else is redeemed by now.
        """
        await self.info()
        channel = await self._channel(channel_id)
        if channel.redeemed_nano != cumulative_nano:
            raise WalletError(
                "The agreement to close is about another amount than the chain has redeemed.",
                code="bad_channel",
                fix="Redeem the best voucher, then agree again.",
            )
        return await self._sender.submit(CloseTogether(channel_id, cumulative_nano).encode(payee_signature))

    async def start_close(self, channel_id: int, signer: bytes) -> SoftReceipt:
        """As the payer, begin to close alone; :meth:`expire` ends it after the chain's close delay.

        Args:
            channel_id: The channel.
            signer: The address of its voucher key, as this side wrote it down.

        Raises:
            WalletError: ``bad_channel`` if it is gone, not this account's, or closing already.
        """
        info = await self.info()
        channel = await self._own_channel(channel_id, signer)
        if channel.closing_at_s:
            raise WalletError("That channel is closing already.", code="bad_channel", fix="Wait for its delay to end.")
        return await self._sender.sign_and_submit(
            info, StartClose, 0, lambda _, __: StartClose(channel_id), bound=signer
        )

    async def expire(self, channel_id: int) -> SoftReceipt:
        """Take back the rest of a channel whose expiry or close delay has passed.

        Raises:
            WalletError: ``bad_channel`` if it is gone; ``too_early`` with the time left.
        """
        info = await self.info()
        channel = await self._channel(channel_id)
        over_at_s = min(channel.expiry_s, channel.closing_at_s or channel.expiry_s)
        # The sequencer's clock decides; this only avoids a request that it would certainly refuse.
        if info.l2_time_s < over_at_s:
            raise WalletError(
                "That channel's time has not run out yet.",
                code="too_early",
                fix=f"Try again in {over_at_s - info.l2_time_s} seconds.",
            )
        return await self._sender.submit(Expire(channel_id).encode())

    async def withdraw(
        self, amount_nano: int | None, to: bytes | None = None, *, max_fee_nano: int | None = None
    ) -> SoftReceipt:
        """Send money to L1; it can be claimed there once its batch is final.

        Args:
            amount_nano: How much, in whole units of the asset; ``None`` takes everything that the fee leaves, also of
                further accounts, rounded down to whole units.
            to: The L1 address; this account's own if not given.
            max_fee_nano: The most to pay as a fee.

        Returns:
            The promise; its ``allocated_index`` is the withdrawal's number.

        Raises:
            WalletError: ``bad_address``, ``bad_amount`` or ``no_funds``.
        """
        info = await self.info()
        recipient = self.address if to is None else checked_address(to)
        if amount_nano is not None:
            check_amount(amount_nano)
            check_whole_units(amount_nano, info.nano_per_unit)
        else:
            await self._sender.merge(info)

        def build(sender: AccountView, fee_nano: int) -> NoncedTx:
            most = min(sender.balance_nano - fee_nano, MAX_NANO)
            amount = most - most % info.nano_per_unit if amount_nano is None else amount_nano
            return Withdraw(sender.index, amount, fee_nano, recipient)

        return await self._sender.sign_and_submit(
            info, Withdraw, amount_nano or info.nano_per_unit, build, max_fee_nano=max_fee_nano
        )

    async def deposit(self, amount_nano: int, *, credit_timeout_s: float | None = None) -> str:
        """Move money from this address on L1 to its L2 account, which is credited a moment later.

        Args:
            amount_nano: How much.
            credit_timeout_s: Wait so long for L2 to credit it; ``None`` returns as soon as L1 has it.

        Returns:
            The L1 transaction's hash.

        Raises:
            WalletError: ``bad_amount``.
            ChainUnavailableError: ``not_included`` if L2 did not credit it in time; it is not lost.
        """
        info = await self.info()
        check_amount(amount_nano)
        views = await self._client.accounts_of(self.address)
        bridge = await open_bridge(info)
        try:
            l1_tx = await bridge.deposit(
                self._account.sign_l1_transaction,
                self.address,
                self.address,
                amount_nano,
                index_hint=views[0].index if views else None,
                sign_digest=self._account.sign_digest,
            )
        finally:
            await bridge.aclose()
        if credit_timeout_s is not None:
            await self._wait_for_balance(balance_of(views) + amount_nano, credit_timeout_s)
        return l1_tx

    async def faucet(self, *, timeout_s: float = 30.0) -> FaucetGrant:
        """Ask a devnet for test money, and wait until L2 has credited it.

        Raises:
            WalletError: ``no_faucet`` on a chain without one.
            ChainUnavailableError: ``not_included`` if it did not arrive in time.
        """
        info = await self.info()
        if not info.has_faucet:
            raise WalletError("This chain has no faucet.", code="no_faucet", fix="Deposit money from L1.")
        before_nano = await self.balance()
        grant = await self._client.faucet(self.address)
        await self._wait_for_balance(before_nano + grant.l2_amount_nano, timeout_s)
        return grant

    async def _wait_for_balance(self, least_nano: int, timeout_s: float) -> None:
        async def credited() -> bool | None:
            return balance_of(await self._client.accounts_of(self.address)) >= least_nano or None

        await poll(credited, timeout_s=timeout_s, message="The money has not arrived on L2 yet.")

    async def _ensure(self, address: bytes) -> AccountView:
        view = await self._client.account(checked_address(address))
        return view or await self._client.create_account(address)

    async def _channel(self, channel_id: int) -> ChannelView:
        channel = await self._client.channel(channel_id)
        if channel is None:
            raise WalletError(
                f"Channel {channel_id} is closed, or never was.", code="bad_channel", fix="List the open ones."
            )
        return channel

    async def _own_channel(self, channel_id: int, signer: bytes) -> ChannelView:
        channel = await self._channel(channel_id)
        if parse_address(channel.payer) != self.address:
            raise WalletError(f"Channel {channel_id} is paid by another wallet.", code="bad_channel")
        if parse_address(channel.signer) != signer:
            raise WalletError(
                f"The chain shows another channel as number {channel_id}.",
                code="bad_channel",
                fix="List the open ones: L1's history may have changed.",
            )
        return channel
