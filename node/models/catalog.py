"""Turns what a person typed after ``--model`` into a file, and names the models at hand."""

from __future__ import annotations

from pathlib import Path

from chain.errors import UsageError
from node.models.gguf import printable

DEMO = "demo"
DEMO_PATH = Path(__file__).parent / "demo" / "demo.gguf"
SUFFIX = ".gguf"
MAX_LISTED = 12


def available(models_dir: Path) -> dict[str, Path]:
    """Every model that can be named: the demo model, then the GGUF files of `models_dir` by their stem."""
    found = {DEMO: DEMO_PATH} if DEMO_PATH.is_file() else {}
    if models_dir.is_dir():
        for path in sorted(models_dir.iterdir()):
            if path.suffix.lower() == SUFFIX and path.is_file():
                found.setdefault(path.stem, path)
    return found


def resolve(model: str, models_dir: Path) -> Path:
    """The file for ``demo``, a path, or the name of a file in `models_dir`.

    Raises:
        UsageError: With code ``unknown_model`` if there is none; the line lists what there is.
    """
    at_hand = available(models_dir)
    by_name = {name.lower(): path for name, path in at_hand.items()}
    named = by_name.get(model.removesuffix(SUFFIX).lower())
    if named is not None and "/" not in model:
        return named
    path = Path(model).expanduser()
    try:
        if model and path.is_file():
            return path.resolve()
    except (OSError, ValueError):  # a path too long, or with a null byte, names no file
        pass
    names = ", ".join(printable(name) for name in list(at_hand)[:MAX_LISTED]) or "none"
    more = f" and {len(at_hand) - MAX_LISTED} more" if len(at_hand) > MAX_LISTED else ""
    raise UsageError(
        f"There is no model {printable(model)!r}; at hand: {names}{more}.",
        code="unknown_model",
        fix=f"Name one of these or a path to a GGUF file, or put one into {models_dir}.",
    )
