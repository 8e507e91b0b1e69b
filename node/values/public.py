"""What of this machine may be read by others: a model's name without its folder, an error without a path."""

from __future__ import annotations

import re
from typing import Final

from node.values.text import plain

MAX_NAME_CHARS: Final = 96
_ROOTED: Final = r"(?:file:|~|\.{0,2}[\\/]|[A-Za-z]:[\\/])"
_PATH: Final = re.compile(rf"{_ROOTED}|.*\\|.*\.gguf\Z", re.IGNORECASE | re.DOTALL)
_PATH_INSIDE: Final = re.compile(r"""(?:^|[\s"'(=:,])(?:file:|~?[\\/]|\.{1,2}[\\/]|[A-Za-z]:[\\/])[^\s\\/]""")
_ENDING: Final = re.compile(r"(?:-\d{5}-of-\d{5})?\.gguf\Z", re.IGNORECASE)
_HUB_FOLDER: Final = "models--"
"""How the Hugging Face cache names a repository's folder: ``models--OWNER--NAME``."""
_UNNAMED: Final = "model"


def public_name(name: str) -> str:
    """What a model is called in offers, jobs and receipts: its own name; of a path, the file's without its ending.

    A name with an owner (``Qwen/Qwen3-8B``) is no path, and stays.
    """
    if not _PATH.match(name):
        return plain(name, MAX_NAME_CHARS) or _UNNAMED
    parts = [part for part in re.split(r"[\\/]+", name) if part.strip(". ~")]
    for part in reversed(parts):
        if part.startswith(_HUB_FOLDER) and not _ENDING.search(parts[-1]):
            return plain(part.removeprefix(_HUB_FOLDER).replace("--", "/"), MAX_NAME_CHARS) or _UNNAMED
    return plain(_ENDING.sub("", parts[-1]) if parts else "", MAX_NAME_CHARS) or _UNNAMED


def public_words(words: str, otherwise: str) -> str:
    """Words for a buyer: these, or others in their place where they name a file of this machine."""
    return otherwise if _PATH_INSIDE.search(words) else words
