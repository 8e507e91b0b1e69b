"""Every limit of a node that is no setting."""

from __future__ import annotations

from typing import Final

import msgspec

from node.buyer.limits import BuyerLimits
from node.machine.timing import MachineTiming
from node.market.clock import ClockLimits
from node.provider.limits import ProviderLimits
from node.rollup.timing import L1Timing


class NodeLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of a node's parts. Nobody has had to set one, so ``config.toml`` has none of them."""

    buyer: BuyerLimits = BuyerLimits()
    provider: ProviderLimits = ProviderLimits()
    l1: L1Timing = L1Timing()
    machine: MachineTiming = MachineTiming()
    clock: ClockLimits = ClockLimits()


NODE_LIMITS: Final = NodeLimits()
