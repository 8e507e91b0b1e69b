import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from chain.fees.base_fee import ONE, FeeState
from chain.fees.policy import FeePolicy
from chain.fees.prices import FEE_KINDS, base_fee_pico, gas_nano, l1_cost_nano, prices_of, work_of
from chain.txs import Redeem, Withdraw
from chain.types import MAX_U32

GWEI = 10**9
DOLLAR = 10**9
policies = st.builds(
    FeePolicy,
    ether_price_nano=st.integers(0, 10**5 * DOLLAR),
    gas_per_byte=st.integers(0, 100),
    claim_gas=st.integers(0, 10**6),
    redeems_per_open=st.integers(0, 64),
)
states = st.builds(FeeState, st.integers(ONE, 64 * ONE), st.integers(0, 10**13))
least = st.integers(0, 10**6)


@given(states, policies, least)
def test_no_price_is_below_its_cost_on_l1_or_the_least_fee(state, policy, min_fee_nano):
    prices = prices_of(state, policy, min_fee_nano)
    for kind in FEE_KINDS:
        price = prices.of(kind)
        assert isinstance(price, int)
        work = work_of(kind, policy)
        paid = work if prices.pays_claim else replace(work, claims=0)
        assert price >= min(MAX_U32, max(min_fee_nano, l1_cost_nano(paid, state, policy) - 1))
        assert price <= MAX_U32
    assert prices.min_withdrawal_nano >= gas_nano(policy.claim_gas, state.gas_price_wei, policy)


@given(states, st.integers(0, ONE), st.integers(0, 10**12), policies, least)
def test_a_dearer_l1_and_more_traffic_make_no_kind_cheaper(state, congestion, gas_price_wei, policy, min_fee_nano):
    dearer = FeeState(state.congestion + congestion, state.gas_price_wei + gas_price_wei)
    before, after = prices_of(state, policy, min_fee_nano), prices_of(dearer, policy, min_fee_nano)
    kinds = FEE_KINDS if before.pays_claim == after.pays_claim else FEE_KINDS - {Withdraw.KIND}
    assert all(before.of(kind) <= after.of(kind) for kind in kinds)
    assert before.min_withdrawal_nano <= after.min_withdrawal_nano or not after.pays_claim


def test_where_ether_costs_nothing_everything_costs_the_least_fee():
    prices = prices_of(FeeState(gas_price_wei=50 * GWEI), FeePolicy(), 1_000)
    assert {prices.of(kind) for kind in FEE_KINDS} == {1_000}
    assert (prices.min_redeem_nano, prices.min_withdrawal_nano) == (1_000, 1_000)
    assert base_fee_pico(prices) == 11_765


def test_a_withdrawal_pays_for_its_claim_and_an_opening_for_its_redeems():
    policy = FeePolicy(ether_price_nano=3_000 * DOLLAR)
    prices = prices_of(FeeState(gas_price_wei=GWEI), policy, 1_000)
    assert prices.transfer_nano == (85 * 40 + 400) * 3_000
    assert prices.withdraw_nano == (101 * 40 + 400 + 95_000) * 3_000
    assert prices.open_channel_nano == ((113 + 77 + 16 * 77) * 40 + 18 * 400) * 3_000
    assert prices.min_redeem_nano == (77 * 40 + 400) * 3_000


def test_a_claim_that_is_too_dear_for_a_fee_is_in_none():
    policy = FeePolicy(ether_price_nano=3_000 * DOLLAR)
    prices = prices_of(FeeState(gas_price_wei=50 * GWEI), policy, 1_000)
    assert not prices.pays_claim
    assert prices.withdraw_nano == (101 * 40 + 400) * 150_000
    assert prices.min_withdrawal_nano == 95_000 * 150_000


def test_what_carries_no_fee_has_no_price():
    prices = prices_of(FeeState(), FeePolicy(), 1_000)
    assert prices.of(Redeem.KIND) is None
    with pytest.raises(ValueError, match="no fee"):
        work_of("expire", FeePolicy())
