from hypothesis import given
from hypothesis import strategies as st

from chain.fees.base_fee import ONE, FeeState
from chain.fees.policy import FeePolicy
from chain.fees.prices import prices_of
from chain.fees.quotes import MAX_KEPT, QuoteBook


def prices(fee_nano: int):
    return prices_of(FeeState(ONE), FeePolicy(), fee_nano)


@given(st.lists(st.tuples(st.integers(1, 100), st.floats(0.5, 20)), min_size=1, max_size=40))
def test_whoever_was_told_a_price_may_pay_it_until_its_time_is_over(moves):
    book, now_s, told = QuoteBook(30), 0.0, []
    for fee_nano, pause_s in moves:
        book.note(prices(fee_nano), now_s)
        told.append((fee_nano, now_s))
        now_s += pause_s
        book.note(prices(fee_nano), now_s)
        least = min(standing.transfer_nano for standing in book.standing(now_s))
        assert all(least <= quoted for quoted, at_s in told if now_s <= at_s + 30)


def test_a_price_that_was_replaced_ends_with_its_quotes():
    book = QuoteBook(30)
    book.note(prices(10), 0)
    book.note(prices(20), 100)
    assert [standing.transfer_nano for standing in book.standing(129)] == [10, 20]
    assert [standing.transfer_nano for standing in book.standing(131)] == [20]


def test_it_keeps_a_bounded_number():
    book = QuoteBook(10**9)
    for number in range(10 * MAX_KEPT):
        book.note(prices(number), number)
    assert len(book.standing(10 * MAX_KEPT)) == MAX_KEPT + 1
