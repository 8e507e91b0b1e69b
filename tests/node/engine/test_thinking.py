from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.engine.thinking import KNOWN_TAGS, TagTrimmer, ThinkingSplitter, ThinkingTags, thinking_tags

BITS = st.lists(
    st.sampled_from(["<think>", "</think>", "<thi", "nk>", "</", "think>", "<", " ", "\n", "a", "sum é", "😀"]),
    max_size=12,
)


def cut(text: str, cuts: list[int]) -> list[str]:
    pieces, at = [], 0
    for size in cuts:
        pieces.append(text[at : at + size])
        at += size
    return [*pieces, text[at:]]


def split(pieces: list[str], *, opened: bool) -> list[tuple[str, bool]]:
    splitter = ThinkingSplitter(ThinkingTags("<think>", "</think>", opened))
    parts = [part for piece in pieces for part in splitter.feed(piece)]
    return parts + splitter.finish()


def joined(parts: list[tuple[str, bool]]) -> tuple[str, str]:
    return "".join(text for text, thinking in parts if thinking), "".join(
        text for text, thinking in parts if not thinking
    )


@settings(max_examples=300, deadline=None)
@given(BITS.map("".join), st.lists(st.integers(0, 9), max_size=20), st.booleans())
def test_however_a_text_is_cut_its_thinking_and_its_answer_are_the_same(text, cuts, opened):
    parts = split(cut(text, cuts), opened=opened)
    assert "".join(part for part, _ in parts) == text
    assert joined(parts) == joined(split([text], opened=opened))
    kinds = [thinking for part, thinking in parts if part]
    assert kinds == sorted(kinds, reverse=True)


@settings(max_examples=300, deadline=None)
@given(BITS.map("".join), st.lists(st.integers(0, 9), max_size=20), st.booleans())
def test_however_thinking_is_cut_its_tags_are_taken_off_alike(text, cuts, opened):
    def shown(pieces: list[str]) -> tuple[str, str]:
        splitter, trimmer = ThinkingSplitter(ThinkingTags("<think>", "</think>", opened)), TagTrimmer()
        out = []
        for piece in pieces:
            for part, thinking in splitter.feed(piece):
                out += trimmer.feed(part, thinking=thinking)
        for part, thinking in splitter.finish():
            out += trimmer.feed(part, thinking=thinking)
        return joined(out + trimmer.finish())

    assert shown(cut(text, cuts)) == shown([text])
    assert shown([text])[1] == joined(split([text], opened=opened))[1]


@pytest.mark.parametrize(
    ("text", "opened", "thinking", "answer"),
    [
        ("<think>\n2 + 2\n</think>\n\nFour.", False, "2 + 2", "Four."),
        ("\n<think></think>Four.", False, "", "Four."),
        ("2 + 2\n</think>\nFour.", True, "2 + 2", "Four."),
        ("Four <think> is a tag.", False, "", "Four <think> is a tag."),
        ("<think>without an end", False, "without an end", ""),
        ("<thin ice", False, "", "<thin ice"),
    ],
)
def test_thinking_is_what_stands_between_the_tags(text, opened, thinking, answer):
    trimmer, out = TagTrimmer(), []
    for part, kind in split([text], opened=opened):
        out += trimmer.feed(part, thinking=kind)
    assert joined(out + trimmer.finish()) == (thinking, answer)


def test_the_tags_are_those_that_the_template_speaks_of():
    assert thinking_tags("{{ content.split('</think>')[-1] }}", "<|im_start|>assistant\n") == ThinkingTags(
        "<think>", "</think>", opened=False
    )
    assert thinking_tags("... '<think>\\n'", "assistant\n<think>\n") == ThinkingTags("<think>", "</think>", opened=True)
    assert thinking_tags("[THINK]", "") == ThinkingTags("[THINK]", "[/THINK]", opened=False)
    assert thinking_tags("no tags", "x") is None
    assert thinking_tags(None, "<think>") is None
    assert len({begin for begin, _ in KNOWN_TAGS}) == len(KNOWN_TAGS)
