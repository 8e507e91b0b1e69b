"""Money moves that tests need and no command offers, made of what the wallet has."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from chain.client import RollupClient
from chain.retry import poll
from chain.txs import Transfer
from chain.views import SoftReceipt, WithdrawalView
from tests.patience import PATIENCE_S
from wallet.l1 import open_bridge
from wallet.money import MoneyTimeline, build_timeline
from wallet.sender import TxSender
from wallet.service import WalletService
from wallet.trust import UNCHECKED


async def transfer(wallet: WalletService, client: RollupClient, to: bytes, amount_nano: int) -> SoftReceipt:
    """Pay another address on L2; it gets an account if it has none."""
    info = await wallet.info()
    receiver = await client.account(to) or await client.create_account(to)
    return await TxSender(wallet.account, client).sign_and_submit(
        info,
        Transfer,
        amount_nano,
        lambda sender, fee_nano: Transfer(sender.index, receiver.index, amount_nano, fee_nano),
        bound=to,
    )


async def claimed(client: RollupClient, recipient: bytes, l2_tx: str) -> WithdrawalView:
    """Wait until a withdrawal was paid on L1."""

    async def paid() -> WithdrawalView | None:
        views = await client.withdrawals_of(recipient)
        return next((view for view in views if view.l2_tx == l2_tx and view.claim_l1_tx is not None), None)

    return await poll(paid, timeout_s=PATIENCE_S, message="The withdrawal was not paid on L1 in time.")


async def timeline_of(
    wallet: WalletService,
    client: RollupClient,
    *,
    signed_nano: Mapping[int, int] | None = None,
    vouchers_nano: Mapping[int, int] | None = None,
) -> MoneyTimeline:
    """Where a wallet's money is."""
    bridge = await open_bridge(await wallet.info())
    try:
        l1_nano = await bridge.asset_balance_nano(wallet.address)
    finally:
        await bridge.aclose()
    return build_timeline(
        wallet.address,
        [(view, UNCHECKED) for view in await client.accounts_of(wallet.address)],
        await client.channels_of(wallet.address),
        await client.withdrawals_of(wallet.address),
        signed_nano=signed_nano or {},
        vouchers_nano=vouchers_nano or {},
        l1_nano=l1_nano,
    )


async def until(is_so: Callable[[], Awaitable[bool]], message: str) -> None:
    """Wait until the chain says so."""

    async def answer() -> bool | None:
        return await is_so() or None

    await poll(answer, timeout_s=PATIENCE_S, message=message)
