"""Money as integers of nano (10⁻⁹ of a dollar-like asset): parsing, showing, and the units' ratios."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

import msgspec

from chain.errors import ChainRejectedError, UsageError

NANO_PER_USD = 1_000_000_000
"""Nano in one unit of the settlement asset."""

ASSET_WEI_PER_NANO = 1_000_000_000
"""Smallest units of the 18-decimal asset in one nano."""

MAX_NANO = 2**64 - 1
"""L2 amounts travel as u64."""


class AssetUnits(msgspec.Struct, frozen=True, kw_only=True):
    """How an asset's smallest units and nano convert: one of the two numbers is 1."""

    units_per_nano: int = ASSET_WEI_PER_NANO
    nano_per_unit: int = 1
    """Above 1 for assets with fewer than nine decimals: 1,000 for USDC's six."""

    def nano_of(self, units: int) -> int:
        """So many units in nano, rounded down."""
        return units * self.nano_per_unit // self.units_per_nano

    def units_of(self, amount_nano: int) -> int:
        """An amount in units, rounded down, as the rollup pays it out."""
        return amount_nano * self.units_per_nano // self.nano_per_unit

    def checked_units_of(self, amount_nano: int) -> int:
        """An amount in units.

        Raises:
            ChainRejectedError: ``not_whole_units``, with the nearest amount that is whole.
        """
        if amount_nano % self.nano_per_unit:
            whole = format_usd(amount_nano - amount_nano % self.nano_per_unit)
            raise ChainRejectedError(
                "That amount is finer than the asset's smallest unit.",
                code="not_whole_units",
                fix=f"Give whole units of {format_usd(self.nano_per_unit)}, such as {whole}.",
            )
        return self.units_of(amount_nano)


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
