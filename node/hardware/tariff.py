"""What a kilowatt-hour costs, by the hour of the week; money in integers of nano."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import tzinfo
from decimal import Decimal
from typing import Final

import msgspec

from chain.money import NANO_PER_USD
from node.hardware.week import HoursError, Span, Week, hours, parse_days

MILLIJOULES_PER_KWH: Final = 3_600_000_000
MAX_USD_PER_KWH: Final = 100
ASSUMED_NANO_PER_KWH: Final = 300_000_000
"""The price of a kilowatt-hour (0.30 USD) when none is set; every figure made with it says that it is assumed."""
MAX_PARTS: Final = 48


class Part(msgspec.Struct, frozen=True):
    """Hours with a price of their own."""

    span: Span
    nano_per_kwh: int


@dataclass(frozen=True)
class Tariff:
    """A price for every minute of the week. Made by :func:`tariff`; parts never overlap."""

    base_nano_per_kwh: int = ASSUMED_NANO_PER_KWH
    parts: tuple[Part, ...] = ()
    is_assumed: bool = True
    _weeks: tuple[Week, ...] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_weeks", tuple(Week([part.span]) for part in self.parts))

    def nano_per_kwh(self, at_s: float, zone: tzinfo | None = None) -> int:
        """The price at a moment (seconds UTC), by the clock on the wall of ``zone`` or of this machine."""
        for part, week in zip(self.parts, self._weeks, strict=True):
            if week.holds(at_s, zone):
                return part.nano_per_kwh
        return self.base_nano_per_kwh

    @property
    def highest_nano_per_kwh(self) -> int:
        """The price of the dearest hour: what a floor has to bear."""
        return max((self.base_nano_per_kwh, *(part.nano_per_kwh for part in self.parts)))


class PartRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One ``[[energy.tariff]]`` of ``config.toml``."""

    start: str = msgspec.field(name="from")
    """When it begins, ``22:00``."""
    to: str
    """When it ends, ``06:00``."""
    price_per_kwh: Decimal
    """Dollars a kilowatt-hour then."""
    days: str = "mon-sun"
    """The days on which it begins."""


def tariff(price_per_kwh: Decimal | None, rules: Sequence[PartRule] = ()) -> Tariff:
    """A tariff from settings.

    Raises:
        HoursError: If a price or hours can't be used, parts overlap, or there is no price for the other hours.
    """
    if price_per_kwh is None:
        if rules:
            raise HoursError(
                "The setting energy.tariff needs energy.price_per_kwh for the other hours.",
                fix="Set price_per_kwh in [energy].",
            )
        return Tariff()
    if len(rules) > MAX_PARTS:
        raise HoursError(f"The setting energy.tariff has more than {MAX_PARTS} entries.", fix="Join some.")
    parts = tuple(_part(rule) for rule in rules)
    owner: dict[int, int] = {}
    for index, part in enumerate(parts):
        for minute in part.span.minutes():
            other = owner.setdefault(minute, index)
            if other != index:
                raise HoursError(
                    f"The tariffs from {rules[other].start[:8]} and from {rules[index].start[:8]} overlap.",
                    fix="End one where the other begins.",
                )
    base = _price(price_per_kwh, "energy.price_per_kwh")
    return Tariff(base_nano_per_kwh=base, parts=parts, is_assumed=False)


def _part(rule: PartRule) -> Part:
    key = "energy.tariff"
    span = hours(parse_days(rule.days, key), rule.start, rule.to, key)
    return Part(span, _price(rule.price_per_kwh, f"{key}.price_per_kwh"))


def _price(usd: Decimal, key: str) -> int:
    if not usd.is_finite() or not 0 <= usd <= MAX_USD_PER_KWH:
        raise HoursError(
            f"The setting {key} is not a price from 0 to {MAX_USD_PER_KWH} dollars.", fix="Write it as 0.30."
        )
    nano = usd * NANO_PER_USD
    if nano != nano.to_integral_value():
        raise HoursError(f"The setting {key} is finer than a nano-dollar.", fix="Use at most nine decimals.")
    return int(nano)


def cost_nano(millijoule_nano: int) -> int:
    """Nano for a sum of (millijoules x nano a kilowatt-hour), rounded up: a cost is never shown smaller than it is."""
    return -(-millijoule_nano // MILLIJOULES_PER_KWH)
