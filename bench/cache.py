"""Where measurements keep what takes long to make: outside the repository, one folder for all checkouts."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/idlewatt/bench``, made if need be."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(root) / "idlewatt" / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
