import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.errors import IdlewattError, UsageError
from chain.money import MAX_NANO, format_usd, parse_usd


@pytest.mark.parametrize(
    ("text", "nano"),
    [("0.10", 100_000_000), ("$1,250", 1_250 * 10**9), (" 0 ", 0), ("0.000000001", 1), ("1_000", 10**12)],
)
def test_a_dollar_amount_reads_as_nano(text, nano):
    assert parse_usd(text) == nano


@pytest.mark.parametrize(
    "text", ["", "ten", "-1", "NaN", "inf", "1e30", "0.0000000001", "18446744074", "0x10", "1.2.3"]
)
def test_what_is_no_amount_is_refused_in_one_line(text):
    with pytest.raises(UsageError) as caught:
        parse_usd(text)
    assert "\n" not in caught.value.line()


@given(st.integers(0, MAX_NANO))
def test_an_amount_survives_being_shown_and_read(nano):
    if nano <= MAX_NANO // 10**9 * 10**9:
        assert parse_usd(format_usd(nano)) == nano


def test_needless_zeros_are_not_shown_but_cents_are():
    assert format_usd(100_000_000) == "$0.10"
    assert format_usd(-4_200) == "-$0.0000042"
    assert format_usd(10**9, min_decimals=0) == "$1"


def test_an_error_says_what_to_do_after_what_happened():
    error = IdlewattError("It broke.", fix="Mend it.")
    assert error.line() == "It broke. Mend it."
    assert error.code == "failed"
