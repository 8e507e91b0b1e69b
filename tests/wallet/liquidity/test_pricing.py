"""What a claim is worth to somebody who pays it out before it is final."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from wallet.liquidity.pricing import (
    PPM,
    YEAR_S,
    Claim,
    PricingPolicy,
    Refusal,
    Standing,
    demanded_fee_nano,
    gas_nano,
)

DOLLAR = 10**9
WEEK_S = 7 * 24 * 3600
POLICY = PricingPolicy(max_exposure_nano=1_000 * DOLLAR)
CLAIM = Claim(amount_nano=100 * DOLLAR, seconds_left=WEEK_S, is_verified=True, attesters=0, bonded_wei=0)
STANDING = Standing(exposure_nano=0, held_nano=10_000 * DOLLAR, gas_wei=0)

claims = st.builds(
    Claim,
    amount_nano=st.integers(1, 10**15),
    seconds_left=st.integers(0, YEAR_S),
    is_verified=st.just(True),
    attesters=st.integers(0, 40),
    bonded_wei=st.integers(0, 10**21),
)
policies = st.builds(
    PricingPolicy,
    annual_rate_ppm=st.integers(0, 10 * PPM),
    risk_ppm=st.integers(0, PPM),
    ether_price_nano=st.integers(0, 10**13),
    least_fee_nano=st.integers(0, 10**9),
    max_exposure_nano=st.just(10**15),
)
standings = st.builds(Standing, exposure_nano=st.just(0), held_nano=st.just(10**15), gas_wei=st.integers(0, 10**17))


def fee(claim: Claim, policy: PricingPolicy = POLICY, standing: Standing = STANDING) -> int:
    demanded = demanded_fee_nano(claim, policy, standing)
    assert isinstance(demanded, int)
    return demanded


def test_a_week_at_twenty_percent_a_year_costs_what_the_money_would_earn_and_the_risk() -> None:
    interest = -(-100 * DOLLAR * 200_000 * WEEK_S // (PPM * YEAR_S))
    assert interest == 383_561_644
    assert fee(CLAIM) == interest + 100 * DOLLAR * 500 // PPM // 4


def test_the_gas_of_buying_and_claiming_is_passed_on_at_the_price_of_ether() -> None:
    policy = replace(POLICY, ether_price_nano=3_000 * DOLLAR)
    gas_wei = 350_000 * 10**9
    assert gas_nano(gas_wei, policy.ether_price_nano) == 1_050_000_000
    assert fee(CLAIM, policy, replace(STANDING, gas_wei=gas_wei)) == fee(CLAIM) + 1_050_000_000


def test_what_is_final_costs_gas_and_the_least_fee_only() -> None:
    assert fee(replace(CLAIM, seconds_left=0)) == POLICY.least_fee_nano


def test_nothing_is_bought_that_was_not_executed_again_unless_told() -> None:
    unverified = replace(CLAIM, is_verified=False)
    assert demanded_fee_nano(unverified, POLICY, STANDING) == Refusal(reason="unverified")
    told = replace(POLICY, buys_unverified=True)
    assert fee(unverified, told) > fee(CLAIM, told)


def test_as_many_watchtowers_as_demanded_must_vouch() -> None:
    demanding = replace(POLICY, attestations=2)
    assert demanded_fee_nano(replace(CLAIM, attesters=1), demanding, STANDING) == Refusal(reason="attestations")
    assert fee(replace(CLAIM, attesters=2, bonded_wei=1), demanding) < fee(CLAIM)


def test_a_watchtower_without_a_bond_lowers_no_price() -> None:
    assert fee(replace(CLAIM, attesters=9, bonded_wei=0)) == fee(CLAIM)


def test_no_more_is_out_at_once_than_was_said() -> None:
    almost = replace(STANDING, exposure_nano=900 * DOLLAR)
    assert isinstance(demanded_fee_nano(CLAIM, POLICY, almost), int)
    assert demanded_fee_nano(CLAIM, POLICY, replace(almost, exposure_nano=900 * DOLLAR + 1)) == Refusal(
        reason="exposure"
    )


def test_nobody_buys_with_money_that_is_not_there() -> None:
    assert demanded_fee_nano(CLAIM, POLICY, replace(STANDING, held_nano=100 * DOLLAR - 1)) == Refusal(reason="funds")


@given(claims, policies, standings, st.integers(0, YEAR_S))
def test_waiting_longer_never_costs_less(claim: Claim, policy: PricingPolicy, standing: Standing, more: int) -> None:
    longer = replace(claim, seconds_left=claim.seconds_left + more)
    assert fee(longer, policy, standing) >= fee(claim, policy, standing)


@given(claims, policies, standings)
def test_another_watchtower_never_makes_it_dearer(claim: Claim, policy: PricingPolicy, standing: Standing) -> None:
    vouched = replace(claim, attesters=claim.attesters + 1)
    assert fee(vouched, policy, standing) <= fee(claim, policy, standing)


@given(claims, policies, standings, st.integers(0, 10**15))
def test_a_greater_amount_never_costs_less(claim: Claim, policy: PricingPolicy, standing: Standing, more: int) -> None:
    roomy = replace(policy, max_exposure_nano=2 * 10**15)
    rich = replace(standing, held_nano=2 * 10**15)
    greater = replace(claim, amount_nano=claim.amount_nano + more)
    assert fee(greater, roomy, rich) >= fee(claim, roomy, rich)
