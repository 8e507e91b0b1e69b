"""Makes one line of what llama.cpp logged while it failed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from chain.errors import ErrorCode
from node.engine.protocol import EngineError
from node.models.model_error import TO_WHOLE_FILE, printable

MAX_REASON_CHARS: Final = 240
_FUNCTION = re.compile(r"^(?:~?[a-z]\w*(?:::\w+)*:\s+)+(?=\S)")
_WRAPPERS: Final = (
    "error loading model: ",
    "error loading model hyperparameters: ",
    "error loading model vocabulary: ",
    "failed to initialize the context: ",
    "llama_model_loader: ",
)
_SAYS_NOTHING: Final = ("failed to load model", "failed to load GGUF split", "failed to initialize the context")
_FOLDER = re.compile(r"/(?:[^/\s'\"]+/)+")
_TOO_NEW = re.compile(
    r"unknown model architecture|unsupported model architecture|unknown (?:pre-)?tokenizer|wrong number of tensors"
    r"|too many tensors|invalid ggml type|key not found in model|wrong shape|version \d+"
)
_NO_MEMORY = re.compile(r"alloc|out of memory|memory", re.IGNORECASE)
_LAST_WORDS = re.compile(r"GGML_ASSERT|GGML_ABORT|what\(\):|^\w*(?:Error|Exception)\b|\berror\b|\bfailed\b")
_CALLED = re.compile(r"^(?:what\(\):|error:)\s*", re.IGNORECASE)


def load_error(lines: Sequence[str], *, build: str) -> EngineError:
    """What to tell of a model that llama.cpp refused.

    Args:
        lines: The lines of level error that it logged meanwhile, in order.
        build: Its version.
    """
    reason = reason_of(lines)
    if not reason:
        return EngineError("llama.cpp can't load this model file.", code="model_unusable", fix=TO_WHOLE_FILE)
    code: ErrorCode = "model_unusable"
    if _TOO_NEW.search(reason):
        fix = f"This {build} can't read that kind of file: choose another model, or update Idlewatt."
    elif _NO_MEMORY.search(reason):
        code, fix = "model_too_big", "Choose a smaller model, or close other programs."
    else:
        fix = TO_WHOLE_FILE
    return EngineError(f"llama.cpp refuses it ({reason}).", code=code, fix=fix)


def context_error(lines: Sequence[str]) -> EngineError:
    """What to tell of a model that was loaded, and for which llama.cpp made no context."""
    reason = reason_of(lines)
    if not reason or _NO_MEMORY.search(reason):
        why = f" ({reason})" if reason else ""
        return EngineError(f"There is not enough memory for this model's context{why}.", code="model_too_big")
    return EngineError(f"llama.cpp makes no context for it ({reason}).", code="model_unusable")


def reason_of(lines: Sequence[str]) -> str:
    """The line that says why, without names of functions and folders: the last one that says more than that it failed.

    Args:
        lines: Lines of level error, in order.
    """
    said = [_bare(line) for line in lines]
    telling = [line for line in said if line and not line.startswith(_SAYS_NOTHING)]
    return telling[-1] if telling else ""


def last_words(log: str) -> str:
    """What a process that died wrote last about why; empty if nothing in the log says it."""
    for line in reversed(log.splitlines()):
        if _LAST_WORDS.search(line.strip()):
            return _CALLED.sub("", _bare(line))
    return ""


def _bare(line: str) -> str:
    text = _FUNCTION.sub("", line.strip())
    while (wrapper := next((each for each in _WRAPPERS if text.startswith(each)), None)) is not None:
        text = _FUNCTION.sub("", text.removeprefix(wrapper))
    return printable(_FOLDER.sub("", text).strip().rstrip("."), MAX_REASON_CHARS)
