"""Reads the documentation: its pages, their shell commands, code words, tables and links."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
CODE_FOLDERS = ("app", "node", "wallet", "chain", "screens")

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_WORD = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Command:
    page: str
    line: str

    @property
    def words(self) -> list[str]:
        """The command's own words, past variables before it."""
        words = shlex.split(self.line, comments=True)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words = words[1:]
        return words

    def __str__(self) -> str:
        return f"{self.page}: {self.line}"


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def prose_of(page: Path) -> str:
    """A page without its fenced blocks."""
    return _FENCE.sub("", text_of(page))


def shell_commands() -> list[Command]:
    """Every line of every ``sh`` block."""
    return [
        Command(page.name, line.strip())
        for page in PAGES
        for language, block in _FENCE.findall(text_of(page))
        if language == "sh"
        for line in block.splitlines()
        if line.strip()
    ]


def inline_commands() -> list[Command]:
    """Every `idlewatt …` in running text."""
    return [
        Command(page.name, word)
        for page in PAGES
        for word in _WORD.findall(prose_of(page))
        if word.startswith("idlewatt ") and "…" not in word
    ]


def code_words(page: Path) -> list[str]:
    """What stands in backticks outside fenced blocks."""
    return _WORD.findall(prose_of(page))


def links(page: Path) -> list[str]:
    return _LINK.findall(prose_of(page))


def table_under(page: Path, header: str) -> list[list[str]]:
    """The cells of the table whose header row begins with ``header``."""
    rows, inside = [], False
    for line in text_of(page).splitlines():
        if line.startswith(header):
            inside = True
        elif inside and line.startswith("|"):
            rows.append([cell.strip() for cell in line.strip("|").split("|")])
        elif inside:
            break
    return [row for row in rows if set(row[0]) - set("-: ")]


def source() -> str:
    """All of our Python, in one string."""
    files = (path for folder in CODE_FOLDERS for path in sorted((ROOT / folder).rglob("*.py")))
    return "\n".join(path.read_text(encoding="utf-8") for path in files)
