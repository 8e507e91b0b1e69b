"""Withdrawing at once: the claim is offered for sale, and whoever pays it out now gets it when it is final."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from chain.errors import ChainRejectedError, ChainUnavailableError
from chain.money import MAX_NANO, format_usd
from chain.orders import SignedOrder, WithdrawalOrder, claim_key
from chain.replay import rules_of
from chain.retry import poll
from chain.txs import Withdraw
from chain.types import Withdrawal
from chain.views import WithdrawalView
from wallet.account import UnlockedAccount
from wallet.attesters import AttestationReader, Vouching
from wallet.service import WalletService
from wallet.steps import StepState, WithdrawalStep, doing, done, waiting
from wallet.wallet_error import WalletError

if TYPE_CHECKING:
    from chain.client import RollupClient
    from chain.l1.fast import Sale
    from chain.l1.rollup_l1 import JsonRpcRollupL1

POLL_S = 0.5
BATCHED_TIMEOUT_S = 120.0
MAX_WITHIN_S = 24 * 3600


async def fast_withdraw(
    l1: JsonRpcRollupL1,
    client: RollupClient,
    service: WalletService,
    amount_nano: int | None,
    max_fee_nano: int,
    *,
    within_s: int,
    poll_s: float = POLL_S,
) -> AsyncIterator[WithdrawalStep]:
    """Withdraw to the wallet's own address, sell the claim, and say each step.

    The last step is ``sold`` and done where somebody bought it, else ``claim`` and waiting: it goes the usual way.

    Args:
        l1: The rollup's contracts: what is sold is read there.
        client: The RPC with the board of offers.
        service: The wallet.
        amount_nano: How much; ``None`` takes everything.
        max_fee_nano: All that it may cost: the rollup's fee, and what a buyer may keep of the rest.
        within_s: How long the fee rises and the offer stands.
        poll_s: How often L1 is asked whether it was bought.

    Raises:
        WalletError: ``bad_amount`` before anything is signed, if fee or time make no sense, or the rollup's own fee
            leaves nothing for a buyer; and as `WalletService.withdraw`.
        ChainUnavailableError: If L1 or the RPC doesn't answer; the withdrawal goes on without this program.
        ChainRejectedError: As they refuse.
    """
    _check(amount_nano, max_fee_nano, within_s)
    left_nano = await _left_for_buyers(service, amount_nano, max_fee_nano)
    attesters = AttestationReader(l1, client)
    yield await _quote(l1, attesters, left_nano, within_s)
    # The fee may rise until it is signed, within the same limit.
    receipt = await service.withdraw(amount_nano, max_fee_nano=max_fee_nano - 1)
    max_fee_nano -= receipt.fee_nano
    yield done("withdraw", f"Withdrawal {receipt.l2_tx} is on the rollup.")
    view = await _batched(client, service.address, receipt.l2_tx)
    if amount_nano is not None and view.amount_nano != amount_nano:
        raise ChainUnavailableError("The chain tells of another amount than was withdrawn.", code="chain_bad_answer")
    vouched = await _vouched(l1, attesters)
    yield done("batch", f"Its batch is on L1; {_said(vouched)}.")
    if view.amount_nano < max_fee_nano:
        raise WalletError(
            "The fee would be more than the withdrawal.", code="bad_amount", fix="Give a lower --max-fee."
        )
    signed = await _sign(l1, service.account, view, max_fee_nano, within_s)
    yield doing("offer", f"Offered for at most {format_usd(max_fee_nano)}; the fee rises over {within_s} s.")
    sale = await _sold(l1, client, signed, poll_s)
    if sale is not None:
        text = (
            f"Sold: {format_usd(sale.amount_nano - sale.fee_nano)} paid on L1 for a fee of {format_usd(sale.fee_nano)}."
        )
        yield WithdrawalStep(
            key="sold",
            state=StepState.DONE,
            text=text,
            l1_tx="0x" + sale.l1_tx.hex(),
            amount_nano=sale.amount_nano - sale.fee_nano,
            fee_nano=sale.fee_nano,
        )
        return
    text = f"Nobody took it for at most {format_usd(max_fee_nano)}: it is paid the usual way, once its batch is final."
    yield waiting("claim", text, view.final_at_s)


def _check(amount_nano: int | None, max_fee_nano: int, within_s: int) -> None:
    if max_fee_nano <= 0 or (amount_nano is not None and max_fee_nano > amount_nano):
        raise WalletError(
            "The highest fee must be above zero and no more than the amount.",
            code="bad_amount",
            fix="Give another --max-fee.",
        )
    if not 0 < within_s <= MAX_WITHIN_S:
        raise WalletError(
            "An offer stands for a second to a day.", code="bad_amount", fix=f"Give --within 1 to {MAX_WITHIN_S}."
        )


async def _left_for_buyers(service: WalletService, amount_nano: int | None, max_fee_nano: int) -> int:
    """What the rollup's fee leaves of the highest fee."""
    fee_nano = await service.fee(Withdraw, max_fee_nano=MAX_NANO)
    if fee_nano >= max_fee_nano:
        raise WalletError(
            f"The rollup's own fee is {format_usd(fee_nano)}, so that {format_usd(max_fee_nano)} leaves nothing for "
            "whoever pays the withdrawal out now.",
            code="bad_amount",
            fix="Give a higher --max-fee, or leave --fast away.",
        )
    if amount_nano is None and await service.balance() < max_fee_nano:
        raise WalletError(
            "The fee could be more than the withdrawal.", code="bad_amount", fix="Give a lower --max-fee."
        )
    return max_fee_nano - fee_nano


