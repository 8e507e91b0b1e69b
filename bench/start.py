"""How long a newcomer waits: command to the demo's first token, command to first paint, and what idling costs.

With it, what looking at the hardware takes of a core: every device, and the processes that use them.
"""

from __future__ import annotations

import fcntl
import os
import pty
import resource
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path

import msgspec
import psutil

from bench.report import Result, median_of, report
from node.hardware.processes import ProcessProbe
from node.hardware.sampler import HardwareSampler
from node.machine.timing import MACHINE_TIMING

RUNS = 5
LOOKS = 20
PROMPT = "What is 17 + 25?"
SCREEN = struct.pack("HHHH", 48, 160, 0, 0)
PAINTED = b"DEMO"
IDLE_SETTLE_S = 20.0
IDLE_WINDOW_S = 20.0
DEADLINE_S = 120.0


def demo_to_first_token_ms(home: Path) -> tuple[float, float]:
    """One headless demo: milliseconds from the command to the first token, by the outer and by its own clock."""
    begin = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "app.cli", "demo", "--home", str(home), "--headless", "--json", "--prompt", PROMPT],
        capture_output=True, check=True, timeout=DEADLINE_S,
    )  # fmt: skip
    whole_ms = (time.monotonic() - begin) * 1_000
    timing = msgspec.json.decode(done.stdout)["timing"]
    return float(timing["start_to_first_token_ms"]), whole_ms


class TerminalRun:
    """The terminal app in a pseudo-terminal of 160 by 48, from its command to its end."""

    def __init__(self, arguments: list[str]) -> None:
        self.begin = time.monotonic()
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            os.environ.update(TERM="xterm-256color", COLORTERM="truecolor")
            os.execv(sys.executable, [sys.executable, "-m", "app.cli", *arguments])
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, SCREEN)

    def first_paint_ms(self) -> float:
        """Read until the header's label is on screen."""
        seen = b""
        while PAINTED not in seen:
            if time.monotonic() - self.begin > DEADLINE_S:
                raise TimeoutError("the terminal app did not paint its header")
            seen = seen[-4_096:] + self._read(DEADLINE_S)
        return (time.monotonic() - self.begin) * 1_000

    def drain(self, seconds: float) -> None:
        """Keep reading what it paints, so that it never waits for us."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._read(left, must=False)

    def _read(self, timeout_s: float, *, must: bool = True) -> bytes:
        ready, _, _ = select.select([self.master], [], [], timeout_s)
        if not ready:
            if must:
                raise TimeoutError("the terminal app painted nothing")
            return b""
        return os.read(self.master, 65_536)

    def end(self) -> None:
        """Tell it to stop, and wait until it has."""
        os.kill(self.pid, signal.SIGTERM)
        try:
            while self._read(30.0):
                pass
        except OSError:
            pass  # the other end of the pseudo-terminal is closed: it has ended
        os.waitpid(self.pid, 0)
        os.close(self.master)


def tree_of(pid: int) -> list[psutil.Process]:
    """The process and everything below it."""
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]


def idle_cost(run: TerminalRun) -> tuple[float, float, float]:
    """While nothing happens: percent of one core (the app alone, then with its children), and MiB of them all."""
    run.drain(IDLE_SETTLE_S)
    processes = tree_of(run.pid)
    before = [sum(process.cpu_times()[:2]) for process in processes]
    run.drain(IDLE_WINDOW_S)
    used = [sum(process.cpu_times()[:2]) - start for process, start in zip(processes, before, strict=True)]
    memory_mib = sum(process.memory_info().rss for process in processes) / 2**20
    return used[0] / IDLE_WINDOW_S * 100, sum(used) / IDLE_WINDOW_S * 100, memory_mib


def look_percent() -> list[float]:
    """Percent of a core that looks at the hardware take, as often as a node looks."""
    sampler, probe, percents = HardwareSampler(), ProcessProbe(), []
    try:
        for look in range(LOOKS + 1):
            began_s = _processor_s()
            sampler.sample()
            probe.look(frozenset({"a program that is not there"}))
            if look:  # the first opens drivers
                percents.append((_processor_s() - began_s) / MACHINE_TIMING.devices_s * 100)
            time.sleep(MACHINE_TIMING.devices_s / LOOKS)
    finally:
        sampler.close()
    return percents


def _processor_s() -> float:
    """This process's time on processors, and that of the programs it ran and waited for."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(usage.ru_utime + usage.ru_stime for usage in map(resource.getrusage, who))


def main() -> None:
    """Measure and print."""
    tokens, paints, results = [], [], list[Result]()
    with tempfile.TemporaryDirectory() as folder:
        for run_number in range(RUNS):
            tokens.append(demo_to_first_token_ms(Path(folder) / f"demo-{run_number}")[0])
        for run_number in range(RUNS):
            terminal = TerminalRun(["demo", "--home", f"{folder}/tui-{run_number}"])
            paints.append(terminal.first_paint_ms())
            if run_number == RUNS - 1:
                app_percent, all_percent, memory_mib = idle_cost(terminal)
            terminal.end()
    results.append(median_of("demo: command to first token", tokens, "ms", against="wall clock", at_most=10_000))
    results.append(median_of("terminal app: command to first paint", paints, "ms", against="wall clock", at_most=1_500))
    results.append(median_of("idle: terminal app alone", [app_percent], "% core", against="one core"))
    results.append(median_of("idle: demo with devnet, relay and engine", [all_percent], "% core", against="one core"))
    results.append(median_of("resident: demo with devnet, relay and engine", [memory_mib], "MiB", against="sum of RSS"))
    results.append(median_of("looking at the hardware", look_percent(), "% core", against="one core", at_most=1))
    print(report("start", results))


if __name__ == "__main__":
    main()
