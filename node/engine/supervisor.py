"""A worker's life: it is started, watched, ended when it hangs, and started again after a pause when it died."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

from chain.logs import get_logger
from node.engine import ipc
from node.engine.loading import Prepared
from node.engine.process import Lifecycle, WorkerProcess
from node.engine.protocol import EngineError, LoadError
from node.engine.requests import PendingRequests
from node.engine.state import EngineState, StateName
from node.engine.tuning import TuningCache
from node.engine.watchdog import Watchdog
from node.models.digest import DigestCache, file_identity
from node.models.fit import Fit
from node.models.model_error import ModelError, printable

log = get_logger(__name__)


class Supervisor:
    """Keeps a worker running over one model file.

    Args:
        model_path: The model's file.
        prepare: Looks at the file and plans how it is loaded; blocks, and raises `ModelError`.
        requests: What a worker's end fails, and its answers go to.
        log_path: Where the worker's output goes.
        lifecycle: How the worker's process is started, watched, ended, and started again.
        tuning: Where measured numbers of threads are remembered.
        digests: Where the model's SHA-256 is remembered.
        on_state: Called on the loop whenever `state` changes.
    """

    def __init__(
        self,
        model_path: Path,
        prepare: Callable[[], Prepared],
        requests: PendingRequests,
        *,
        log_path: Path,
        lifecycle: Lifecycle,
        tuning: TuningCache | None,
        digests: DigestCache,
        on_state: Callable[[EngineState], None] | None,
    ) -> None:
        self._model_path = model_path
        self._prepare = prepare
        self._requests = requests
        self._log_path = log_path
        self._lifecycle = lifecycle
        self._tuning = tuning
        self._digests = digests
        self._on_state = on_state
        self.state = EngineState("closed", "It was not started yet.")
        """The state of the engine, and why."""
        self.worker: WorkerProcess | None = None
        """The worker, while there is one."""
        self.prepared: Prepared | None = None
        """The model as it was looked at before it was last loaded."""
        self.worker_info: ipc.Ready | None = None
        """What a worker said of the model when it was last loaded; kept while its worker restarts."""
        self.speed = (0.0, 0.0)
        """Tokens per second and milliseconds to the first token, as last measured."""
        self._task: asyncio.Task[None] | None = None
        self._digest: asyncio.Task[str] | None = None
        self._stop_digest = threading.Event()
        self._last_end = self._last_words = ""
        self._identity: tuple[tuple[int, ...], ...] | None = None
        self._stalled = False
        self._watchdog = Watchdog(lifecycle.stall_s, 0)
        self._ready: ipc.Ready | None = None
        self._failure: EngineError | None = None
        self._load_error: EngineError | None = None
        self._gone = asyncio.Event()
        self._loaded = asyncio.Event()
        self._settled = asyncio.Event()

    @property
    def deadline_s(self) -> float:
        """How long a silence of the worker must be to be looked into."""
        return self._watchdog.deadline_s

    async def start(self) -> None:
        """Load the model; returns once it can be used.

        Raises:
            EngineError: With ``model_unusable`` or ``model_too_big``, or ``engine_crashed`` if the worker died.
        """
        if self._task is not None:
            return
        self._failure = None
        self._settled.clear()
        self._set_state("starting")
        self._identity = None
        self._task = asyncio.create_task(self._supervise(), name="engine supervisor")
        self._task.add_done_callback(self._supervised)
        try:
            await self._settled.wait()
        except asyncio.CancelledError:
            await self.close()
            raise
        if (failure := self._first_failure()) is not None:
            await self._end_tasks()
            raise failure

    def _first_failure(self) -> EngineError | None:
        return self._failure

    async def close(self) -> None:
        """End the worker and everything it owns; running requests fail with ``engine_closed``."""
        if self.state.name == "closed" and self._task is None:
            return
        closed = EngineError("The engine was closed.", code="engine_closed")
        self._set_state("closed", "It was closed.")
        self._requests.fail(closed)
        await self._end_tasks()

    def usable(self) -> tuple[WorkerProcess, Fit]:
        """The worker, if it can be asked now, and what fits it.

        Raises:
            EngineError: Why it can't be asked.
        """
        if self.state.name != "ready" or self.worker is None or self.prepared is None:
            raise self._failure or self._unavailable()
        return self.worker, self.prepared.fit

    def known(self) -> tuple[Prepared, ipc.Ready]:
        """What is known of the model once it was loaded, also while its worker restarts.

        Raises:
            EngineError: If it was not loaded yet, or can't be.
        """
        if self._failure is not None or self.worker_info is None or self.prepared is None or self._digest is None:
            raise self._failure or self._unavailable()
        return self.prepared, self.worker_info

    async def sha256(self) -> str:
        """The digest of a model that is `known`, computed once.

        Raises:
            LoadError: If its file can't be read, or is another one than what was loaded.
        """
        assert self._digest is not None
        try:
            digest = await asyncio.shield(self._digest)
            await asyncio.to_thread(self._check_identity)
        except OSError as error:
            raise LoadError(f"The model file can't be read: {error.strerror}.") from error
        return digest

    async def _supervise(self) -> None:
        """Keep a worker running: start it, wait for its end, start it again after a pause."""
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            began = loop.time()
            self._load_error = None
            was_ready = False
            try:
                was_ready = await self._run_worker()
                error = self._load_error or self._crash()
            except EngineError as refused:
                error = refused
            except Exception as unforeseen:
                error = self._unforeseen(unforeseen)
            if was_ready and loop.time() - began >= self._lifecycle.healthy_s:
                failures = 0
            failures += 1
            self._requests.fail(error)
            log.warning("engine_worker_ended", code=error.code, reason=error.message, failures=failures)
            hopeless = isinstance(error, LoadError) or self._load_error is not None
            if (
                self.state.name == "starting"
                or hopeless
                or (not was_ready and failures >= self._lifecycle.max_failed_loads)
            ):
                self._failure = error
                self._set_state("failed", self._explain(error))
                self._settled.set()
                return
            self._set_state("restarting", self._explain(error))
            await asyncio.sleep(self._backoff_s(failures))

    def _backoff_s(self, failures: int) -> float:
        """The wait after so many failures in a row."""
        return min(self._lifecycle.max_backoff_s, self._lifecycle.backoff_s * 2.0 ** (failures - 1))

    async def _run_worker(self) -> bool:
        """Run one worker from start to end; returns whether it became ready."""
        try:
            self.prepared = prepared = await asyncio.to_thread(self._prepare)
            await asyncio.to_thread(self._check_identity)
        except ModelError as error:
            raise LoadError(error.message, code=error.code, fix=error.fix) from error
        except OSError as error:
            raise LoadError(f"The model file can't be read: {error.strerror}.") from error
        if self._digest is None or (self._digest.done() and self._digest.exception() is not None):
            self._stop_digest.clear()
            work = asyncio.to_thread(self._digests.sha256, self._model_path, self._stop_digest)
            self._digest = asyncio.create_task(work, name="model digest")
        self._gone.clear()
        self._loaded.clear()
        self._ready = None
        self._stalled = False
        self._watchdog = Watchdog(self._lifecycle.stall_s, prepared.gguf.file_bytes, self._lifecycle.load_stall_s)
        self.worker = worker = await WorkerProcess.start(self._log_path, self._take, self._gone.set, self._lifecycle)
        try:
            worker.send(prepared.load)
            async with asyncio.TaskGroup() as tasks:
                watching = tasks.create_task(self._watch(worker, self._watchdog))
                remembering = tasks.create_task(self._remember_threads(prepared))
                await self._gone.wait()
                watching.cancel()
                remembering.cancel()
        finally:
            self.worker = None
            # A worker that still loads would not read the quit frame.
            orderly = self.state.name == "closed" and self._ready is not None
            await (worker.stop() if orderly else worker.kill())
        self._last_end = worker.describe_end()
        self._last_words = await asyncio.to_thread(worker.last_words) if self._ready is None else ""
        return self._ready is not None

    def _check_identity(self) -> None:
        """Refuse another file under the same name: what is rented out is known by its digest.

        Raises:
            LoadError: If it was replaced since it was first loaded.
            OSError: If it is gone.
        """
        now = file_identity(self._model_path)
        if self._identity is None:
            self._identity = now
        if now != self._identity:
            raise LoadError(
                f"The file {printable(self._model_path.name)} was replaced or written to after it was loaded.",
                fix="Load it again: go online again, or start the command again.",
            )

    def _supervised(self, task: asyncio.Task[None]) -> None:
        """However supervising ends, nobody waits for it any more."""
        if task.cancelled() or (unforeseen := task.exception()) is None or self._settled.is_set():
            return
        self._failure = self._unforeseen(unforeseen)
        self.state = EngineState("failed", self._failure.line())
        self._requests.fail(self._failure)
        self._settled.set()

    def _unforeseen(self, error: BaseException) -> EngineError:
        """An error that no rule here knows: logged in full, told in one line."""
        log.error("engine_supervisor_failed", exc_info=error)
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        return EngineError(
            f"Something unforeseen went wrong with the engine ({type(error).__name__}).",
            code="internal",
            fix="The logs of the home say more: please report them.",
        )

    async def _watch(self, worker: WorkerProcess, watchdog: Watchdog) -> None:
        """End a worker that neither answers nor makes progress."""
        await watchdog.until_stalled(worker, asyncio.get_running_loop().time)
        self._stalled = True
        self._gone.set()

    async def _remember_threads(self, prepared: Prepared) -> None:
        await self._loaded.wait()
        ready, tuning = self._ready, self._tuning
        if tuning is not None and ready is not None and prepared.load.try_threads and ready.threads.single:
            await asyncio.to_thread(tuning.put, prepared.tuning_key, ready.threads)

    def _take(self, frame: ipc.FromWorker) -> None:
        match frame:
            case ipc.Ready():
                self._ready = self.worker_info = frame
                self.speed = (frame.tokens_per_s, frame.ttft_ms)
                self._watchdog.loaded = True
                log.info(
                    "model_loaded",
                    model=printable(self._model_path.name),
                    backend=frame.backend,
                    threads=frame.threads.single,
                    tokens_per_s=round(frame.tokens_per_s, 1),
                )
                self._set_state("ready")
                self._loaded.set()
                self._settled.set()
            case ipc.LoadFailed():
                self._load_error = LoadError(
                    f"The model {printable(self._model_path.name)} can't be used: {frame.message}",
                    fix=f"{frame.fix or 'Choose another model.'} The log is {self._log_path}.",
                    peer_code=frame.code,
                )
            case ipc.Pong():
                self._watchdog.step_s = frame.step_s
            case ipc.Loading():
                pass
            case _:
                self._requests.take(frame)

    def _explain(self, error: EngineError) -> str:
        """What the owner of this machine should know."""
        return error.line() if isinstance(error, LoadError) else f"{error.message} Its log is {self._log_path}."

    def _crash(self) -> EngineError:
        if self._stalled:
            message = f"The engine worker gave no sign of life for {self._watchdog.silent_s:.3g} s and was ended."
        else:
            message = f"The engine worker ended unexpectedly ({self._last_end})."
        if self._ready is None and self.prepared is not None:
            # llama.cpp aborts on some broken files, and Linux kills what takes too much memory.
            name = printable(self._model_path.name)
            why = f" It wrote: {self._last_words}." if self._last_words else ""
            return EngineError(
                f"{message[:-1]} while it loaded {name}.{why}",
                code="engine_crashed",
                fix="Download the model again or choose another one, and close other programs if memory is short.",
            )
        # This error may reach a buyer: it holds no path of this machine.
        return EngineError(message, code="engine_crashed", fix="Try again in a moment.")

    def _unavailable(self) -> EngineError:
        if self.state.name == "closed":
            return EngineError("The engine is closed.", code="engine_closed")
        state = "restarting" if self.state.name == "ready" else self.state.name
        return EngineError(f"The engine is {state}.", code="engine_crashed", fix="Try again in a moment.")

    async def _end_tasks(self) -> None:
        self._stop_digest.set()
        for task in (self._task, self._digest):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
                if not task.cancelled():
                    task.exception()  # taken note of: it was told when it happened, or nobody asked for the result
        self._task = self._digest = None

    def _set_state(self, name: StateName, why: str = "") -> None:
        if self.state.name == "closed" and name not in ("starting", "closed"):
            return
        self.state = EngineState(name, why)
        if self._on_state is None:
            return
        try:
            self._on_state(self.state)
        except Exception:
            # A listener's mistake must not keep the engine from starting, or from ending what waits for it.
            log.exception("engine_listener_failed", state=name)
