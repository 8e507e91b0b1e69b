import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.fees.redeems import RedeemRefusal, cost_of, refused


@given(st.integers(0, 64), st.lists(st.tuples(st.integers(1, 2_000), st.booleans()), max_size=80))
def test_a_channel_never_redeems_more_often_than_was_paid_for(allowed, asked):
    left = allowed
    for increment_nano, is_ending in asked:
        if refused(left, increment_nano, 1_000, is_ending=is_ending) is None:
            left -= cost_of(increment_nano, 1_000, is_ending=is_ending)
            assert left >= 0


@given(st.integers(1, 64), st.lists(st.integers(1, 2_000), max_size=80), st.integers(1, 2_000))
def test_whatever_was_redeemed_before_the_last_claim_of_a_closing_channel_is_taken(allowed, asked, last_nano):
    left = allowed
    for increment_nano in asked:
        if refused(left, increment_nano, 1_000, is_ending=False) is None:
            left -= cost_of(increment_nano, 1_000, is_ending=False)
    assert refused(left, last_nano, 1_000, is_ending=True) is None


@pytest.mark.parametrize(
    ("left", "increment_nano", "is_ending", "expected"),
    [
        (16, 1, False, None),
        (4, 1, False, RedeemRefusal.TOO_SMALL),
        (4, 1_000, False, None),
        (1, 1_000, False, RedeemRefusal.QUOTA),
        (1, 1, True, None),
        (0, 1_000, True, RedeemRefusal.QUOTA),
    ],
)
def test_a_small_redeem_counts_for_several_and_one_is_kept_for_the_end(left, increment_nano, is_ending, expected):
    assert refused(left, increment_nano, 1_000, is_ending=is_ending) is expected
