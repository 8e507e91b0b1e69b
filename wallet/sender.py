"""Submitting signed transactions: checks funds first, keeps nonces in order, survives outages and other signers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace

from chain.eip712 import SigningDomain
from chain.errors import ChainRejectedError, ChainUnavailableError
from chain.logs import get_logger
from chain.money import MAX_NANO, format_usd
from chain.retry import retry
from chain.rpc.wire import bad_answer
from chain.tx_format import NoncedTx
from chain.txs import Transfer, tx_id
from chain.views import AccountView, ChainInfo, SoftReceipt
from wallet.account import UnlockedAccount
from wallet.accounts import Merged, merge, spendable_of
from wallet.addresses import ADDRESS_BYTES
from wallet.fees import fee_of
from wallet.wallet_error import WalletError

if TYPE_CHECKING:
    from chain.client import RollupClient

log = get_logger(__name__)

SUBMIT_ATTEMPTS = 3
"""The same bytes are handed in again after an outage: the sequencer answers them with the same receipt."""

NONCE_ATTEMPTS = 3
"""Another program may sign with the same wallet; then the nonce is read again."""

_RETRY_PAUSE_S = 0.2
_RETRY_PAUSE_MAX_S = 1.0


class TxSender:
    """Hands in one account's transactions, those with a nonce one at a time.

    Args:
        account: Signs.
        client: The rollup's RPC.
    """

    def __init__(self, account: UnlockedAccount, client: RollupClient) -> None:
        self._account = account
        self._client = client
        self._nonces = asyncio.Lock()

    async def sign_and_submit(
        self,
        info: ChainInfo,
        kind: type[NoncedTx],
        amount_nano: int,
        build: Callable[[AccountView, int], NoncedTx],
        *,
        bound: bytes = b"",
        max_fee_nano: int | None = None,
    ) -> SoftReceipt:
        """Sign for the account's present nonce and hand in; one at a time, since each uses the next nonce.

        Args:
            info: The chain as just read, with what it asks for.
            kind: What is built.
            amount_nano: What the account must hold beside the fee.
            build: Makes the transaction for the account as it is then, and for a fee.
            bound: The address that the transaction's number must name, from whoever meant it and never from the chain;
                empty where its kind binds none.
            max_fee_nano: The most to pay for it; the usual limit if not given.

        Returns:
            The promise, with the fee that was paid.

        Raises:
            WalletError: ``no_funds``, ``absurd_fee`` or ``unconfirmed``.
        """
        async with self._nonces:
            signed_nonce, fee_nano, has_risen = -1, fee_of(info.fees, kind.KIND, max_fee_nano), False
            for attempt in range(1, NONCE_ATTEMPTS + 1):
                view = await self._funded(info, amount_nano + fee_nano)
                if view.nonce <= signed_nonce:
                    break
                tx, nonce = build(view, fee_nano), view.nonce
                signature = self._account.sign_digest(tx.digest(domain_of(info), nonce, bound))
                try:
                    receipt = await self.submit(tx.encode(signature))
                    return replace(receipt, fee_nano=fee_nano)
                except ChainRejectedError as error:
                    if error.code == "fee_too_low" and not has_risen and attempt < NONCE_ATTEMPTS:
                        # It rose since it was asked; paid once more, and within the same limit.
                        fee_nano, has_risen = fee_of(await self._client.fees(), kind.KIND, max_fee_nano), True
                        continue
                    # A refused transaction may still be taken later, unless another one has used its nonce.
                    if error.code != "bad_signature" or attempt == NONCE_ATTEMPTS:
                        raise
                    signed_nonce = nonce
            raise WalletError(
                "The chain refuses this wallet's signature.",
                code="foreign_chain",
                fix="Check which chain it is, and whether it names the right accounts.",
            )

    async def merge(self, info: ChainInfo, *, enough_nano: int | None = None) -> Merged:
        """Move the money of this address's further accounts into the first; each transfer costs the fee.

        Args:
            info: The chain as just read.
            enough_nano: Stop once the first account holds so much.

        Raises:
            WalletError: ``absurd_fee`` or ``unconfirmed``.
        """
        async with self._nonces:
            return await self._merge(info, await self._client.accounts_of(self._account.address), enough_nano)

    async def _merge(self, info: ChainInfo, views: list[AccountView], enough_nano: int | None) -> Merged:
        async def send(view: AccountView, tx: Transfer) -> SoftReceipt:
            signature = self._account.sign_digest(tx.digest(domain_of(info), view.nonce, self._account.address))
            return await self.submit(tx.encode(signature))

        merged = await merge(views, fee_of(info.fees, Transfer.KIND), send, enough_nano=enough_nano)
        if merged.accounts:
            accounts, moved_nano, fees_nano = len(merged.accounts), merged.moved_nano, merged.fees_nano
            log.info("accounts_merged", accounts=accounts, moved_nano=moved_nano, fees_nano=fees_nano)
        return merged

    async def _funded(self, info: ChainInfo, needed_nano: int) -> AccountView:
        """The first account, with enough in it: further accounts are emptied into it where that makes it enough.

        Raises:
            WalletError: ``no_funds``.
        """
        views = await self._client.accounts_of(self._account.address)
        if views and views[0].balance_nano < needed_nano <= spendable_of(views, fee_of(info.fees, Transfer.KIND)):
            await self._merge(info, views, needed_nano)
            views = await self._client.accounts_of(self._account.address)
        _check_funds(info, views, needed_nano)
        return views[0]

    async def submit(self, raw_tx: bytes) -> SoftReceipt:
        """Hand in a transaction's bytes, again after an outage; it is executed once.

        Raises:
            WalletError: ``unconfirmed`` if the chain stopped answering.
            ChainRejectedError: If it was refused.
        """
        try:
            return await retry(
                partial(self._client.submit, raw_tx),
                on=(ChainUnavailableError,),
                wait_s=_RETRY_PAUSE_S,
                max_wait_s=_RETRY_PAUSE_MAX_S,
                attempts=SUBMIT_ATTEMPTS,
            )
        except ChainUnavailableError as error:
            raise WalletError(
                "The chain stopped answering, so it is not known whether it took the transaction.",
                code="unconfirmed",
                fix=f"Before trying again, look for transaction 0x{tx_id(raw_tx).hex()}.",
            ) from error


def domain_of(info: ChainInfo) -> SigningDomain:
    """What this chain's signatures are bound to.

    Raises:
        ChainUnavailableError: If the chain describes none.
    """
    try:
        return SigningDomain.of_texts(info.l1_chain_id, info.rollup_address, info.deployment_salt)
    except ValueError:
        raise bad_answer() from None


def check_amount(amount_nano: int) -> None:
    """Refuse amounts that can't be moved.

    Raises:
        WalletError: ``bad_amount``.
    """
    if not 0 < amount_nano <= MAX_NANO:
        raise WalletError("That amount can't be moved.", code="bad_amount", fix="Give an amount above zero.")


def check_whole_units(amount_nano: int, nano_per_unit: int) -> None:
    """Refuse to withdraw what L1 can't pay: an asset such as USDC has units of a thousand nano.

    Raises:
        WalletError: ``not_whole_units``, with the nearest amount that is whole.
    """
    rest_nano = amount_nano % nano_per_unit
    if rest_nano:
        raise WalletError(
            "L1 pays whole units of the asset, and that amount is finer.",
            code="not_whole_units",
            fix=f"Give whole units of {format_usd(nano_per_unit)}, such as {format_usd(amount_nano - rest_nano)}.",
        )


def checked_address(address: bytes) -> bytes:
    """The same address.

    Raises:
        WalletError: ``bad_address`` if nobody can own it.
    """
    if len(address) != ADDRESS_BYTES or not any(address):
        raise WalletError("That is not an address to send money to.", code="bad_address")
    return address


def _check_funds(info: ChainInfo, views: list[AccountView], needed_nano: int) -> None:
    if views and views[0].balance_nano >= needed_nano:
        return
    held_nano = spendable_of(views, fee_of(info.fees, Transfer.KIND))
    missing_nano = max(needed_nano - held_nano, 0)
    fix = "Get test money: idlewatt wallet faucet." if info.has_faucet else "Deposit from L1: idlewatt wallet deposit."
    raise WalletError(
        f"Not enough money: the wallet holds {format_usd(held_nano)} and this needs {format_usd(needed_nano)}, "
        f"{format_usd(missing_nano)} more.",
        code="no_funds",
        fix=fix,
    )
