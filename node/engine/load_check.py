"""Knows of a model file whether llama.cpp would load it, by having asked it; the answer is remembered."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import msgspec
from cachetools import LRUCache

from chain.logs import get_logger
from node.engine.process import worker_environment
from node.engine.protocol import OVERTIME_SIGNAL
from node.engine.reason import last_words
from node.hardware.backend import knows_architecture, llama_version
from node.models.catalog import DEMO_PATH
from node.models.digest import file_identity
from node.models.gguf import GgufInfo
from node.models.model_error import TO_WHOLE_FILE, ModelError, printable
from node.models.remembered import read_remembered, write_remembered

log = get_logger(__name__)

CHECKS_FILE: Final = ".checks.json"
CHECK_MODULE: Final = "node.engine.worker.check"
MAX_ENTRIES: Final = 256
CHECK_S: Final = 60.0


class Verdict(msgspec.Struct, frozen=True, omit_defaults=True):
    """What llama.cpp said of a file; empty if it would load it."""

    code: str = ""
    message: str = ""
    fix: str = ""
    notes: tuple[str, ...] = ()
    """What the chat template of a file that it would load can't do, and why."""


class _Entry(msgspec.Struct, frozen=True):
    identity: tuple[tuple[int, ...], ...]
    build: str
    verdict: Verdict


class LoadChecks:
    """Asks llama.cpp about files, in a process of its own.

    Args:
        path: A small JSON file that keeps the answers; without one they are kept in memory only.
        max_entries: Answers kept; those that were used longest ago are forgotten.
        timeout_s: How long llama.cpp may take; a file for which it takes longer is not refused.
        sound: A model that every build can load: where it is refused too, nothing is.
    """

    def __init__(
        self,
        path: Path | None = None,
        *,
        max_entries: int = MAX_ENTRIES,
        timeout_s: float = CHECK_S,
        sound: Path = DEMO_PATH,
    ) -> None:
        self._path = path
        self._sound = sound
        self._timeout_s = timeout_s
        self._entries: LRUCache[str, _Entry] = LRUCache(max_entries)
        self._entries.update(read_remembered(path, _Entry) if path is not None else {})

    def problem(self, model: Path, info: GgufInfo, *, ask: bool = True) -> ModelError | None:
        """Why llama.cpp would not load a model; ``None`` if it would, or if that isn't known.

        Args:
            model: Its file, or its first part.
            info: Its header.
            ask: Whether llama.cpp is asked, which takes up to seconds; else only what is known already counts.
        """
        shown = printable(model.name)
        if not knows_architecture(info.architecture):
            return ModelError(
                f"The model {shown} can't be used: this llama.cpp ({llama_version()}) doesn't know the architecture "
                f"{info.architecture!r}.",
                fix="Choose another model, or update Idlewatt.",
            )
        verdict = self._verdict(model, ask=ask)
        if verdict is None or not verdict.message:
            return None
        return ModelError(
            f"The model {shown} can't be used: {verdict.message}", fix=verdict.fix or "Choose another model."
        )

    def notes(self, model: Path) -> tuple[str, ...]:
        """What a model's chat template can't do, as far as llama.cpp was asked about the file."""
        verdict = self._verdict(model, ask=False)
        return verdict.notes if verdict is not None else ()

    def _verdict(self, model: Path, *, ask: bool) -> Verdict | None:
        try:
            key, identity = os.fsencode(model.resolve()).decode("utf-8", "backslashreplace"), file_identity(model)
        except OSError:  # it went away: whoever reads it next says so
            return None
        build = llama_version()
        known = self._entries.get(key)
        if known is not None and (known.identity, known.build) == (identity, build):
            return known.verdict
        verdict = self._ask(model) if ask else None
        if verdict is not None and verdict.message and not self._tells_apart(build):
            log.warning("load_check_refuses_all", build=build, reason=verdict.message)
            return None
        if verdict is not None:
            self._entries[key] = _Entry(identity, build, verdict)
            self._save()
        return verdict

    def _tells_apart(self, build: str) -> bool:
        """Whether this build of llama.cpp, asked in this way, takes a file that is sound: some abort on every file."""
        if not self._sound.is_file():
            return True
        key, identity = str(self._sound), file_identity(self._sound)
        known = self._entries.get(key)
        if known is None or (known.identity, known.build) != (identity, build):
            verdict = self._ask(self._sound)
            if verdict is None:
                return False
            known = self._entries[key] = _Entry(identity, build, verdict)
        return not known.verdict.message

    def _ask(self, model: Path) -> Verdict | None:
        command = [sys.executable, "-m", CHECK_MODULE, os.fspath(model.absolute())]
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, env=worker_environment(),
                timeout=self._timeout_s, check=False, start_new_session=True,
            )  # fmt: skip
        except (subprocess.TimeoutExpired, OSError) as error:
            log.warning("load_check_failed", model=printable(model.name), reason=type(error).__name__)
            return None
        with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
            return msgspec.json.decode(done.stdout, type=Verdict)
        if done.returncode == -OVERTIME_SIGNAL:
            return Verdict(
                code="model_unusable", message="Its chat template takes too much time.", fix="Choose another model."
            )
        if done.returncode not in {-signal.SIGABRT, -signal.SIGSEGV, -signal.SIGFPE, -signal.SIGBUS}:
            # It was ended from outside, or its own code failed: that says nothing about the file.
            log.warning("load_check_failed", model=printable(model.name), reason=f"exit code {done.returncode}")
            return None
        why = last_words(done.stderr.decode("utf-8", "replace"))
        wrote = f", and writes: {why}" if why else ""
        name = signal.Signals(-done.returncode).name
        return Verdict(code="model_unusable", message=f"llama.cpp crashes on it ({name}){wrote}.", fix=TO_WHOLE_FILE)

    def _save(self) -> None:
        if self._path is not None:
            write_remembered(self._path, self._entries)
