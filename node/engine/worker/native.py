"""llama-cpp-python's low-level API by itself.

Importing the package runs its high-level part too, which loads NumPy and half a web framework: a quarter of a second at
every start of a worker, for things that are never called here. So the package is registered without running it.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import sys
from collections import deque
from typing import Any

from node.engine.protocol import EngineError

_PACKAGE = "llama_cpp"


def import_part(name: str) -> Any:
    """A module of llama-cpp-python by its name, without running the package around it.

    Raises:
        EngineError: If llama-cpp-python is not installed.
    """
    whole = sys.modules.get(_PACKAGE)
    if whole is None:
        spec = importlib.util.find_spec(_PACKAGE)
        if spec is None:
            raise EngineError(
                "llama-cpp-python is not installed.",
                code="engine_failed",
                fix="Install Idlewatt with its dependencies.",
            )
        sys.modules[_PACKAGE] = importlib.util.module_from_spec(spec)
    try:
        return importlib.import_module(f"{_PACKAGE}.{name}")
    finally:
        if whole is None:
            # A later import of the package gets all of it.
            del sys.modules[_PACKAGE]


llama: Any = import_part("llama_cpp")


_DEBUG, _ERROR, _CONTINUED = 1, 4, 5
_last_level = _DEBUG
_MAX_ERROR_LINES, _MAX_LINE_CHARS = 16, 1_000
_errors: deque[str] = deque(maxlen=_MAX_ERROR_LINES)


def _log(level: int, text: bytes, _data: Any) -> None:
    """llama.cpp's log without its debug lines, of which a single start writes hundreds."""
    global _last_level  # noqa: PLW0603 - llama.cpp has one log a process, and this is its state
    if level != _CONTINUED:
        _last_level = level
    if _last_level == _DEBUG:
        return
    shown = text.decode("utf-8", "replace")
    if _last_level == _ERROR:
        if level == _CONTINUED and _errors:
            _errors[-1] = (_errors[-1] + shown)[:_MAX_LINE_CHARS]
        else:
            _errors.append(shown[:_MAX_LINE_CHARS])
    sys.stderr.write(shown)


_log_callback = llama.llama_log_callback(_log)


def quiet_log() -> None:
    """Send llama.cpp's log, less what only its developers read, to stderr."""
    llama.llama_log_set(_log_callback, None)


def forget_errors() -> None:
    """Begin anew with `logged_errors`."""
    _errors.clear()


def logged_errors() -> tuple[str, ...]:
    """The newest lines of level error that llama.cpp logged, in order."""
    return tuple(_errors)


def build() -> str:
    """The versions of llama.cpp and of its binding, as offers and receipts name them."""
    binding = importlib.metadata.version("llama-cpp-python")
    return f"llama.cpp {llama.llama_version().decode()} (llama-cpp-python {binding})"
