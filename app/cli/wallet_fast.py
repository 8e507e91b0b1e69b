"""``idlewatt wallet withdraw --fast``: the withdrawal's claim for sale, and which way the money came."""

from __future__ import annotations

from app.cli.common import emit
from app.cli.wallet_moves import told
from chain.errors import UsageError
from node.api import NodeApi
from node.values import format_usd

DEFAULT_WITHIN_S = 60
"""How long the fee rises and the offer stands, unless told otherwise."""


def check_fast(*, fast: bool, max_fee_nano: int | None, within_s: int | None, to: str, wait: bool) -> None:
    """Make sure that the options of a fast withdrawal go together.

    Raises:
        UsageError: If they don't.
    """
    if not fast:
        if within_s is not None:
            raise UsageError("--within belongs to --fast.", fix="Add --fast, or leave it away.")
        return
    if max_fee_nano is None:
        raise UsageError("--fast needs to know what it may cost.", fix="Give --max-fee with an amount in dollars.")
    if to or wait:
        raise UsageError(
            "--fast pays the wallet's own address, and always waits.",
            fix="Leave --to and --wait away: only the recipient's own signature sells the claim.",
        )


async def withdraw_fast(
    node: NodeApi, wallet_id: str, amount: int, max_fee_nano: int, within_s: int, *, as_json: bool
) -> None:
    """Withdraw, offer the claim, and say which way the money comes.

    Args:
        node: Has the wallet.
        wallet_id: The wallet.
        amount: In nano; -1 for everything.
        max_fee_nano: All that it may cost, the rollup's own fee included.
        within_s: How long the offer stands.
        as_json: Whether programs read the answer.
    """
    amount_nano = None if amount < 0 else amount
    steps = await told(node.fast_withdraw(wallet_id, amount_nano, max_fee_nano, within_s=within_s))
    sold = next((step for step in steps if step.key == "sold"), None)
    paid_nano, fee_nano = (sold.amount_nano or 0, sold.fee_nano or 0) if sold else (0, 0)
    if sold is not None:
        text = f"{format_usd(paid_nano)} arrived on L1 the fast way, for a fee of {format_usd(fee_nano)}."
    else:
        text = "It comes the usual way: it is paid on L1 once its batch is final."
    way = "fast" if sold else "usual"
    emit({"way": way, "paid_nano": paid_nano, "fee_nano": fee_nano, "steps": steps}, as_json=as_json, text=text)
