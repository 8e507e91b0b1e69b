"""Suggests a price and knows its floor, from the cost of power and from other offers, once a minute."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

from chain.errors import IdlewattError
from chain.logs import get_logger
from chain.money import format_usd
from node.engine.protocol import EngineInfo
from node.hardware.energy import TokenEnergy
from node.machine.energy_meter import EnergyMeter
from node.machine.timing import MachineTiming
from node.market.price_advice import advise, below_floor, check_price
from node.runtime.events import EventBus
from node.runtime.settings import NodeSettings
from node.values import OfferView, PriceAdvice, Prices, ProviderView

log = get_logger(__name__)

ASK_S: Final = 60.0
MARKET_TIMEOUT_S: Final = 5.0
_PROCESSORS: Final = frozenset({"cpu"})


class PriceAdvisor:
    """Suggests prices, and refuses a price below the cost of power.

    Args:
        settings: Default prices, and whether selling below cost is allowed.
        energy: The energy of a token, and the cost of power.
        market: Reads the verified offers.
        events: Told when the advice changes.
        timing: How long the first reading of the hardware may take.
    """

    def __init__(
        self,
        settings: NodeSettings,
        energy: EnergyMeter,
        market: Callable[[], Awaitable[tuple[OfferView, ...]]],
        events: EventBus,
        timing: MachineTiming,
    ) -> None:
        self._timing = timing
        self._settings = settings
        self._energy = energy
        self._market = market
        self._events = events
        self._info: EngineInfo | None = None
        self._tokens_per_s = 0.0
        self._offers: tuple[OfferView, ...] = ()
        self.advice: PriceAdvice | None = None
        self._due = asyncio.Event()

    async def run(self, provider: Callable[[], ProviderView | None]) -> None:
        """Renew the advice until cancelled.

        Args:
            provider: What is rented out at this moment.
        """
        while True:
            if self._info is not None and provider() is not None:
                await self._read_market()
                rented = provider()
                if rented is not None:
                    self._tokens_per_s = rented.tokens_per_s
                await self._renew()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ASK_S):
                    await self._due.wait()
            self._due.clear()

    async def check(self, info: EngineInfo, prices: Prices, tokens_per_s: float) -> None:
        """Advise on a model that is about to be rented out, and refuse a price below its cost of power.

        Args:
            info: The model, as its engine tells.
            prices: What is to be asked for it.
            tokens_per_s: The speed of one stream, as measured.

        Raises:
            BelowCostError: If power costs more, and nobody allowed that.
        """
        self._info, self._tokens_per_s = info, tokens_per_s
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._timing.first_reading_s):
                await self._energy.looked()
        await self._renew()
        if self.advice is not None:
            check_price(prices, self.advice, self._energy.tariff, allow_below_cost=self._settings.allow_below_cost)
        self._due.set()

    async def _read_market(self) -> None:
        try:
            async with asyncio.timeout(MARKET_TIMEOUT_S):
                self._offers = await self._market()
        except (IdlewattError, TimeoutError) as error:
            log.debug("market_prices_not_read", error=str(error))

    async def _renew(self) -> None:
        info = self._info
        if info is None:
            return
        await self._energy.know(info.model_name)
        advice = advise(
            tokens=self._tokens(info),
            tariff=self._energy.tariff,
            tokens_per_s=self._tokens_per_s,
            offers=self._offers,
            model_sha256=info.model_sha256,
            parameters=info.parameters,
            default=self._settings.prices,
        )
        if advice != self.advice:
            self.advice = advice
            self._events.changed("devices")

    def _tokens(self, info: EngineInfo) -> TokenEnergy | None:
        if info.backend == "upstream":
            return None  # the power of an upstream's machine is unknown
        return self._energy.token_energy(info.model_name, info.tokens_per_s, on_gpu=info.backend not in _PROCESSORS)

    def warning(self, prices: Prices) -> tuple[str, str]:
        """The warning and its fix for a price below the cost of power; two empty strings otherwise."""
        advice = self.advice
        if advice is None:
            return "", ""
        problem = below_floor(prices, advice.floor)
        if not problem:
            return "", ""
        about = " (estimated)" if advice.is_estimate else ""
        floor, suggested = advice.floor, advice.suggested
        nano = floor.output_nano_per_mtok if problem == "output" else floor.input_nano_per_mtok
        text = f"The {problem} price is below its power{about}: {format_usd(nano)} per million tokens."
        fix = (
            f"Ask {format_usd(suggested.input_nano_per_mtok)} in and {format_usd(suggested.output_nano_per_mtok)} out"
            + ("; set price_per_kwh in [energy] if power is cheaper." if self._energy.tariff.is_assumed else ".")
        )
        return text, fix
