"""What a wallet pays for a transaction: the chain's quote, held against the wallet's own limit before it signs."""

from __future__ import annotations

from typing import Final

from chain.fees.prices import FEE_KINDS
from chain.money import format_usd
from chain.txs import OpenChannel, Withdraw
from chain.views import FeeQuote
from wallet.wallet_error import WalletError

MAX_FEE_NANO: Final = 100_000_000
"""Ten cents: no chain is paid more for one transaction without a person asking."""
MAX_LONG_FEE_NANO: Final = 1_000_000_000
"""A dollar, for what pays for later work on L1 too: a withdrawal's claim, or a channel's redeems."""
_LONG: Final = frozenset({Withdraw.KIND, OpenChannel.KIND})


def usual_limit_nano(kind: str) -> int:
    """The most that is paid for a kind of transaction without a person asking."""
    return MAX_LONG_FEE_NANO if kind in _LONG else MAX_FEE_NANO


def fee_of(quote: FeeQuote, kind: str, max_fee_nano: int | None = None) -> int:
    """What a transaction of a kind costs; 0 for one that carries no fee.

    Args:
        quote: What the chain asks for.
        kind: Of transaction, as ``KIND`` names it.
        max_fee_nano: The most that a person allows; the usual limit if not given.

    Raises:
        WalletError: ``absurd_fee`` if that is more than the limit.
    """
    if kind not in FEE_KINDS:
        return 0
    asked_nano = int(getattr(quote, f"{kind}_nano"))
    limit_nano = usual_limit_nano(kind) if max_fee_nano is None else max_fee_nano
    if not 0 <= asked_nano <= limit_nano:
        raise WalletError(
            f"The chain asks for a fee of {format_usd(asked_nano)}, more than the limit of {format_usd(limit_nano)}.",
            code="absurd_fee",
            fix="Try again later, use another chain, or allow more: --max-fee.",
        )
    return asked_nano
