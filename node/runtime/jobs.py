"""The jobs of both sides: running ones in memory, finished ones in the store, tokens per second as history."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec

from chain.errors import IdlewattError
from chain.logs import get_logger
from node.store.records import JobRecord
from node.store.store import Store
from node.values import JobStage, JobView, ReceiptView
from node.values.text import plain
from wallet.addresses import checksum_address
from wallet.receipts import Receipt

log = get_logger(__name__)

RECENT_JOBS: Final = 50
HISTORY_SAMPLES: Final = 120
CHANGE_INTERVAL_S: Final = 0.1


class JobRegistry:
    """Knows the running jobs and the newest finished ones.

    Args:
        store: Where finished jobs are kept.
        on_change: Told that jobs changed, at most every tenth of a second.
    """

    def __init__(self, store: Store, on_change: Callable[[], None]) -> None:
        self._store = store
        self._on_change = on_change
        self._active: dict[tuple[str, str], JobView] = {}
        self._recent: deque[JobView] = deque(maxlen=RECENT_JOBS)
        self._told_at_s = 0.0
        self._tokens = 0
        self._history: deque[float] = deque(maxlen=HISTORY_SAMPLES)
        self._listeners: list[Callable[[JobView], None]] = []

    @property
    def active(self) -> tuple[JobView, ...]:
        """Running jobs, the oldest first."""
        return tuple(self._active.values())

    @property
    def recent(self) -> tuple[JobView, ...]:
        """Finished jobs, newest first."""
        return tuple(self._recent)

    @property
    def history(self) -> tuple[float, ...]:
        """Output tokens a second, one sample a second, oldest first."""
        return tuple(self._history)

    def add_listener(self, listener: Callable[[JobView], None]) -> None:
        """Tell ``listener`` of every step of a job, and of its end, when it happens."""
        self._listeners.append(listener)

    async def load(self) -> None:
        """Read the newest jobs of earlier runs. Jobs that a crash interrupted are ended."""
        await self._store.end_unfinished_jobs(now_ms())
        for record in reversed(await self._store.jobs(RECENT_JOBS)):
            receipt = None
            if record.channel_id is not None and record.sequence is not None:
                receipt = await self._store.receipt(record.role, record.channel_id, record.sequence)
            self._recent.appendleft(_view(record, receipt))

    def update(self, job: JobView) -> None:
        """Set the newest state of a running job."""
        key = job.role, job.job_id
        before = self._active.get(key)
        self._tokens += job.output_tokens - (before.output_tokens if before else 0)
        self._active[key] = job
        self._tell(job)
        if before is None or before.stage is not job.stage or time.monotonic() - self._told_at_s > CHANGE_INTERVAL_S:
            self._told_at_s = time.monotonic()
            self._on_change()

    def drop(self, job: JobView | None) -> None:
        """Forget a job that delivered nothing."""
        if job is not None and self._active.pop((job.role, job.job_id), None) is not None:
            self._tell(msgspec.structs.replace(job, stage=JobStage.CANCELLED, finished_ms=now_ms()))
            self._on_change()

    async def finish(self, job: JobView, peer: bytes, reason: str) -> None:
        """Keep a job that ended, here and in the store. Where the store fails, only history is lost."""
        self._active.pop((job.role, job.job_id), None)
        self._recent.appendleft(job)
        self._tell(job)
        self._on_change()
        record = JobRecord(
            job_id=job.job_id,
            role=job.role,
            model=job.model,
            peer=peer,
            started_ms=job.started_ms,
            finished_ms=job.finished_ms or now_ms(),
            input_tokens=job.input_tokens,
            output_tokens=job.output_tokens,
            amount_nano=job.amount_nano,
            finish_reason=reason,
            error_code=job.error_code,
            tokens_per_s=job.tokens_per_s,
            channel_id=job.channel_id,
            sequence=job.receipt.sequence if job.receipt else None,
        )
        try:
            await self._store.save_job(record)
        except IdlewattError as error:
            log.error("job_not_saved", job=job.job_id, error=error.line())

    def _tell(self, job: JobView) -> None:
        for listener in self._listeners:
            listener(job)

    def sample(self) -> None:
        """Add the tokens of the last second to the history."""
        self._history.append(float(self._tokens))
        self._tokens = 0


def receipt_view(receipt: Receipt) -> ReceiptView:
    """A receipt as screens and JSON show it."""
    return ReceiptView(
        channel_id=receipt.channel_id,
        sequence=receipt.sequence,
        provider=checksum_address(receipt.provider),
        model_sha256=receipt.model_sha256.hex(),
        engine_build=receipt.engine_build,
        prompt_hash="0x" + receipt.prompt_hash.hex(),
        output_hash="0x" + receipt.output_hash.hex(),
        fingerprint_hash="0x" + receipt.fingerprint_hash.hex(),
        input_tokens=receipt.input_tokens,
        output_tokens=receipt.output_tokens,
        cumulative_nano=receipt.cumulative_nano,
        seed=receipt.seed,
        started_ms=receipt.started_ms,
        finished_ms=receipt.finished_ms,
        signature="0x" + receipt.signature.hex(),
    )


def ended(job: JobView, *, code: str = "", error: str = "", receipt: Receipt | None = None) -> JobView:
    """The job as it stands at its end."""
    stage = JobStage.CANCELLED if code == "cancelled" else JobStage.FAILED if code else JobStage.DONE
    return msgspec.structs.replace(
        job,
        stage=stage,
        finished_ms=now_ms(),
        error_code=code,
        error=plain(error, 300),
        receipt=receipt_view(receipt) if receipt else None,
    )


def now_ms() -> int:
    """The time in milliseconds UTC."""
    return time.time_ns() // 1_000_000


def _view(record: JobRecord, receipt: Receipt | None) -> JobView:
    cancelled = record.finish_reason == "cancelled"
    stage = JobStage.CANCELLED if cancelled else JobStage.FAILED if record.error_code else JobStage.DONE
    return JobView(
        job_id=record.job_id,
        role=record.role,
        model=record.model,
        peer=checksum_address(record.peer),
        stage=stage,
        channel_id=record.channel_id,
        input_tokens=record.input_tokens,
        output_tokens=record.output_tokens,
        tokens_per_s=record.tokens_per_s,
        amount_nano=record.amount_nano,
        exposure_nano=0,
        credit_window_nano=0,
        started_ms=record.started_ms,
        finished_ms=record.finished_ms,
        error_code=record.error_code,
        receipt=receipt_view(receipt) if receipt else None,
    )
