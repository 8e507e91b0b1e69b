"""Real commands in real processes, each with a mark in its environment by which whatever it leaves behind is found."""

import json
import os
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from tests.patience import PATIENCE_S

PASSPHRASE = "correct horse battery staple"
MARK = "MARK_OF_THIS_TEST"
"""Not an ``IDLEWATT_`` name: engine workers are not handed those."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def processes_marked(mark: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == mark:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


@dataclass
class Commands:
    """Runs ``idlewatt`` as a person would, from the folder that holds their homes."""

    folder: Path
    prefix: tuple[str, ...] = ()
    """What runs each command, e.g. within another view of the file system."""
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    services: list[subprocess.Popen] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "IDLEWATT_PASSPHRASE": PASSPHRASE, MARK: self.mark}

    def argv(self, *arguments: str) -> list[str]:
        return [*self.prefix, sys.executable, "-m", "app.cli", *arguments]

    def begin(self, *arguments: str) -> subprocess.Popen:
        """Start a command, and leave it to the caller: its output, unbuffered, and its end."""
        return subprocess.Popen(
            self.argv(*arguments),
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, *arguments: str, status: int = 0, **environment: str) -> subprocess.CompletedProcess:
        done = subprocess.run(
            self.argv(*arguments),
            cwd=self.folder,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert "Traceback" not in done.stderr + done.stdout
        assert done.returncode == status, done.stderr
        return done

    def facts(self, *arguments: str) -> dict:
        return json.loads(self.run(*arguments, "--json").stdout)

    def refusal(self, *arguments: str, status: int = 1, **environment: str) -> str:
        """What the last line on stderr says when a command fails, as it should."""
        done = self.run(*arguments, status=status, **environment)
        assert done.stdout == ""
        return done.stderr.strip().splitlines()[-1]

    def start(self, *arguments: str) -> dict:
        """Start a service, and wait until it says that it is ready."""
        with (self.folder / f"{arguments[0]}.err").open("ab") as log:
            service = subprocess.Popen(
                self.argv(*arguments, "--json"),
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.services.append(service)
        line = service.stdout.readline()
        assert line, (self.folder / f"{arguments[0]}.err").read_text()
        return json.loads(line)

    def kill(self, service: subprocess.Popen) -> None:
        """End a service without a warning, as a power cut would."""
        service.kill()
        service.wait(timeout=PATIENCE_S)
        service.stdout.close()
        self.services.remove(service)

    def stop(self) -> None:
        """Tell all services to end, and see to it that they do; one that doesn't fails the test by its own words."""
        for service in reversed(self.services):
            service.terminate()
        late = [service for service in reversed(self.services) if not self._ended(service)]
        self.services.clear()
        assert not late, [(service.args, self._log_of(*service.args[len(self.argv()) :])) for service in late]

    def _log_of(self, name: str, *_options: str) -> str:
        return (self.folder / f"{name}.err").read_text()

    def _ended(self, service: subprocess.Popen) -> bool:
        try:
            service.wait(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            service.kill()
            service.wait()
            return False
        finally:
            service.stdout.close()
        return True


@pytest.fixture
def commands(tmp_path) -> Iterator[Commands]:
    running = Commands(tmp_path)
    try:
        yield running
        running.stop()
        assert processes_marked(running.mark) == []
    finally:
        for process in processes_marked(running.mark):
            process.kill()
