from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from node.engine import ipc
from node.engine.llama import LlamaEngine
from node.engine.loading import HostMachine
from node.engine.process import open_log
from node.engine.protocol import EngineError, LoadError
from node.engine.state import EngineState
from node.values.inference import ChatMessage
from tests.node.engine.helpers import answer, ask
from tests.node.engine.tiny import write_tiny
from tests.patience import PATIENCE_S

Make = Callable[..., LlamaEngine]


class States:
    """Collects an engine's states and lets a test wait for one."""

    def __init__(self) -> None:
        self.seen: list[EngineState] = []
        self._changed = asyncio.Event()

    def __call__(self, state: EngineState) -> None:
        self.seen.append(state)
        self._changed.set()

    async def until(self, name: str, times: int = 1) -> EngineState:
        async with asyncio.timeout(PATIENCE_S):
            while [state.name for state in self.seen].count(name) < times:
                self._changed.clear()
                await self._changed.wait()
        return [state for state in self.seen if state.name == name][-1]


async def fail_of(awaitable) -> EngineError:
    with pytest.raises(EngineError) as error:
        await awaitable
    assert "\n" not in error.value.line()
    return error.value


async def test_a_killed_worker_fails_its_requests_and_is_back_in_a_moment(make_engine: Make, tiny_model: Path):
    states = States()
    async with make_engine(tiny_model, on_state=states, backoff_s=0.01, window_tokens=8) as engine:
        before, *_ = await answer(engine, ask())
        stream = engine.generate(ask(max_tokens=400))
        await anext(stream)
        counting = asyncio.create_task(engine.count([ChatMessage("user", "x")]))
        first = engine.worker_pid
        os.kill(first, signal.SIGKILL)

        async def drain() -> None:
            async for _ in stream:
                pass

        error = await fail_of(drain())
        assert error.code == "engine_crashed"
        assert "SIGKILL" in error.message
        await asyncio.gather(counting, return_exceptions=True)
        assert (await fail_of(answer(engine, ask()))).code == "engine_crashed"
        assert "SIGKILL" in (await states.until("restarting")).why
        await states.until("ready", 2)
        assert engine.worker_pid != first
        assert not psutil.pid_exists(first)
        assert (await answer(engine, ask()))[0] == before


async def test_a_worker_that_hangs_is_ended_and_replaced(make_engine: Make, tiny_model: Path):
    states = States()
    async with make_engine(tiny_model, on_state=states, backoff_s=0.01, stall_s=0.5, load_stall_s=5) as engine:
        hung = engine.worker_pid
        os.kill(hung, signal.SIGSTOP)
        error = await fail_of(answer(engine, ask()))
        assert error.code == "engine_crashed"
        assert "no sign of life" in error.message
        await states.until("ready", 2)
        assert not psutil.pid_exists(hung)
        await answer(engine, ask())


async def test_a_healthy_idle_worker_is_left_alone(make_engine: Make, tiny_model: Path):
    async with make_engine(tiny_model, stall_s=2, load_stall_s=5) as engine:
        pid = engine.worker_pid
        heard = [engine._supervisor.worker.heard_at]
        async with asyncio.timeout(PATIENCE_S):
            while len(heard) < 3:
                await asyncio.sleep(0.01)
                if engine._supervisor.worker.heard_at != heard[-1]:
                    heard.append(engine._supervisor.worker.heard_at)
        assert engine.worker_pid == pid


async def test_a_worker_that_hangs_is_ended_on_close(make_engine: Make, tiny_model: Path):
    engine = make_engine(tiny_model, quit_s=0.1)
    await engine.start()
    pid = engine.worker_pid
    os.kill(pid, signal.SIGSTOP)
    await engine.close()
    assert not psutil.pid_exists(pid)


async def test_a_model_that_changed_into_rubbish_is_not_restarted_forever(make_engine: Make, tmp_path: Path):
    model = write_tiny(tmp_path / "model.gguf")
    states = States()
    async with make_engine(model, on_state=states, backoff_s=0.01) as engine:
        os.kill(engine.worker_pid, signal.SIGKILL)
        model.unlink()
        model.write_bytes(b"rubbish")
        await states.until("failed")
        error = await fail_of(answer(engine, ask()))
        assert error.code == "model_unusable"
        assert (await fail_of(engine.info())).code == "model_unusable"


async def test_a_worker_that_dies_while_it_loads_is_an_error_at_once(make_engine: Make, tiny_model: Path):
    engine = make_engine(tiny_model, python="/bin/false")
    error = await fail_of(engine.start())
    assert error.code == "engine_crashed"
    assert engine.state.name == "failed"
    await engine.close()


async def test_a_worker_that_keeps_dying_in_load_is_given_up(make_engine: Make, tiny_model: Path, tmp_path: Path):
    states, broken = States(), tmp_path / "broken"
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\n[ -e "{broken}" ] && exit 1\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    async with make_engine(tiny_model, on_state=states, backoff_s=0.01, python=str(python)) as engine:
        broken.touch()
        os.kill(engine.worker_pid, signal.SIGKILL)
        failed = await states.until("failed")
        assert "exit code 1" in failed.why


