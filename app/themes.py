"""Our themes: a dark one and a light one; Textual's ANSI themes follow the terminal's own colours."""

from __future__ import annotations

from textual.theme import Theme

DARK = Theme(
    name="idlewatt-dark",
    primary="#f2b84b",
    secondary="#5fb3b3",
    accent="#7fc8f8",
    warning="#ff9e64",
    error="#f7768e",
    success="#9ece6a",
    foreground="#d8dbe2",
    background="#12151c",
    surface="#181c25",
    panel="#1f2430",
    dark=True,
)
LIGHT = Theme(
    name="idlewatt-light",
    primary="#8a5a00",
    secondary="#1f6f6f",
    accent="#1663a6",
    warning="#a14a00",
    error="#b3243d",
    success="#2f6f1f",
    foreground="#22262e",
    background="#faf8f3",
    surface="#f3efe6",
    panel="#e9e3d6",
    dark=False,
)
DEFAULT_THEME = DARK.name
OUR_THEMES = (DARK, LIGHT)
