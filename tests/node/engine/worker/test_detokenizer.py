from __future__ import annotations

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from node.engine.worker.detokenizer import Detokenizer

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

STOPS = st.lists(st.text("abc\n😀", min_size=1, max_size=4), max_size=3).map(tuple)


def run(pieces: list[bytes], stops: tuple[str, ...]) -> tuple[str, int, bool, list[str]]:
    assembler = Detokenizer(stops)
    parts: list[str] = []
    total = 0
    for piece in pieces:
        text, tokens = assembler.push(piece)
        parts.append(text)
        total += tokens
        if assembler.stopped:
            break
    text, tokens = assembler.finish()
    parts.append(text)
    return "".join(parts), total + tokens, assembler.stopped, parts


@UNHURRIED
@given(st.text("abc\n😀é", max_size=40), st.data(), STOPS)
def test_text_is_cut_at_the_first_stop_string_wherever_the_tokens_end(text, data, stops):
    raw = text.encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=12)))
    pieces = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    got, _, stopped, _ = run(pieces, stops)
    # A stop string ends the text at the token in which one is first complete; earlier ones win over later ones.
    ends = [text.find(stop) + len(stop) for stop in stops if stop in text]
    assert stopped == bool(ends)
    if not ends:
        assert got == text
    else:
        assert text.startswith(got)
        assert not any(stop in got for stop in stops)


@UNHURRIED
@given(st.lists(st.binary(max_size=5), max_size=30), STOPS)
@example([b"\xf0\x9f", b"\x98", b"\x80"], ())
@example([b"\xf0", b"\xf0", b"a"], ())
def test_there_are_never_more_tokens_than_bytes_and_no_half_characters(pieces, stops):
    got, tokens, stopped, parts = run(pieces, stops)
    assert tokens <= len(got.encode())
    assert all(char < "\ud800" or char > "\udfff" for part in parts for char in part)
    if not stopped:
        assert tokens == sum(1 for piece in pieces if piece)
        assert got == b"".join(pieces).decode("utf-8", "replace")


def test_an_emoji_in_four_tokens_comes_out_whole_with_the_last():
    assembler = Detokenizer()
    sent = [assembler.push(bytes([byte])) for byte in "😀".encode()]
    assert sent == [("", 0), ("", 0), ("", 0), ("😀", 4)]


def test_half_a_character_at_the_end_becomes_a_replacement_character():
    assembler = Detokenizer()
    assert assembler.push("é".encode()[:1]) == ("", 0)
    assert assembler.finish() == ("\ufffd", 1)


def test_what_may_become_a_stop_string_is_held_back_and_released_when_it_does_not():
    assembler = Detokenizer(("\n\nUser",))
    assert assembler.push(b"hi\n") == ("hi", 1)
    assert assembler.push(b"\nUse") == ("", 0)
    assert assembler.push(b"ful") == ("\n\nUseful", 2)


def test_a_held_back_beginning_is_released_at_the_end():
    assembler = Detokenizer(("STOP",))
    assert assembler.push(b"ST") == ("", 0)
    assert assembler.finish() == ("ST", 1)


def test_tokens_of_a_stop_string_are_not_counted():
    assembler = Detokenizer(("STOP",))
    assembler.push(b"ok")
    assembler.push(b"ST")
    assert assembler.push(b"OP and more") == ("", 0)
    assert assembler.stopped
    assert assembler.finish() == ("", 0)


def test_a_stop_completed_by_the_end_of_the_stream_stops_it():
    assembler = Detokenizer(("\ufffd",))
    assert assembler.push(b"a\xf0") == ("a", 1)
    assert assembler.finish() == ("", 0)
    assert assembler.stopped


def test_tokens_without_text_stand_for_nothing():
    assert Detokenizer().push(b"") == ("", 0)


def test_what_was_held_back_stays_in_its_place_once_stop_strings_mean_nothing():
    text = Detokenizer(("abc",))
    released = [text.push(b"xab")]
    text.watches_stops = False
    released += [text.push(b"y"), text.push(b"abc")]
    assert "".join(part for part, _ in released) == "xabyabc"
    assert sum(tokens for _, tokens in released) == 3
