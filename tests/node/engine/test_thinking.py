"""The splitter and the forms, without a model: any cut of a text gives the same pieces, and no character is lost."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.engine.thinking.form import KNOWN_PAIRS, Channel, ThinkingForm, closings
from node.engine.thinking.splitter import MAX_HEADER_CHARS, MAX_SPACE_CHARS, InlineSplitter, Piece, ThinkingSplitter

PAIR = ThinkingForm("<think>", "</think>")
HEADER = ThinkingForm(
    "<|START_THINKING|>", "<|END_THINKING|>", answer="<|START_RESPONSE|>", stop="<|END_RESPONSE|>"
).of(["<|START_THINKING|>", "<|END_THINKING|>", "<|START_RESPONSE|>", "<|END_RESPONSE|>"])
ROLES = ThinkingForm("<|think|>", "<|end|>", "<|begin|>assistant", "<|content|>", "<|end|>").of(
    ["<|think|>", "<|end|>", "<|begin|>", "<|content|>"]
)
HARMONY = ThinkingForm(
    "<|channel|>analysis<|message|>",
    "<|end|>",
    "<|start|>assistant",
    "<|channel|>final<|message|>",
    "<|return|>",
    Channel("<|channel|>", "<|message|>", "final"),
).of(["<|channel|>", "<|message|>", "<|end|>", "<|start|>", "<|return|>"])
ENDLESS = ThinkingForm(
    "<|to|>self<|say|>", "", answer="<|to|>you<|say|>", channel=Channel("<|to|>", "<|say|>", "you")
).of(["<|to|>", "<|say|>"])
FORMS = (PAIR, HEADER, ROLES, HARMONY, ENDLESS)

TAGS = ["<think>", "</think>", "<thi", "nk>", "</", "<", " ", "\n", " " * 70, "a", "sum é", "😀", "final", "assistant"]
BITS = {
    form: st.lists(st.sampled_from([*TAGS, *form.markers, *form.tokens, *form.markers]), max_size=12).map("".join)
    for form in FORMS
}


def cut(text: str, cuts: list[int]) -> list[str]:
    pieces, at = [], 0
    for size in cuts:
        pieces.append(text[at : at + size])
        at += size
    return [*pieces, text[at:]]


def token_places(text: str, form: ThinkingForm) -> list[int]:
    """Where a model that spells nothing would have written one of the form's tokens."""
    return [at for token in form.tokens for at in (found.start() for found in re.finditer(re.escape(token), text))]


def split(pieces: list[str], form: ThinkingForm, *, opened: bool = False, tokens: bool = True) -> list[Piece]:
    text, at = "".join(pieces), 0
    splitter = ThinkingSplitter(form, opened=opened, marks_tokens=tokens and bool(form.tokens))
    places, parts = token_places(text, form), []
    for piece in pieces:
        at += len(piece)
        for place in places:
            if place < at:
                splitter.mark(place)
        parts += splitter.feed(piece)
    return parts + splitter.finish()


def joined(parts: list[Piece]) -> tuple[str, str, str]:
    """Thinking, answer and markers."""
    return (
        "".join(part.text for part in parts if part.thinking and not part.marker),
        "".join(part.text for part in parts if not part.thinking),
        "".join(part.text for part in parts if part.marker),
    )


@settings(max_examples=600, deadline=None)
@given(st.sampled_from(FORMS), st.data(), st.lists(st.integers(0, 9), max_size=20), st.booleans(), st.booleans())
def test_however_a_text_is_cut_its_thinking_and_its_answer_are_the_same(form, data, cuts, opened, tokens):
    text = data.draw(BITS[form])
    parts = split(cut(text, cuts), form, opened=opened, tokens=tokens)
    assert "".join(part.text for part in parts) == text
    assert joined(parts) == joined(split([text], form, opened=opened, tokens=tokens))
    assert all(part.thinking for part in parts if part.marker)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from([*TAGS, *HARMONY.markers, *HEADER.markers, *HARMONY.tokens]), max_size=12).map("".join),
    st.lists(st.integers(0, 9), max_size=20),
)
def test_however_a_servers_text_is_cut_its_thinking_and_its_answer_are_the_same(text, cuts):
    def all_of(pieces: list[str]) -> list[Piece]:
        splitter = InlineSplitter()
        return [part for piece in pieces for part in splitter.feed(piece)] + splitter.finish()

    assert "".join(part.text for part in all_of(cut(text, cuts))) == text
    assert joined(all_of(cut(text, cuts))) == joined(all_of([text]))


@settings(max_examples=300, deadline=None)
@given(BITS[PAIR], st.booleans())
def test_between_two_tags_there_is_one_thought_and_one_answer_after_it(text, opened):
    kinds = [part.thinking for part in split([text], PAIR, opened=opened)]
    assert kinds == sorted(kinds, reverse=True)


@pytest.mark.parametrize(
    ("text", "opened", "thinking", "answer"),
    [
        ("<think>\n2 + 2\n</think>\n\nFour.", False, "2 + 2", "Four."),
        ("\n<think></think>Four.", False, "", "Four."),
        ("2 + 2\n</think>\nFour.", True, "2 + 2", "Four."),
        ("</think>Four.", False, "", "Four."),
        ("Four <think> is a tag.", False, "", "Four <think> is a tag."),
        ("<think>a</think><think>b</think>", False, "a", "<think>b</think>"),
        ("<think>without an end", False, "without an end", ""),
        ("<thin ice", False, "", "<thin ice"),
        ("\n\tFour", False, "", "\n\tFour"),
    ],
)
def test_thinking_is_what_stands_between_the_tags(text, opened, thinking, answer):
    assert joined(split([text], PAIR, opened=opened))[:2] == (thinking, answer)


