"""Writes the tables of settings in operating.md from their declarations: ``python docs/settings.py``."""

from __future__ import annotations

import re
from pathlib import Path

from app.config import Config
from app.settings_schema import Setting, as_toml, settings_of

PAGE = Path(__file__).parent / "operating.md"
BEGIN = "<!-- settings{}: written by docs/settings.py -->\n\n"
END = "\n<!-- end -->"


def with_tables(text: str) -> str:
    """The page, with every table of settings as they are declared now."""
    sections = sorted({setting.section for setting in settings_of(Config)})
    for section in sections:
        begin = BEGIN.format(f" [{section}]" if section else "")
        before, found, after = text.partition(begin)
        _, closed, rest = after.partition(END)
        if not found or not closed:
            raise SystemExit(f"{PAGE} has no place for the settings of [{section}].")
        text = f"{before}{begin}{table(section)}{END}{rest}"
    return text


def table(section: str) -> str:
    """One section's settings, or those above the first section."""
    head = f"`[{section}]` key" if section else "Key"
    rows = [row(setting) for setting in settings_of(Config) if setting.section == section]
    return "\n".join([f"| {head} | Default | Values | Meaning |", "|---|---|---|---|", *rows, ""])


def row(setting: Setting) -> str:
    """One setting."""
    default = f"`{as_toml(setting.default)}`" if setting.default is not None else "none"
    meaning = re.sub(r"docs/(\w+\.md)", r"[\1](\1)", setting.help.replace("``", "`").rstrip("."))
    return f"| `{setting.key}` | {default} | {setting.bounds} | {meaning} |"


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text()))
