"""What a person set about power and availability, as ``config.toml`` has it: checked on reading, light to import."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

import msgspec

from node.hardware.tariff import PartRule, tariff
from node.hardware.week import parse_spans

Watts = Annotated[float, msgspec.Meta(ge=1, le=100_000)]
Percent = Annotated[float, msgspec.Meta(ge=0, le=100)]
ProcessName = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class EnergyRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[energy]``: what power costs, and what the hardware takes where nothing measures it.

    Raises:
        HoursError: If a price or hours can't be used, or parts overlap.
    """

    price_per_kwh: Decimal | None = None
    """Dollars a kilowatt-hour, 0 to 100. If not set, 0.30 is assumed and marked so, and no price is refused for it."""
    tariff: tuple[PartRule, ...] = ()
    """``[[energy.tariff]]`` entries: ``from``, ``to``, ``price_per_kwh``, and ``days`` such as ``mon-fri`` on which
    they begin. They must not overlap."""
    cpu_w: Watts | None = None
    """What the processor takes at full load, where nothing measures it. If not set: 10 W and 7.5 W a core."""
    gpu_w: Watts | None = None
    """What a GPU takes at full load, where nothing measures it. If not set: its power limit, else 150 W."""

    def __post_init__(self) -> None:
        tariff(self.price_per_kwh, self.tariff)


class AvailabilityRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[availability]``: when the machine is somebody else's.

    Raises:
        HoursError: If hours can't be read.
    """

    enabled: bool = True
    """Whether these rules are used at all."""
    hours: tuple[str, ...] = ()
    """When to rent out, in local time: ``"22:00-06:00"``, ``"mon-fri 18:00-08:00"``, ``"sat,sun"``. Empty: always."""
    quiet_hours: tuple[str, ...] = ()
    """When not to rent out, written the same way."""
    max_temperature_c: Annotated[float, msgspec.Meta(ge=30, le=120)] | None = None
    """Pause above this, on any device. The node goes on at 5 °C less."""
    max_power_w: Watts | None = None
    """Pause above this, for all devices together that report it. The node goes on at 70 % of it."""
    pause_for: Annotated[tuple[ProcessName, ...], msgspec.Meta(max_length=64)] = ()
    """Pause while one of these programs runs; names with or without ``.exe``."""
    foreign_gpu_percent: Percent = 30.0
    """Pause when another program uses this much of a GPU (NVIDIA; elsewhere a busy GPU while no job runs); 0 for
    never."""
    foreign_cpu_percent: Percent = 0.0
    """Pause when other programs use this much of the processor; 0 for never."""
    person_idle_minutes: Annotated[float, msgspec.Meta(ge=0, le=1_440)] = 0.0
    """Pause until the last key or click is so many minutes old; 0 for never."""
    resume_after_s: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 60.0
    """How long the machine must have been free before the model is loaded again. A pause for the hour or
    for a person ends without this wait."""

    def __post_init__(self) -> None:
        parse_spans(self.hours, "availability.hours")
        parse_spans(self.quiet_hours, "availability.quiet_hours")