async def test_an_engine_that_can_not_start_its_worker_says_so(make_engine: Make, tiny_model: Path):
    error = await fail_of(make_engine(tiny_model, python="/nonexistent/python").start())
    assert error.code == "engine_crashed"
    assert "can't be started" in error.message


@pytest.mark.parametrize(
    ("contents", "says"),
    [(b"", "not a GGUF"), (b"hello, I am a text file", "not a GGUF"), (None, "truncated")],
    ids=["empty", "text", "half"],
)
async def test_a_file_that_is_no_whole_model_is_refused_without_a_worker(
    make_engine: Make, tiny_model: Path, tmp_path: Path, contents: bytes | None, says: str
):
    model = tmp_path / "bad.gguf"
    model.write_bytes(tiny_model.read_bytes()[:40_000] if contents is None else contents)
    engine = make_engine(model)
    error = await fail_of(engine.start())
    assert error.code == "model_unusable"
    assert says in error.message
    assert engine.worker_pid is None
    assert not (tmp_path / "logs").exists()


async def test_a_model_bigger_than_memory_is_refused_in_one_line(make_engine: Make, tiny_model: Path):
    machine = HostMachine(available_memory_bytes=lambda: 1 << 20)
    error = await fail_of(make_engine(tiny_model, machine=machine).start())
    assert error.code == "model_too_big"
    assert "are free" in error.message


async def test_what_llama_cpp_refuses_is_a_clear_error(make_engine: Make, tmp_path: Path):
    # The header is sound, but the architecture is none that llama.cpp knows.
    model = write_tiny(tmp_path / "odd.gguf")
    model.write_bytes(model.read_bytes().replace(b"llama", b"lxama"))
    error = await fail_of(make_engine(model).start())
    assert isinstance(error, LoadError)
    assert "odd.gguf" in error.message
    assert "log" in error.fix


async def test_a_broken_chat_template_makes_the_model_unusable(make_engine: Make, tmp_path: Path):
    error = await fail_of(make_engine(write_tiny(tmp_path / "broken.gguf", template="{% for %}")).start())
    assert error.code == "model_unusable"
    assert "template" in error.message


async def test_a_start_that_is_cancelled_leaves_no_process(make_engine: Make, tiny_model: Path):
    engine = make_engine(tiny_model)
    starting = asyncio.create_task(engine.start())
    async with asyncio.timeout(PATIENCE_S):
        while engine.worker_pid is None:
            await asyncio.sleep(0.01)
    pid = engine.worker_pid
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not psutil.pid_exists(pid)
    assert engine.state.name == "closed"


async def test_a_worker_that_sends_nonsense_is_ended(make_engine: Make, tiny_model: Path):
    states = States()
    async with make_engine(tiny_model, on_state=states, backoff_s=0.01) as engine:
        engine._supervisor.worker.data_received(b"\xff\xff\xff\xff")
        await states.until("ready", 2)
        await answer(engine, ask())


def test_the_worker_dies_with_its_parent_even_if_that_is_killed(tiny_model: Path, tmp_path: Path):
    program = textwrap.dedent(
        f"""
        import asyncio, sys
        from pathlib import Path
        from node.engine.llama import LlamaEngine

        async def main():
            async with LlamaEngine(Path({str(tiny_model)!r}), log_path=Path({str(tmp_path / "log")!r})) as engine:
                print(engine.worker_pid, flush=True)
                await asyncio.Event().wait()

        asyncio.run(main())
        """
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=Path.cwd()) as parent:
        assert parent.stdout is not None
        worker = psutil.Process(int(parent.stdout.readline()))
        assert worker.ppid() == parent.pid
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    assert psutil.wait_procs([worker], timeout=PATIENCE_S)[1] == []


def test_a_worker_whose_parent_is_gone_already_ends_at_once():
    command = [sys.executable, "-m", "node.engine.worker", "0", "1"]
    done = subprocess.run(command, check=False, capture_output=True, timeout=PATIENCE_S)
    assert done.returncode == 1


def test_log_files_are_private_and_turned_over_when_large(tmp_path: Path):
    path = tmp_path / "logs" / "engine.log"
    for _ in range(2):
        with open_log(path, max_bytes=10) as log:
            log.write(b"x" * 20)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert path.with_name("engine.log.1").read_bytes() == b"x" * 20
    assert path.read_bytes() == b"x" * 20


def test_frames_keep_their_order_of_tags():
    # Both sides are always the same version; a tag used twice would be read as the wrong frame.
    tags = [frame.__struct_config__.tag for frame in (*ipc.ToWorker.__args__, *ipc.FromWorker.__args__)]
    assert len(set(tags)) == len(tags)
