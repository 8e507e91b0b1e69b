"""Prices: never below power unless told to, and near what others ask for the same."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.cli.status import advice_text
from node.hardware.energy import TokenEnergy
from node.hardware.tariff import PartRule, Tariff, tariff
from node.market.price_advice import BelowCostError, advise, below_floor, check_price, comparable, floor_prices
from node.values import MAX_PRICE_NANO_PER_MTOK, OfferView, Prices

SHA = "ab" * 32
DEFAULT = Prices(input_nano_per_mtok=100_000_000, output_nano_per_mtok=200_000_000)
KNOWN = tariff(Decimal("0.36"))
TOKENS = TokenEnergy(input_j=0.5, output_j=2.0, is_estimate=False, basis="measured over 9 jobs")


def prices(given, made):
    return Prices(input_nano_per_mtok=given, output_nano_per_mtok=made)


def offer(number, **changes):
    values = {
        "offer_id": f"o{number}", "provider": f"0x{number:040x}", "node_id": "", "model": "m", "model_sha256": SHA,
        "architecture": "", "quantization": "", "parameters": 8_000_000_000, "context_length": 1, "slots": 1,
        "prices": prices(1_000_000_000, 3_000_000_000), "free_slots": 1, "tokens_per_s": 50.0, "ttft_ms": 1.0,
        "min_deposit_nano": 0, "stake_nano": 0, "engine_build": "", "expires_ms": 0,
    }  # fmt: skip
    return OfferView(**(values | changes))


def advice(offers=(), tokens=TOKENS, cost=KNOWN, speed=50.0, default=DEFAULT):
    return advise(
        tokens=tokens, tariff=cost, tokens_per_s=speed, offers=tuple(offers), model_sha256=SHA,
        parameters=8_000_000_000, default=default,
    )  # fmt: skip


def test_the_floor_is_what_power_costs_a_million_tokens_at_the_dearest_hour():
    # 2 J a token: 2 MJ a million = 0.5556 kWh at 0.36 = 0.20 USD.
    assert floor_prices(TOKENS, KNOWN) == prices(50_000_000, 200_000_000)
    night = tariff(Decimal("0.36"), [PartRule(start="22:00", to="06:00", price_per_kwh=Decimal("0.72"))])
    assert floor_prices(TOKENS, night).output_nano_per_mtok == 400_000_000
    assert floor_prices(None, KNOWN) == prices(0, 0)


@given(st.floats(0, 1e6), st.floats(0, 1e6), st.integers(0, 100 * 10**9))
@settings(max_examples=100, deadline=None)
def test_a_price_at_the_floor_always_pays_its_power(input_j, output_j, nano_per_kwh):
    tokens = TokenEnergy(input_j=input_j, output_j=output_j, is_estimate=False, basis="")
    floor = floor_prices(tokens, Tariff(base_nano_per_kwh=nano_per_kwh, is_assumed=False))
    for price, joules in ((floor.input_nano_per_mtok, input_j), (floor.output_nano_per_mtok, output_j)):
        cost = int(joules * 1_000_000_000 + 0.5) * nano_per_kwh
        assert price * 3_600_000_000 >= cost or price == MAX_PRICE_NANO_PER_MTOK
        assert (price - 1) * 3_600_000_000 < max(1, cost)


def test_the_same_model_is_compared_before_models_of_its_size_and_ours_never():
    near = offer(2, model_sha256="cd" * 32, parameters=7_000_000_000)
    far = offer(3, model_sha256="ef" * 32, parameters=70_000_000_000)
    mine = offer(4, mine=True)
    assert comparable([near, far, mine, offer(1)], model_sha256=SHA, parameters=8_000_000_000)[0] == [offer(1)]
    found, what = comparable([near, far, mine], model_sha256=SHA, parameters=8_000_000_000)
    assert (found, what) == ([near], "models of about the same size")
    assert comparable([near], model_sha256=SHA, parameters=0)[0] == []


def test_the_suggestion_is_the_median_of_providers():
    found = advice([offer(n, prices=prices(n * 10**9, n * 10**9)) for n in (1, 2, 9)])
    assert found.suggested == prices(2_000_000_000, 2_000_000_000)
    assert (found.offers, found.basis) == (3, "the median of 3 providers of the same model, by speed")


def test_one_provider_counts_once_however_many_offers_it_makes():
    flood = [offer(9, offer_id=f"x{n}", prices=prices(900_000_000_000, 900_000_000_000)) for n in range(300)]
    honest = [offer(n) for n in (1, 2)]
    assert advice([*honest, *flood]).suggested == prices(1_000_000_000, 3_000_000_000)


def test_twice_the_speed_is_worth_twice_the_price_and_no_more():
    assert advice([offer(1)], speed=75.0).suggested.output_nano_per_mtok == 4_500_000_000
    assert advice([offer(1)], speed=5_000.0).suggested.output_nano_per_mtok == 6_000_000_000
    assert advice([offer(1)], speed=1.0).suggested.output_nano_per_mtok == 1_500_000_000


def test_a_market_below_cost_raises_the_suggestion_above_it_and_says_so():
    found = advice([offer(1, prices=prices(1, 1))])
    assert found.suggested == prices(60_000_000, 240_000_000)
    assert "raised to power cost and 20 %" in found.basis


def test_without_a_market_the_default_is_suggested_if_it_pays():
    assert advice(default=prices(100_000_000, 500_000_000)).suggested == prices(100_000_000, 500_000_000)
    assert advice().suggested == prices(100_000_000, 240_000_000)
    assert "nobody offers" in advice().basis


@given(
    st.lists(st.tuples(st.integers(0, 10**15), st.integers(0, 10**15), st.floats(0, 1e6)), max_size=8),
    st.floats(0, 1e6),
)
@settings(max_examples=100, deadline=None)
def test_a_suggestion_never_loses_money_and_always_fits_an_offer(market, speed):
    offers = [offer(n, prices=prices(i, o), tokens_per_s=s) for n, (i, o, s) in enumerate(market, 1)]
    found = advice(offers, speed=speed)
    assert below_floor(found.suggested, found.floor) == ""
    for price in (found.suggested.input_nano_per_mtok, found.suggested.output_nano_per_mtok):
        assert 0 <= price <= MAX_PRICE_NANO_PER_MTOK


def test_a_price_below_power_is_refused_with_the_numbers_unless_told_to():
    found = advice()
    with pytest.raises(BelowCostError, match=r"output price is below its power: \$0\.10 in and \$0\.19 out") as failure:
        check_price(prices(100_000_000, 190_000_000), found, KNOWN, allow_below_cost=False)
    assert "$0.20 out" in failure.value.message
    assert "--allow-loss" in failure.value.fix
    with pytest.raises(BelowCostError, match="input price"):
        check_price(prices(1, 200_000_000), found, KNOWN, allow_below_cost=False)
    check_price(prices(1, 1), found, KNOWN, allow_below_cost=True)
    check_price(found.floor, found, KNOWN, allow_below_cost=False)


def test_a_tariff_that_nobody_gave_refuses_nothing():
    check_price(prices(1, 1), advice(cost=Tariff()), Tariff(), allow_below_cost=False)
    assert advice(cost=Tariff()).is_estimate


def test_an_estimate_says_that_it_is_one():
    guessed = msgspec.structs.replace(TOKENS, is_estimate=True)
    with pytest.raises(BelowCostError, match="power costs estimated"):
        check_price(prices(1, 1), advice(tokens=guessed), KNOWN, allow_below_cost=False)
    unknown = advice(tokens=None)
    assert unknown.floor_basis == "not known yet"
    assert "power cost is not known" in advice_text(unknown)
    assert "power costs $" in advice_text(advice())
