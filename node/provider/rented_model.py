"""What a node rents out, as screens and commands see it."""

from __future__ import annotations

import msgspec

from node.provider.earnings import Earnings
from node.provider.host import ProviderHost
from node.provider.session_manager import ServiceSpeed
from node.values import Prices, ProviderView


def loaded_view(
    host: ProviderHost, prices: Prices, speed: ServiceSpeed, earnings: Earnings, engine_state: str
) -> ProviderView:
    """A loaded model, with what it has earned."""
    info = host.info
    return ProviderView(
        model=info.model_name,
        model_sha256=info.model_sha256,
        quantization=info.quantization,
        context_length=info.context_length,
        prices=prices,
        slots=info.slots,
        free_slots=host.slots.free,
        tokens_per_s=speed.tokens_per_s,
        ttft_ms=speed.ttft_ms,
        engine_state=engine_state,
        earned_today_nano=earnings.earned_today_nano,
        earned_total_nano=earnings.earned_total_nano,
        jobs_today=earnings.jobs_today,
        claimable_nano=earnings.claimable_nano,
    )


def resting_view(before: ProviderView, prices: Prices, earnings: Earnings, engine_state: str) -> ProviderView:
    """What was rented out before a pause, with what was earned since."""
    return msgspec.structs.replace(
        before,
        prices=prices,
        free_slots=0,
        engine_state=engine_state,
        earned_today_nano=earnings.earned_today_nano,
        earned_total_nano=earnings.earned_total_nano,
        jobs_today=earnings.jobs_today,
        claimable_nano=earnings.claimable_nano,
    )
