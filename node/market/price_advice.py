"""What a price could be, and what it should not be below: from power, speed and the market. Pure; money in nano."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median
from typing import Final

from chain.errors import IdlewattError
from chain.money import format_usd
from node.hardware.energy import TokenEnergy
from node.hardware.tariff import Tariff
from node.market.choice import UNMEASURED_TOKENS_PER_S, typical_cost_nano
from node.values import MAX_PRICE_NANO_PER_MTOK, OfferView, PriceAdvice, Prices

SIZE_CLASS: Final = 1.5
"""Models whose parameters differ by no more than this factor are of one size."""
SPEED_MOST: Final = 2
"""A speed counts in a comparison, but no more than this factor either way."""
MARGIN_PERCENT: Final = 20
"""What a suggestion stands above the floor at least."""
NANO_JOULES_PER_KWH: Final = 3_600_000
STEP_DIGITS: Final = 2


class BelowCostError(IdlewattError):
    """A price that power costs more than."""

    default_code = "below_cost"


def floor_prices(tokens: TokenEnergy | None, tariff: Tariff) -> Prices:
    """What power costs a million tokens at the dearest hour, rounded up to a nano; 0 where nothing is known."""
    if tokens is None:
        return Prices(input_nano_per_mtok=0, output_nano_per_mtok=0)
    price = tariff.highest_nano_per_kwh
    return Prices(
        input_nano_per_mtok=_floor(tokens.input_j, price), output_nano_per_mtok=_floor(tokens.output_j, price)
    )


def _floor(joules_per_token: float, nano_per_kwh: int) -> int:
    # Millijoules of a million tokens are whole enough; from here on integers.
    millijoules = int(joules_per_token * 1_000_000_000 + 0.5)
    return min(MAX_PRICE_NANO_PER_MTOK, -(-millijoules * nano_per_kwh // (NANO_JOULES_PER_KWH * 1_000)))


def comparable(offers: Iterable[OfferView], *, model_sha256: str, parameters: int) -> tuple[list[OfferView], str]:
    """Others' offers of the same file, else of models of about the same size; one a provider, and what they are.

    A provider counts once, with its cheapest offer, so that many offers move a median no more than one does.
    """
    others = [offer for offer in offers if not offer.mine]
    same = _one_each(offer for offer in others if offer.model_sha256 == model_sha256)
    if same:
        return same, "the same model"
    near = _one_each(
        offer
        for offer in others
        if parameters > 0 and parameters / SIZE_CLASS <= offer.parameters <= parameters * SIZE_CLASS
    )
    return near, "models of about the same size"


def _one_each(offers: Iterable[OfferView]) -> list[OfferView]:
    cheapest: dict[str, OfferView] = {}
    for offer in offers:
        known = cheapest.get(offer.provider)
        if known is None or typical_cost_nano(offer) < typical_cost_nano(known):
            cheapest[offer.provider] = offer
    return [cheapest[provider] for provider in sorted(cheapest)]


def advise(
    *,
    tokens: TokenEnergy | None,
    tariff: Tariff,
    tokens_per_s: float,
    offers: Sequence[OfferView],
    model_sha256: str,
    parameters: int,
    default: Prices,
) -> PriceAdvice:
    """The suggested price and the floor.

    The suggestion is the median of comparable offers, each scaled by our speed over its own (twice the speed is worth
    twice the price, as buyers rank offers), and never less than the floor and a fifth. Without offers it is
    ``default``, under the same bound. It is rounded up to two digits.

    Args:
        tokens: What a token takes; ``None`` while unknown.
        tariff: What power costs.
        tokens_per_s: Measured speed of one request; 0 before it was.
        offers: The market's verified offers.
        model_sha256: Of our model's file.
        parameters: Of our model.
        default: What to suggest where nobody offers anything comparable.
    """
    floor = floor_prices(tokens, tariff)
    found, what = comparable(offers, model_sha256=model_sha256, parameters=parameters)
    if found:
        market = Prices(
            input_nano_per_mtok=_median([(o.prices.input_nano_per_mtok, o.tokens_per_s) for o in found], tokens_per_s),
            output_nano_per_mtok=_median(
                [(o.prices.output_nano_per_mtok, o.tokens_per_s) for o in found], tokens_per_s
            ),
        )
        count = f"{len(found)} provider{'s' if len(found) > 1 else ''}"
        words = f"the median of {count} of {what}, by speed"
    else:
        market, words = default, "nobody offers anything comparable: the default"
    suggested = Prices(
        input_nano_per_mtok=_rounded(max(market.input_nano_per_mtok, _with_margin(floor.input_nano_per_mtok))),
        output_nano_per_mtok=_rounded(max(market.output_nano_per_mtok, _with_margin(floor.output_nano_per_mtok))),
    )
    raised = (
        _with_margin(floor.input_nano_per_mtok) > market.input_nano_per_mtok
        or _with_margin(floor.output_nano_per_mtok) > market.output_nano_per_mtok
    )
    if raised:
        words += f", raised to power cost and {MARGIN_PERCENT} %"
    return PriceAdvice(
        suggested=suggested,
        floor=floor,
        basis=words,
        floor_basis=tokens.basis if tokens else "not known yet",
        is_estimate=tokens is None or tokens.is_estimate or tariff.is_assumed,
        offers=len(found),
        is_floor_known=tokens is not None,
    )


def check_price(prices: Prices, advice: PriceAdvice, tariff: Tariff, *, allow_below_cost: bool) -> None:
    """Refuse a price that power costs more than, unless told to, or unless nobody said what power costs.

    Raises:
        BelowCostError: With the numbers, and what to do.
    """
    problem = below_floor(prices, advice.floor)
    if problem and not allow_below_cost and not tariff.is_assumed:
        about = "estimated " if advice.is_estimate else ""
        floor = advice.floor
        raise BelowCostError(
            f"The {problem} price is below its power: {format_usd(prices.input_nano_per_mtok)} in and "
            f"{format_usd(prices.output_nano_per_mtok)} out, where power costs {about}"
            f"{format_usd(floor.input_nano_per_mtok)} in and {format_usd(floor.output_nano_per_mtok)} out per million "
            "tokens.",
            fix=f"Ask {format_usd(advice.suggested.input_nano_per_mtok)} in and "
            f"{format_usd(advice.suggested.output_nano_per_mtok)} out, or pass --allow-loss.",
        )


def below_floor(prices: Prices, floor: Prices) -> str:
    """Which of the two prices is below: ``input``, ``output`` or ``""``."""
    if prices.output_nano_per_mtok < floor.output_nano_per_mtok:
        return "output"
    return "input" if prices.input_nano_per_mtok < floor.input_nano_per_mtok else ""


def _median(prices: Sequence[tuple[int, float]], tokens_per_s: float) -> int:
    ours = tokens_per_s or UNMEASURED_TOKENS_PER_S
    scaled = [
        int(price * min(SPEED_MOST, max(1 / SPEED_MOST, ours / (speed or UNMEASURED_TOKENS_PER_S))))
        for price, speed in prices
    ]
    return int(median(scaled))


def _with_margin(nano: int) -> int:
    return -(-nano * (100 + MARGIN_PERCENT) // 100)


def _rounded(nano: int) -> int:
    """Up to two digits that matter, within what an offer can carry."""
    step = int(10 ** max(0, len(str(nano)) - STEP_DIGITS))
    return min(MAX_PRICE_NANO_PER_MTOK, -(-nano // step) * step)
