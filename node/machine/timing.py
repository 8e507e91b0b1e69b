"""How often a node looks at its machine."""

from __future__ import annotations

from typing import Final

import msgspec


class MachineTiming(msgspec.Struct, frozen=True, kw_only=True):
    """When devices, programs and people are looked at."""

    devices_s: float = 2.0
    """How often devices and processes are read."""
    first_reading_s: float = 10.0
    """How long going online waits for the first reading, so that a price below its power is refused."""
    last_reading_s: float = 10.0
    """How long the last reading may take when the node ends. It covers jobs that just ended."""
    rules_s: float = 1.0
    """How often it is decided whether the machine is somebody else's."""
    presence_s: float = 3.0
    """How often the desktop is asked for its last input. Each question starts a process."""


MACHINE_TIMING: Final = MachineTiming()
