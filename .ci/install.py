"""Install a lock into `.venv`; `make install` and `make dev` call it. Needs nothing but Python and pip.

llama.cpp's wheel is built by itself and kept by its build options. It replaces the one before only after it has loaded
a model and produced a token.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import build_options
from build_reason import early, reason

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
LOG = VENV / "install.log"
BUILD_LOCK = ROOT / "requirements-build.lock"
STAMPS = {
    "requirements.lock": {".installed": "requirements.lock"},
    "requirements-dev.lock": {".installed-dev": "requirements-dev.lock", ".installed": "requirements.lock"},
}
"""What each lock leaves in `.venv` once it is installed: files that say which lock, and how llama.cpp was built."""
KEPT_WHEELS = 6
SELFTEST_TIMEOUT_S = 300
_STEP = re.compile(r"\[(\d+)/(\d+)\]")
_TOLD = re.compile(r"^\s*(?:Collecting|Building wheel|Installing collected|Successfully)")
_WRONG = re.compile(r"^\s*ERROR|^CMake Error|\berror: ")


class InstallError(Exception):
    """The text is one line that says why, and what to do."""


class BuildError(InstallError):
    """There is no new llama.cpp that works, so nothing was replaced."""


@dataclass(slots=True)
class Output:
    """Where a command's output goes: all of it into the log, the important lines to the screen."""

    log: TextIO
    screen: TextIO
    shown_tenth: int = -1

    def line(self, text: str) -> None:
        """Take one line."""
        self.log.write(text + "\n")
        self.log.flush()
        step = _STEP.search(text)
        if step:
            self._progress(int(step[1]), int(step[2]))
        elif _TOLD.search(text) or _WRONG.search(text):
            self.say(text.strip()[:160])

    def say(self, text: str) -> None:
        """Show a line."""
        self.screen.write(("\r" if self.screen.isatty() else "") + text + "\n")
        self.screen.flush()

    def _progress(self, done: int, of: int) -> None:
        if self.screen.isatty():
            self.screen.write(f"\r  compiling llama.cpp [{done}/{of}]   ")
            self.screen.flush()
        elif (tenth := 10 * done // max(of, 1)) != self.shown_tenth:
            self.shown_tenth = tenth
            self.say(f"  compiling llama.cpp [{done}/{of}]")


def run(
    command: list[str | Path], output: Output, environment: Mapping[str, str], watch: Callable[[str], str] | None = None
) -> tuple[int, str]:
    """Run a command and show its progress.

    Args:
        command: The command.
        output: Where its output goes.
        environment: Its environment.
        watch: Called with each line; a text that it returns ends the command, and is the reason.

    Returns:
        The exit status and the output; a command that was ended has the status -1 and the reason instead.
    """
    process = subprocess.Popen(
        command, cwd=ROOT, env=dict(environment), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    lines = []
    try:
        for raw in process.stdout:
            lines.append(raw.decode("utf-8", "replace").rstrip("\r\n"))
            output.line(lines[-1])
            wrong = watch(lines[-1]) if watch is not None else ""
            if wrong:
                return -1, wrong
        return process.wait(), "\n".join(lines)
    finally:
        if process.poll() is None:  # CMake and the compilers end with it
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()


def pip(*arguments: str | Path) -> list[str | Path]:
    """The command of the environment's own pip."""
    return [VENV / "bin" / "python", "-m", "pip", "--disable-pip-version-check", *arguments]


def cache_folder(environment: Mapping[str, str]) -> Path:
    """Where wheels are kept for all clones; the environment itself, if the user's cache can't be written."""
    try:
        folder = Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "idlewatt" / "wheels"
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except (OSError, RuntimeError):
        return VENV / "wheels"


def tools(variables: Mapping[str, str]) -> dict[str, str]:
    """What else decides how a build turns out, each as it describes itself."""
    asked = build_options.asked_backends(variables)
    programs = {"cc": variables.get("CC", "cc"), "c++": variables.get("CXX", "c++")}
    if "CUDA" in asked:
        programs["nvcc"] = variables.get("CUDACXX") or shutil.which("nvcc") or "/usr/local/cuda/bin/nvcc"
    if "ROCm" in asked:
        programs["hipcc"] = variables.get("HIPCXX") or shutil.which("hipcc") or "/opt/rocm/bin/hipcc"
    found = {name: _version(program) for name, program in programs.items()}
    found |= {"platform": sysconfig.get_platform(), "libc": " ".join(platform.libc_ver())}
    found["build"] = _digest(BUILD_LOCK.read_text())
    native = build_options.defines(variables).get("GGML_NATIVE", "on")
    if native.lower() not in {"off", "0", "no", "false"}:  # llama.cpp is compiled for this very processor
        found["processor"] = _digest(_processor())
    return found


def _version(program: str) -> str:
    try:
        done = subprocess.run([*program.split(), "--version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return platform.processor()
    return "\n".join(sorted(set(re.findall(r"^(?:flags|Features)\s*:.*$", text, re.MULTILINE))))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def kept(shelf: Path) -> Path | None:
    """The wheel on this shelf, if there is one and it is whole."""
    try:
        note = json.loads((shelf / "wheel.json").read_text())
        wheel = shelf / note["name"]
        whole = hashlib.sha256(wheel.read_bytes()).hexdigest() == note["sha256"]
        os.utime(shelf)  # used today, so it stays
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return wheel if whole else None


def keep(wheel: Path, shelf: Path, variables: Mapping[str, str]) -> Path:
    """Put a wheel that works on its shelf, and let go of those that were not used for longest.

    Raises:
        OSError: If the shelf can't be written.
    """
    shelf.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=shelf.parent, prefix=".new-") as name:
        fresh = Path(name, "shelf")
        fresh.mkdir()
        shutil.copyfile(wheel, fresh / wheel.name)
        note = {"name": wheel.name, "sha256": hashlib.sha256(wheel.read_bytes()).hexdigest(), "built": dict(variables)}
        (fresh / "wheel.json").write_text(json.dumps(note, indent=1))
        if shelf.exists():
            shelf.rename(Path(name, "old"))
        fresh.rename(shelf)
    shelves = [found.parent for found in shelf.parent.glob("*/wheel.json")]
    for old in sorted(shelves, key=lambda each: each.stat().st_mtime)[:-KEPT_WHEELS]:
        shutil.rmtree(old, ignore_errors=True)
    return shelf / wheel.name


def build(lock: build_options.Lock, variables: Mapping[str, str], folder: Path, output: Output) -> Path:
    """Compile llama.cpp's wheel into ``folder``.

    Raises:
        BuildError: If it can't be built.
    """
    wanted = folder / "llama.lock"
    wanted.write_text(lock.llama)
    # pip would take a wheel that it built earlier with other options: it gets an empty cache but for downloads.
    (folder / "pip").mkdir()
    downloads = cache_folder(os.environ) / "downloads"
    downloads.mkdir(parents=True, exist_ok=True)
    for name in ("http", "http-v2"):
        (folder / "pip" / name).symlink_to(downloads)
    environment = {name: value for name, value in os.environ.items() if name not in build_options.VARIABLES}
    environment |= {**variables, "CMAKE_ARGS": build_options.cmake_args(variables)}
    environment["SKBUILD_BUILD_DIR"] = str(folder / "cmake")
    cache_file = folder / "cmake" / "CMakeCache.txt"

    def watch(line: str) -> str:
        doomed = early(line)
        if doomed is not None:
            return _sentences(*doomed)
        if "Build files have been written to" not in line or not cache_file.exists():
            return ""
        return _unknown_options(cache_file.read_text(errors="replace"), variables)

    command = pip("wheel", "-v", "--no-deps", "--cache-dir", folder / "pip", "--require-hashes", "-r", wanted)
    status, said = run([*command, "--wheel-dir", folder], output, environment, watch)
    if status == -1:
        raise BuildError(f"llama.cpp was not built: {said}")
    wheels = list(folder.glob("*.whl"))
    if status != 0 or len(wheels) != 1:
        raise BuildError("llama.cpp was not built: " + _sentences(*reason(said)))
    return wheels[0]


def _unknown_options(cache: str, variables: Mapping[str, str]) -> str:
    for name, like in build_options.unknown(cache, variables).items():
        return f"it has no option {name}" + (f" (did you mean -D{like}=on?)" if like else "")
    return ""


def selftest(wheel: Path, variables: Mapping[str, str], output: Output) -> dict[str, Any]:
    """Let the wheel load a model and produce a token, beside what is installed.

    Returns:
        What `node/engine/selftest.py` prints.

    Raises:
        BuildError: If it doesn't work here, or lacks what was asked for.
    """
    with tempfile.TemporaryDirectory(prefix="idlewatt-wheel-") as name:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(name)
        program, model = ROOT / "node/engine/selftest.py", ROOT / "node/models/demo/demo.gguf"
        command = [VENV / "bin" / "python", "-P", program, name, model]
        own = {name: value for name, value in os.environ.items() if name != "LLAMA_CPP_LIB_PATH"}
        try:
            done = subprocess.run(
                command,
                env=own,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=SELFTEST_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise BuildError(f"The new llama.cpp does not work: no token in {SELFTEST_TIMEOUT_S} s") from None
    output.log.write(done.stderr + done.stdout)
    if done.returncode != 0:
        raise BuildError("The new llama.cpp does not work: " + _death(done.returncode, done.stderr))
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    absent = [name for name in build_options.asked_backends(variables) if name not in found["backends"]]
    if absent:
        raise BuildError(
            f"The new llama.cpp was to have {' and '.join(absent)}, but has {', '.join(found['backends'])} only"
        )
    return found


def _death(status: int, complaint: str) -> str:
    if status == -signal.SIGILL:
        return "it was compiled for another processor. Add -DGGML_NATIVE=off to CMAKE_ARGS"
    if re.search(r"libcuda\.so\.1", complaint):
        return _sentences(*reason("cannot find -lcuda\n"))
    lines = complaint.strip().splitlines()
    told = next(
        (line for line in reversed(lines) if re.search(r"error|fail", line, re.IGNORECASE)), lines[-1] if lines else ""
    )
    if status < 0:
        return f"it ended by {signal.Signals(-status).name}. {told}".strip()
    return told


def _sentences(says: str, fix: str) -> str:
    return f"{says}. {fix}".rstrip(". ")


def tested_wheel(
    lock: build_options.Lock, variables: Mapping[str, str], folder: Path, output: Output, *, rebuild: bool
) -> Path:
    """A wheel built with these variables that works here: the kept one, or a new one.

    Raises:
        BuildError: If there is none.
    """
    shelf = cache_folder(os.environ) / build_options.key(lock, variables, tools(variables))
    wheel = None if rebuild else kept(shelf)
    if wheel is not None:
        try:
            selftest(wheel, variables, output)
            return wheel
        except BuildError as error:
            output.say(f"The kept wheel is of no use ({error}); compiling again.")
    output.say("Compiling llama.cpp: some minutes (with CUDA, many) ...")
    wheel = build(lock, variables, folder, output)
    found = selftest(wheel, variables, output)
    gpus = [device["description"] for device in found["devices"] if device["is_gpu"]]
    output.say(f"llama.cpp works: {', '.join(found['backends'])}; GPUs that it sees: {', '.join(gpus) or 'none'}.")
    try:
        return keep(wheel, shelf, variables)
    except OSError as error:
        output.say(f"The wheel can't be kept for the next installation: {error}")
        return wheel


def install(lock_name: str, output: Output, *, rebuild: bool) -> None:
    """Install what the lock says, unless it is installed already.

    Raises:
        InstallError: If that fails.
    """
    text = (ROOT / lock_name).read_text()
    before = _stamp(VENV / ".installed")
    try:
        variables = build_options.wanted(os.environ, before.get("variables", {}))
        build_options.defines(variables)
    except ValueError as error:
        raise InstallError(f"CMAKE_ARGS can't be read: {error}") from None
    stamps = {
        VENV / name: {"inputs": _inputs(lock), "variables": variables} for name, lock in STAMPS[lock_name].items()
    }
    if not rebuild and all(_stamp(path) == stamp for path, stamp in stamps.items()):
        return
    output.say("Installing (the first time llama.cpp is compiled: some minutes) ...")
    lock = build_options.split(text)
    with tempfile.TemporaryDirectory(prefix="idlewatt-build-") as name:
        wheels = [tested_wheel(lock, variables, Path(name), output, rebuild=rebuild)] if lock.llama else []
        others = VENV / "others.lock"
        others.write_text(lock.others)
        steps: list[list[str | Path]] = [["-v", "--require-hashes", "-r", others]] if "==" in lock.others else []
        steps += [["--no-index", "--force-reinstall", wheel] for wheel in wheels]
        for arguments in [*steps, ["-e", "."]]:
            # From here on the environment is neither what it was nor what it will be, even if this process is killed.
            for path, stamp in stamps.items():
                path.write_text(json.dumps({"variables": stamp["variables"]}))
            status, said = run(pip("install", "--no-deps", *arguments), output, os.environ)
            if status != 0:
                raise InstallError("The installation failed: " + _sentences(*reason(said)))
    status, said = run(pip("check"), output, os.environ)
    if status != 0:
        output.say(said)
        raise InstallError(
            "Packages of an earlier installation may be in the way: run make clean, then this again. "
            "Did pyproject.toml change? Run make lock ARGS=--keep first"
        )
    for path, stamp in stamps.items():
        path.write_text(json.dumps(stamp))


def _inputs(lock_name: str) -> str:
    return _digest("".join((ROOT / name).read_text() for name in (lock_name, BUILD_LOCK.name, "pyproject.toml")))


def _stamp(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def main(arguments: list[str]) -> int:
    """Install; on failure the reason is written to a file, so that make can show it as its last line."""
    parser = argparse.ArgumentParser(prog="install.py", description=__doc__)
    parser.add_argument("lock", choices=STAMPS)
    parser.add_argument("--rebuild", action="store_true", help="compile llama.cpp again")
    parser.add_argument("--reason", type=Path, required=True, help="the file that says why, if it fails")
    options = parser.parse_args(arguments)
    try:
        lock = (VENV / ".installing").open("w")
    except OSError:  # a disk that is full, or read-only: the installation finds that out and says so
        return guarded(options)
    with lock:
        alone(lock)
        return guarded(options)


def alone(lock: TextIO) -> None:
    """Wait until no other installer works on `.venv`. The lock goes with the process, however it ends."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("Another make installs into .venv; this one goes on when it has ended.", file=sys.stderr, flush=True)
        fcntl.flock(lock, fcntl.LOCK_EX)


def guarded(options: argparse.Namespace) -> int:
    """Install, and leave the reason if that fails; returns the exit status."""
    had_llama = any(VENV.glob("lib/*/site-packages/llama_cpp"))
    try:
        options.reason.write_text("the installation broke off")
        with LOG.open("w", encoding="utf-8", errors="replace") as log:
            install(options.lock, Output(log, sys.stderr), rebuild=options.rebuild)
    except (InstallError, OSError) as error:
        stays = ". What was installed before stays" if had_llama and isinstance(error, BuildError) else ""
        why = f"{error}{stays}. The whole log: {LOG.relative_to(ROOT)}"
        try:
            options.reason.write_text(why)
        except OSError:  # the disk that is full, or read-only, is the reason
            sys.stderr.write(f"{why}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    options.reason.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
