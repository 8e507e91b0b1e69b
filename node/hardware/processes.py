"""What uses the processor: this node with its engines, or other programs; by psutil and ``/proc``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import msgspec
import psutil

from node.hardware.energy import OwnCpuUse

MAX_OWN: Final = 256
MAX_PROCESSES: Final = 65_536
FIRST_LOOKS: Final = 3
ALL_NAMES_LOOKS: Final = 15


class ProcessUse(msgspec.Struct, frozen=True, kw_only=True):
    """Since the look before."""

    own: OwnCpuUse
    own_pids: frozenset[int]
    foreign_cpu_percent: float | None
    """Of all cores together; ``None`` at the first look."""
    wanted_by: tuple[str, ...] = ()
    """Those of the asked programs that run."""


class ProcessProbe:
    """Looks at processes; one thread at a time may call :meth:`look`.

    Args:
        pid: The process whose family counts as ours.
        proc: Where procfs is.
    """

    def __init__(self, pid: int | None = None, proc: Path = Path("/proc")) -> None:
        self._pid = os.getpid() if pid is None else pid
        self._proc = proc
        self._own_s: dict[int, float] = {}
        self._machine: tuple[float, float] | None = None
        self._names = ProcessNames()

    def look(self, names: frozenset[str] = frozenset()) -> ProcessUse:
        """Processor time since the last look, ours and that of all programs, and which of ``names`` run."""
        own_pids = family(self._pid, self._proc)
        own_s = self._own_since(own_pids)
        times = psutil.cpu_times()
        total_s = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
        busy_s = total_s - times.idle - getattr(times, "iowait", 0.0)
        before, self._machine = self._machine, (busy_s, total_s)
        cores = psutil.cpu_count() or 1
        busy = elapsed = 0.0
        if before is not None:
            busy, elapsed = max(0.0, busy_s - before[0]), max(0.0, total_s - before[1])
        foreign = min(100.0, max(0.0, busy - own_s) / elapsed * 100) if elapsed > 0 else None
        return ProcessUse(
            own=OwnCpuUse(cpu_s=own_s if before else 0.0, busy_s=busy, cores=cores),
            own_pids=own_pids,
            foreign_cpu_percent=foreign,
            wanted_by=self._names.running(names, own_pids) if names else (),
        )

    def _own_since(self, pids: frozenset[int]) -> float:
        """Processor seconds of our family since the last look; a process that is new counts from its start."""
        now: dict[int, float] = {}
        for pid in pids:
            try:
                times = psutil.Process(pid).cpu_times()
            except (psutil.Error, OSError):
                continue
            now[pid] = times.user + times.system
        spent_s = sum(max(0.0, seconds - self._own_s.get(pid, 0.0)) for pid, seconds in now.items())
        self._own_s = now
        return spent_s


def family(pid: int, proc: Path = Path("/proc")) -> frozenset[int]:
    """A process with its children and theirs, from the kernel's own lists; by psutil where there are none."""
    found, waiting = {pid}, [pid]
    while waiting and len(found) < MAX_OWN:
        parent = waiting.pop()
        children = _children(parent, proc)
        if children is None:
            return _family_by_psutil(pid)
        fresh = [child for child in children if child not in found]
        found.update(fresh)
        waiting += fresh
    return frozenset(found)


class ProcessNames:
    """What processes are called: read again at a process's first looks, and now and then, since programs change it."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[str, int]] = {}
        self._looks = 0

    def running(self, names: frozenset[str], own_pids: frozenset[int]) -> tuple[str, ...]:
        """Those of the names (without case, with or without ``.exe``) that another program's process has."""
        self._looks += 1
        known = {} if self._looks % ALL_NAMES_LOOKS == 0 else self._known
        self._known = {}
        wanted = {_plain_name(name): name for name in names}
        seen: set[str] = set()
        for pid in psutil.pids()[:MAX_PROCESSES]:
            name, looks = known.get(pid, ("", 0))
            if looks < FIRST_LOOKS:
                name = _plain_name(name_of(pid) or "")
            self._known[pid] = name, looks + 1
            if name in wanted and pid not in own_pids:
                seen.add(wanted[name])
        return tuple(sorted(seen))


def name_of(pid: int) -> str | None:
    """A process's name; ``None`` if it is none of this machine's."""
    try:
        return psutil.Process(pid).name()
    except (psutil.Error, OSError, ValueError):
        return None


def _plain_name(name: str) -> str:
    return name.casefold().removesuffix(".exe")


def _children(pid: int, proc: Path) -> list[int] | None:
    """``None`` where this kernel keeps no such lists; empty for a process that is gone."""
    tasks = proc / str(pid) / "task"
    children: list[int] = []
    try:
        threads = list(tasks.iterdir())
    except OSError:
        return None if not (proc / "self").exists() else []
    for thread in threads:
        try:
            children += [int(word) for word in (thread / "children").read_text().split()]
        except FileNotFoundError:
            if thread.exists():
                return None
        except (OSError, ValueError):
            continue
    return children


def _family_by_psutil(pid: int) -> frozenset[int]:
    try:
        process = psutil.Process(pid)
        return frozenset({pid, *(child.pid for child in process.children(recursive=True))})
    except (psutil.Error, OSError):
        return frozenset({pid})
