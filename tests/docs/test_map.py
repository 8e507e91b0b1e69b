"""The map and the decisions: they name no file that isn't there, and can be read at once."""

from __future__ import annotations

import re

import pytest

from tests.docs.pages import CODE_FOLDERS, ROOT, prose_of, text_of

MAP = ROOT / "docs" / "architecture.md"
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))
FOLDERS = (*CODE_FOLDERS, "docs", "bench", "tests")
MOST_LINE_CHARS = 160
MOST_SENTENCE_WORDS = 32
READING_MINUTES = 10
WORDS_A_MINUTE = 200


def named_paths(text: str) -> set[str]:
    """Every path in backticks that begins with one of this repository's folders."""
    words = re.findall(r"`([^`\n]+)`", text)
    return {word.split(":")[0] for word in words if word.split("/")[0] in FOLDERS and "/" in word and " " not in word}


def sentences(text: str) -> list[str]:
    """The sentences of running text: no tables, headings, code or links' targets."""
    prose = re.sub(r"\]\([^)]*\)", "]", text)
    blocks = re.split(r"\n\s*\n|\n(?=\s*(?:\* |\d+\. ))", prose)
    kept = [" ".join(block.split()) for block in blocks if not block.lstrip().startswith(("|", "#", "```"))]
    return [sentence for block in kept for sentence in re.split(r"(?<=[.:])\s", block)]


@pytest.mark.parametrize("page", [MAP, *DECISIONS], ids=lambda page: page.stem)
def test_a_page_names_no_file_that_is_not_there(page):
    missing = sorted(path for path in named_paths(text_of(page)) if not (ROOT / path).exists())
    assert not missing


@pytest.mark.parametrize("page", [MAP, *DECISIONS], ids=lambda page: page.stem)
def test_a_page_has_short_lines_and_short_sentences(page):
    long_lines = [line for line in text_of(page).splitlines() if len(line) > MOST_LINE_CHARS and "|" not in line]
    long_sentences = [text for text in sentences(prose_of(page)) if len(text.split()) > MOST_SENTENCE_WORDS]
    assert not long_lines
    assert not long_sentences


def test_the_map_can_be_read_in_ten_minutes():
    prose = "\n".join(line for line in text_of(MAP).splitlines() if not re.match(r"\| .*(`\w+` ){8}", line))
    assert len(prose.split()) <= READING_MINUTES * WORDS_A_MINUTE


def test_every_room_of_the_node_is_on_the_map():
    rooms = {path.name for path in (ROOT / "node").iterdir() if (path / "__init__.py").exists()}
    assert {f"node/{room}/" for room in rooms} <= named_paths(text_of(MAP)) | {"node/__pycache__/"}


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.stem)
def test_a_decision_is_a_page_with_context_decision_and_consequences(page):
    headings = re.findall(r"^#+ (.+)$", text_of(page), re.MULTILINE)
    assert headings[1:4] == ["Context", "Decision", "Consequences"]
    assert len(text_of(page).splitlines()) <= 80


def test_decisions_are_numbered_once():
    numbers = [page.name[:4] for page in DECISIONS]
    assert len(set(numbers)) == len(numbers)


def test_the_index_names_every_decision_by_its_title():
    index = text_of(ROOT / "docs" / "decisions" / "README.md")
    for page in DECISIONS:
        assert f"[{text_of(page).splitlines()[0].removeprefix('# ')}]({page.name})" in index
