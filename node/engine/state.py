"""The state of an engine."""

from __future__ import annotations

from typing import Literal

import msgspec

StateName = Literal["starting", "ready", "restarting", "failed", "closed"]


class EngineState(msgspec.Struct, frozen=True):
    """What an engine does now, and why in one line."""

    name: StateName
    why: str = ""
