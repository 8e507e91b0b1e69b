from hypothesis import given, settings
from hypothesis import strategies as st

from node.engine.upstream.meter import Rate, TokenMeter

texts = st.lists(st.text(max_size=12), max_size=20)
FEW = settings(max_examples=100)


@FEW
@given(
    pieces=st.lists(st.tuples(st.text(max_size=12), st.none() | st.integers(0, 60)), max_size=20),
    most=st.integers(1, 40),
    rate=st.builds(Rate, st.integers(1, 5), st.integers(5, 9)),
)
def test_a_bill_never_passes_the_bytes_delivered_nor_the_limit_and_never_falls(pieces, most, rate):
    meter, billed = TokenMeter(most, rate), 0
    for text, stated in pieces:
        more = meter.take(text, stated)
        assert more >= 0
        billed += more
        assert billed == meter.tokens <= min(meter.bytes, most)


@FEW
@given(texts=texts, extra=st.integers(0, 30))
def test_a_stream_of_a_token_or_more_a_piece_is_billed_by_exactly_what_the_server_states_at_the_end(texts, extra):
    meter = TokenMeter(10_000)
    for text in texts:
        meter.take(text, None)
    truth = meter.pieces + extra
    if truth:
        meter.take("", truth)
    assert meter.tokens == min(truth, meter.bytes)


@FEW
@given(texts=st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=20))
def test_a_server_that_states_its_count_with_each_piece_is_never_billed_above_it(texts):
    meter = TokenMeter(10_000)
    for number in range(1, len(texts) + 1):
        meter.take(texts[number - 1], (number + 1) // 2)
        assert meter.tokens <= (number + 1) // 2


@FEW
@given(pieces=st.integers(2, 60), parts=st.integers(2, 6))
def test_a_server_that_cuts_tokens_in_pieces_is_overbilled_once_at_most_and_never_again(pieces, parts):
    truth = -(-pieces // parts)
    first = TokenMeter(10_000)
    for _ in range(pieces):
        first.take("xy", None)
    first.take("", truth)
    second = TokenMeter(10_000, first.learned())
    for _ in range(pieces):
        second.take("xy", None)
    assert second.tokens <= truth


def test_text_without_any_tokens_is_no_statement():
    meter = TokenMeter(100)
    assert [meter.take("a", 0), meter.take("b", 0)] == [1, 1]
    assert meter.learned() == Rate()


def test_an_empty_piece_is_no_token():
    assert TokenMeter(100).take("", None) == 0


def test_tokens_gathered_into_one_piece_are_billed_at_the_end():
    meter = TokenMeter(100)
    assert [meter.take("a sentence of several tokens", None), meter.take("", 6)] == [1, 5]
    assert meter.learned() == Rate()