@pytest.mark.parametrize(
    ("form", "text", "thinking", "answer"),
    [
        (HEADER, "<|START_THINKING|>Hm.<|END_THINKING|><|START_RESPONSE|>Four.<|END_RESPONSE|>", "Hm.", "Four."),
        (HEADER, "<|START_RESPONSE|>Four.<|END_RESPONSE|>", "", "Four."),
        (HEADER, "<|START_THINKING|>Hm.<|END_THINKING|>Four.", "Hm.", "Four."),
        (HEADER, "<|START_THINKING|>Hm.<|START_RESPONSE|> Four.", "Hm.", " Four."),
        (ROLES, "<|think|>Hm.<|end|><|begin|>assistant<|content|>Four.<|end|>", "Hm.", "Four."),
        (ROLES, "<|content|>Four.<|end|>", "", "Four."),
        (ROLES, "<|think|>Hm.<|end|><|begin|>assistant<|think|> Ah.<|end|><|content|>Four.", "Hm.Ah.", "Four."),
        (
            HARMONY,
            "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Four.",
            "Hm.",
            "Four.",
        ),
        (HARMONY, "<|channel|>final<|message|>Four.", "", "Four."),
        (
            HARMONY,
            "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary to=functions.look "
            "<|constrain|>json<|message|>{}<|end|><|start|>assistant<|channel|>final<|message|>Four.",
            "Hm.{}",
            "Four.",
        ),
        (HARMONY, "<|channel|>analysis<|message|>without an end", "without an end", ""),
        (HARMONY, "Four.", "", "Four."),
        (HARMONY, "<|channel|>anal", "", ""),
    ],
)
def test_an_answer_that_has_a_header_is_what_follows_it(form, text, thinking, answer):
    assert joined(split([text], form))[:2] == (thinking, answer)


def test_markers_that_the_model_spells_are_text():
    spelled = "A reply ends with <|return|> or <|end|>, after <|start|>assistant<|channel|>final<|message|>."
    splitter = ThinkingSplitter(HARMONY, marks_tokens=True)
    begin = "<|channel|>final<|message|>"
    for place in token_places(begin, HARMONY):
        splitter.mark(place)
    parts = splitter.feed(begin) + splitter.feed(spelled) + splitter.finish()
    assert joined(parts) == ("", spelled, begin)


def test_spelled_markers_do_not_end_thinking_that_a_token_began():
    form = PAIR.of(["<think>", "</think>"])
    splitter = ThinkingSplitter(form, opened=True, marks_tokens=True)
    parts = splitter.feed("It asks what </think> is.")
    splitter.mark(len("It asks what </think> is."))
    parts += splitter.feed("</think>A tag.") + splitter.finish()
    assert joined(parts)[:2] == ("It asks what </think> is.", "A tag.")
    # A model that spells the opening tag spells the closing one.
    splitter = ThinkingSplitter(form, marks_tokens=True)
    assert joined(splitter.feed("<think>a</think>b") + splitter.finish())[:2] == ("a", "b")


def test_an_answer_is_over_once_its_own_marker_closed_it():
    splitter = ThinkingSplitter(HEADER, marks_tokens=True)
    text = "<|START_RESPONSE|>Four.<|END_RESPONSE|>"
    for place in token_places(text, HEADER):
        splitter.mark(place)
    assert joined(splitter.feed(text[:-1]))[1] == "Four."
    assert not splitter.over
    splitter.feed(text[-1])
    assert splitter.over


def test_a_format_binds_from_the_header_on():
    splitter = ThinkingSplitter(HARMONY)
    assert not splitter.answering
    assert splitter.admits("<|channel|>")
    assert splitter.admits("\n")
    assert not splitter.admits("{")
    splitter.feed("<|channel|>analysis<|message|>Hm.")
    assert splitter.thinking
    splitter.feed("<|end|>")
    assert not splitter.answering
    assert not splitter.admits("{")
    splitter.feed("<|start|>assistant<|channel|>final<|message|>")
    assert splitter.answering
    assert ThinkingSplitter(PAIR).answering


def test_what_goes_on_for_too_long_is_no_header_and_no_white_space_of_a_marker():
    text = "<|channel|>" + "x" * MAX_HEADER_CHARS + "<|message|>"
    assert joined(split([text], HARMONY))[1] == text
    spaces = " " * (MAX_SPACE_CHARS + 1)
    assert joined(split([spaces + "<think>a"], PAIR))[1] == spaces + "<think>a"
    assert joined(split([f"<think>a{spaces}</think>"], PAIR))[0] == "a "


def test_a_prompt_opens_thinking_where_it_ends_in_the_marker():
    assert PAIR.is_opened_by("<|im_start|>assistant\n<think>\n")
    assert not PAIR.is_opened_by("<|im_start|>assistant\n<think>\n</think>\n")
    assert not PAIR.is_opened_by("<|im_start|>assistant\n")


def test_known_tags_have_their_closings_by_name():
    assert len(set(KNOWN_PAIRS)) == len(KNOWN_PAIRS)
    assert all(end in closings(begin) for begin, end in KNOWN_PAIRS)
    assert "<|inner_suffix|>" in closings("<|inner_prefix|>")
    assert "<channel|>" in closings("<|channel>")
    assert "<|END_THINKING|>" in closings("<|START_THINKING|>")
    assert "<|end_of_thought|>" in closings("<|begin_of_thought|>")