async def _quote(l1: JsonRpcRollupL1, attesters: AttestationReader, max_fee_nano: int, within_s: int) -> WithdrawalStep:
    window_s = (await l1.deployment()).challenge_window_s
    text = (
        f"For a fee that rises from nothing to {format_usd(max_fee_nano)} over {within_s} s; "
        f"the usual way it is final about {window_s} s after its batch, and {_said(await _vouched(l1, attesters))}."
    )
    return done("quote", text)


async def _vouched(l1: JsonRpcRollupL1, attesters: AttestationReader) -> Vouching:
    """Who vouches for the newest batch; nobody, where the board can't be asked."""
    newest = await l1.batch_count() - 1
    try:
        return await attesters.behind(newest) if newest >= 0 else Vouching()
    except ChainRejectedError:
        return Vouching()


def _said(vouching: Vouching) -> str:
    if not vouching.attesters:
        return "no bonded watchtower vouches for what stands now"
    count = (
        "1 bonded watchtower vouches" if vouching.attesters == 1 else f"{vouching.attesters} bonded watchtowers vouch"
    )
    return f"{count} for what stands now, with {vouching.bonded_wei / 10**18:g} ether"


async def _batched(client: RollupClient, recipient: bytes, l2_tx: str) -> WithdrawalView:
    async def found() -> WithdrawalView | None:
        views = await client.withdrawals_of(recipient)
        return next((view for view in views if view.l2_tx == l2_tx and view.final_at_s is not None), None)

    return await poll(found, timeout_s=BATCHED_TIMEOUT_S, message="The withdrawal's batch isn't on L1 yet.")


async def _sign(
    l1: JsonRpcRollupL1, account: UnlockedAccount, view: WithdrawalView, max_fee_nano: int, within_s: int
) -> SignedOrder:
    # The number and the nonce come from the RPC. If they are another withdrawal's, that one is this wallet's too, and
    # of the same amount: nothing else can be sold by this signature.
    sold = Withdrawal(
        recipient=account.address, amount_nano=view.amount_nano, account=view.account_index, nonce=view.nonce
    )
    start_s = await l1.time_s()
    order = WithdrawalOrder(withdrawal=sold, max_fee_nano=max_fee_nano, start_s=start_s, deadline_s=start_s + within_s)
    domain = rules_of(await l1.deployment()).domain
    return SignedOrder(order=order, signature=account.sign_digest(order.digest(domain)))


async def _sold(l1: JsonRpcRollupL1, client: RollupClient, signed: SignedOrder, poll_s: float) -> Sale | None:
    """Keep it on the board until somebody bought it, or its time is over."""
    key, from_block = claim_key(signed.order.withdrawal), await l1.block_number()
    while True:
        buyer = await l1.claimant(key)
        if buyer is not None:
            return await l1.sale(buyer, key, from_block=from_block)
        if await l1.time_s() > signed.order.deadline_s:
            return None
        try:
            # Again and again: the board may have forgotten it.
            await client.offer_withdrawal(signed)
        except ChainUnavailableError:
            pass  # A board that is away for a moment; the offer's time goes on.
        except ChainRejectedError as error:
            if error.code == "already_claimed":
                return None
            if error.code not in ("order_over", "board_full"):
                raise
        await asyncio.sleep(poll_s)
