"""Where an engine stands."""

from __future__ import annotations

from typing import Literal

import msgspec

StateName = Literal["starting", "ready", "restarting", "failed", "closed"]


class EngineState(msgspec.Struct, frozen=True):
    """Where an engine stands, and why in one line."""

    name: StateName
    why: str = ""
