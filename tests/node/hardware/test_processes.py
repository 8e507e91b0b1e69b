"""Whose processor time it was, with real processes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from node.hardware.processes import ALL_NAMES_LOOKS, ProcessNames, ProcessProbe, family, name_of
from tests.patience import PATIENCE_S

BURN = """
import time
end = time.process_time() + 0.4
while time.process_time() < end:
    pass
print("done", flush=True)
input()
"""
NEST = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(1, flush=True); input()'])"


@pytest.fixture
def start():
    started = []

    def run(*command, **options):
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **options)
        started.append(process)
        return process

    yield run
    for process in started:
        process.communicate(b"\n", timeout=PATIENCE_S)


def test_the_time_of_a_child_is_ours(start):
    probe = ProcessProbe()
    probe.look()
    child = start(sys.executable, "-c", BURN)
    child.stdout.readline()
    facts = probe.look()
    assert child.pid in facts.own_pids
    assert facts.own.cpu_s >= 0.4
    assert facts.own.busy_s > 0
    assert facts.own.cores >= 1
    assert 0 <= facts.foreign_cpu_percent <= 100


def test_the_time_of_another_family_is_foreign(start):
    ours = start(sys.executable, "-c", "print(1, flush=True); input()")
    ours.stdout.readline()
    probe = ProcessProbe(ours.pid)
    assert probe.look().foreign_cpu_percent is None
    start(sys.executable, "-c", BURN).stdout.readline()
    facts = probe.look()
    assert facts.own.cpu_s < 0.2
    assert facts.foreign_cpu_percent > 0


def test_children_of_children_are_family_with_and_without_the_kernels_lists(start, tmp_path):
    parent = start(sys.executable, "-c", NEST)
    parent.stdout.readline()
    assert len(family(parent.pid)) == 2
    assert family(parent.pid, tmp_path / "no procfs") == family(parent.pid)
    (tmp_path / "self").mkdir()
    assert family(parent.pid, tmp_path) == frozenset({parent.pid})


def test_a_kernel_without_lists_is_asked_otherwise(start, tmp_path):
    parent = start(sys.executable, "-c", NEST)
    parent.stdout.readline()
    (tmp_path / str(parent.pid) / "task" / "1").mkdir(parents=True)
    assert len(family(parent.pid, tmp_path)) == 2


def test_a_program_is_found_by_name_without_case_unless_it_is_ours(start, tmp_path):
    game = tmp_path / "Blender.exe"
    game.symlink_to("/bin/sleep")
    process = start(str(game), "30")
    try:
        names = ProcessNames()
        for _ in range(2 * ALL_NAMES_LOOKS):
            assert names.running(frozenset({"blender", "steam"}), frozenset()) == ("blender",)
        assert names.running(frozenset({"blender"}), frozenset({process.pid})) == ()
    finally:
        process.kill()


def test_a_process_that_is_gone_has_no_name_and_no_family():
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert name_of(gone.pid) is None
    assert family(gone.pid) == frozenset({gone.pid})
    assert name_of(os.getpid())
    assert name_of(-1) is None


def test_a_program_that_takes_another_name_is_seen_soon(start, tmp_path):
    (tmp_path / "idlewattgame").symlink_to("/bin/sleep")
    # A shell that becomes the game, in the same process, once it is told to.
    process = start("/bin/sh", "-c", f"read line; exec {tmp_path}/idlewattgame 30")
    names, wanted = ProcessNames(), frozenset({"idlewattgame"})
    try:
        for _ in range(5):
            assert names.running(wanted, frozenset()) == ()
        process.stdin.write(b"go\n")
        process.stdin.flush()
        while name_of(process.pid) != "idlewattgame":
            pass
        assert any(names.running(wanted, frozenset()) for _ in range(ALL_NAMES_LOOKS))
    finally:
        process.kill()
