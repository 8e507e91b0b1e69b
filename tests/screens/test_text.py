"""Words and numbers as the screens write them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from textual.content import Content

from node.values import Prices
from screens import text
from screens.clipboard import osc52
from screens.status import status_line
from screens.widgets.key_bar import KeyHint, key_line
from screens.widgets.qr import qr_lines
from tests.screens.fake_node import NOW_MS, snapshot


@settings(deadline=None, max_examples=50)
@given(st.text(max_size=300))
def test_a_plain_text_is_one_short_line_without_control_characters(value):
    shown = text.one_line(value, 40)
    assert len(shown) <= 40
    assert not any(ord(character) < 32 or 0x7F <= ord(character) < 0xA0 for character in shown)
    assert not set(shown) & set("\u202a\u202b\u202d\u202e\u2066\u2067\u2068\u2069\u200f\u2028\u2029")


def test_several_lines_stay_lines_and_towers_of_marks_stay_low():
    assert text.many_lines("a\nb\tc") == "a\nb    c"
    assert len(text.many_lines("z" + "\u0301" * 50)) == 9
    assert len(text.one_line("z" + "\u0301" * 50)) == 4


@pytest.mark.parametrize(
    ("nano", "shown"),
    [
        (None, text.DASH), (0, "$0.00"), (31_200, "$0.0000312"), (1_250_000_000, "$1.25"),
        (1_234_567_890_123, "$1,234.56"),
        (-1_250_000_000, "-$1.25"), (123_456_789, "$0.1234"),
    ],
)  # fmt: skip
def test_tight_money_keeps_about_four_digits_and_never_rounds_up(nano, shown):
    assert text.usd_short(nano) == shown


@settings(deadline=None, max_examples=50)
@given(st.integers(min_value=-(2**63), max_value=2**64 - 1))
def test_tight_money_is_never_more_than_there_is(nano):
    shown = float(text.usd_short(nano).replace("$", "").replace(",", ""))
    assert abs(shown) <= abs(nano) / 1e9 + 1e-6 * max(1, abs(nano) / 1e9)


def test_money_is_exact_where_there_is_room():
    assert text.usd(1_234_567_891) == "$1.234567891"
    assert (
        text.price(Prices(input_nano_per_mtok=1, output_nano_per_mtok=2)) == "$0.000000001 in · $0.000000002 out / Mtok"
    )


@pytest.mark.parametrize(
    ("seconds", "shown"), [(-5, "0 s"), (59, "59 s"), (200, "3:20 min"), (7_500, "2 h 5 min"), (270_000, "3 d 3 h")]
)
def test_durations_show_their_two_largest_units(seconds, shown):
    assert text.duration(seconds) == shown


def test_countdowns_end_in_now():
    assert text.countdown(None, NOW_MS) == ""
    assert text.countdown(0, NOW_MS) == ""
    assert text.countdown(NOW_MS // 1000 - 1, NOW_MS) == "now"
    assert text.countdown(NOW_MS // 1000 + 61, NOW_MS) == "in 1:01 min"


def test_times_outside_the_calendar_are_dashes():
    assert text.clock(NOW_MS) == "00:00:00"
    assert text.clock(2**62) == "--:--:--"


def test_sizes_counts_speeds_and_latencies():
    assert [text.size(value) for value in (None, 999, 1536, 9_100_000_000)] == [
        text.DASH,
        "999 B",
        "1.5 KiB",
        "8.5 GiB",
    ]
    assert [text.count_short(value) for value in (999, 4_200_000, 70_600_000_000)] == ["999", "4.2 M", "70.6 B"]
    assert [text.speed(value) for value in (0, 11.25, 118.4)] == [text.DASH, "11.2", "118"]
    assert [text.milliseconds(value) for value in (0, 38, 2_400)] == [text.DASH, "38 ms", "2.4 s"]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, max_value=1e9), max_size=200), st.integers(0, 80))
def test_a_sparkline_has_the_width_it_was_given(values, width):
    assert len(text.sparkline(values, width)) == width


@settings(deadline=None, max_examples=50)
@given(st.one_of(st.none(), st.floats(allow_nan=False)), st.integers(0, 40))
def test_a_meter_has_the_width_it_was_given(share, width):
    assert len(text.meter(share, width)) == width


@settings(deadline=None, max_examples=50)
@given(st.integers(40, 220), st.sampled_from(["Dashboard", "Chat"]), st.booleans())
def test_the_status_line_fits_and_keeps_phase_and_demo_label(width, title, demo):
    line = status_line(snapshot(demo=demo), title, width)
    assert "serving" in line.plain
    assert ("DEMO" in line.plain and "test money" in line.plain) is demo
    assert line.cell_length <= width


@settings(deadline=None, max_examples=50)
@given(st.integers(20, 200))
def test_the_key_line_fits_and_keeps_the_help(width):
    hints = [
        KeyHint("w", "Withdraw", "w", True),
        KeyHint("f", "Faucet", "f", True),
        KeyHint("12", "screens", "", False),
    ]
    hints += [
        KeyHint("F3", "On/offline", "f3", False),
        KeyHint("F1", "Help", "f1", False),
        KeyHint("^q", "Quit", "ctrl+q", False),
    ]
    line = key_line(hints, width)
    assert line.cell_length <= width + 1
    assert "F1 Help" in line.plain
    assert isinstance(line, Content)


def test_a_qr_code_is_square_and_framed():
    lines = qr_lines("0x5e11e7000000000000000000000000000000A11c")
    assert len({len(line) for line in lines}) == 1
    assert abs(len(lines) * 2 - len(lines[0])) <= 1
    assert set(lines[0]) == {"█"}


def test_a_clipboard_request_passes_through_tmux():
    assert osc52("hi", in_tmux=False) == "\x1b]52;c;aGk=\a"
    assert osc52("hi", in_tmux=True) == "\x1bPtmux;\x1b\x1b]52;c;aGk=\a\x1b\\"
