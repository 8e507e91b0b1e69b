import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from node.values.text import drawn, plain


def test_plain_text_stays_as_it_is():
    assert plain("What is 17 + 25?", 80) == "What is 17 + 25?"


def test_letters_of_the_world_stay():
    assert plain("Grüße, мир, 世界, नमस्ते, 🙂", 80) == "Grüße, мир, 世界, नमस्ते, 🙂"


def test_terminal_escapes_vanish_with_their_arguments():
    hostile = "a\x1b[31mred\x1b[0m \x1b]0;title\x07b\x1b]52;c;aGk=\x1b\\c\x9b2Jd\x1bce\x1b"
    assert plain(hostile, 80) == "ared bcde"


def test_overrides_and_zero_width_characters_vanish():
    assert plain("pay\u202e\u2066evil\u2069\u200b\u200d\ufeff\u00ad\u3164\ufe0f", 80) == "payevil"


def test_lone_surrogates_and_private_use_become_replacement_characters():
    assert plain("\ud800a\ue000\U0010ffff", 80) == "\ufffda\ufffd\ufffd"


def test_line_breaks_become_spaces_in_a_label_and_stay_where_lines_are_drawn():
    assert plain("a\nb\u2028c\td\r\ne", 80) == "a b c d e"
    assert drawn("a\nb\u2028c\td\r\ne") == "a\nb c    d\ne"


def test_piles_of_combining_marks_are_cut_to_a_few():
    assert plain("e" + "\u0301" * 50 + "x", 80) == "e" + "\u0301" * 3 + "x"


def test_a_long_text_ends_in_an_ellipsis_within_the_limit():
    assert plain("abcdef", 4) == "abc…"
    assert plain("abcdef", 6) == "abcdef"
    assert plain("abcdef", 0) == ""


def test_a_flood_of_controls_is_not_scanned_to_its_end():
    assert plain("\x00" * 10_000_000 + "x", 10) == "…"


@given(
    st.text(st.one_of(st.characters(), st.sampled_from("\u200c\u200d\u0301\u0645\u093f\u094da\x1b")), max_size=300),
    st.integers(0, 100),
)
def test_the_result_is_bounded_printable_encodable_and_stable(text, limit):
    shown = plain(text, limit)
    assert len(shown) <= limit
    shown.encode()
    for char in shown:
        assert char in "\u200c\u200d" or unicodedata.category(char) not in {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert plain(shown, limit) == shown


@given(st.text(st.sampled_from("\x1b\x9b\x9d[]0;m\\\x07\x9cab\u0301\n "), max_size=60))
def test_no_composition_of_escapes_leaves_one_behind(text):
    assert not {"\x1b", "\x9b", "\x9d", "\x07", "\x9c"} & set(plain(text, 200))
