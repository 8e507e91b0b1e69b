"""Money as integers of nano (10⁻⁹ of a dollar-like asset): parsing, showing, and the units' ratios."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

from chain.errors import UsageError

NANO_PER_USD = 1_000_000_000
"""Nano in one unit of the settlement asset."""

ASSET_WEI_PER_NANO = 1_000_000_000
"""Smallest units of the 18-decimal asset in one nano."""

MAX_NANO = 2**64 - 1
"""L2 amounts travel as u64."""


def parse_usd(text: str) -> int:
    """Read a dollar amount such as ``0.10`` or ``$1,250`` as nano.

    Raises:
        UsageError: If it is not a plain non-negative decimal number, has more than nine decimals, or exceeds u64 nano.
    """
    cleaned = text.strip().removeprefix("$").replace(",", "").replace("_", "")
    try:
        amount = Decimal(cleaned)
    except InvalidOperation:
        raise UsageError("That is not an amount of dollars.", fix="Write a number such as 0.10.") from None
    if not amount.is_finite() or amount < 0 or amount > MAX_NANO // NANO_PER_USD:
        raise UsageError("That amount is out of range.", fix="Write a number of dollars from 0 up.")
    nano = amount * NANO_PER_USD
    if nano != nano.to_integral_value():
        raise UsageError("That amount is finer than a nano-dollar.", fix="Use at most nine decimals.")
    return int(nano)


def format_usd(amount_nano: int, *, min_decimals: int = 2) -> str:
    """Show nano as dollars, exactly, with at least ``min_decimals`` and no needless zeros.

    ``$0.10``, ``-$0.0000042``.
    """
    sign = "-" if amount_nano < 0 else ""
    whole, fraction = divmod(abs(amount_nano), NANO_PER_USD)
    digits = f"{fraction:09d}".rstrip("0").ljust(min_decimals, "0")
    return f"{sign}${whole:,}.{digits}" if digits else f"{sign}${whole:,}"
