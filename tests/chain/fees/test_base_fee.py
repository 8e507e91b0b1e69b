from hypothesis import given
from hypothesis import strategies as st

from chain.fees.base_fee import ONE, FeeState, stepped, stepped_often
from chain.fees.policy import FeePolicy

POLICY = FeePolicy(target_bytes=1_000, max_congestion=8, ether_price_nano=3_000 * 10**9)
states = st.builds(FeeState, st.integers(ONE, 8 * ONE), st.integers(0, 10**13))
used = st.integers(0, 10**7)
prices_wei = st.integers(1, 10**13)


@given(states, used, prices_wei)
def test_one_step_moves_each_part_by_an_eighth_at_most(state, used_bytes, seen_wei):
    after = stepped(state, POLICY, used_bytes, seen_wei)
    assert abs(after.congestion - state.congestion) <= max(1, -(-state.congestion // 8))
    assert ONE <= after.congestion <= 8 * ONE
    if state.gas_price_wei:
        assert abs(after.gas_price_wei - state.gas_price_wei) <= max(1, state.gas_price_wei // 8)


@given(states, used, used, prices_wei, prices_wei)
def test_more_traffic_and_dearer_gas_never_make_it_cheaper(state, fewer, more, cheap_wei, dear_wei):
    low = stepped(state, POLICY, min(fewer, more), min(cheap_wei, dear_wei))
    high = stepped(state, POLICY, max(fewer, more), max(cheap_wei, dear_wei))
    assert low.congestion <= high.congestion
    assert low.gas_price_wei <= high.gas_price_wei


@given(states, prices_wei)
def test_a_gas_price_that_stays_is_reached(state, seen_wei):
    assert stepped_often(state, POLICY, 10**9, 0, seen_wei).gas_price_wei == seen_wei or state.gas_price_wei > 0
    near = FeeState(ONE, max(1, seen_wei * 3 // 2))
    assert stepped_often(near, POLICY, 256, 0, seen_wei).gas_price_wei == seen_wei


@given(states, st.integers(0, 1_000))
def test_traffic_at_or_below_the_target_never_raises_the_price(state, used_bytes):
    assert stepped(state, POLICY, used_bytes, None).congestion <= state.congestion


def test_a_quiet_hour_brings_the_price_to_rest():
    assert stepped_often(FeeState(8 * ONE, 5), POLICY, 300, 0, None) == FeeState(ONE, 5)


def test_full_steps_reach_the_bound_and_stay_there():
    state = FeeState()
    for _ in range(100):
        state = stepped(state, POLICY, 10**9, None)
    assert state.congestion == 8 * ONE
