"""Turns the states of a provider's session into the job that screens show."""

from __future__ import annotations

import time

from node.engine.protocol import EngineInfo
from node.runtime.jobs import JobRegistry, now_ms
from node.session import provider as machine
from node.values import JobStage, JobView
from wallet.addresses import checksum_address


class JobTracker:
    """Turns a session's states into the job that screens show."""

    def __init__(self, jobs: JobRegistry, info: EngineInfo) -> None:
        self._jobs = jobs
        self._info = info
        self._first_text_s = 0.0
        self._last_text_s = 0.0
        self._first_tokens = 0
        self._tokens = 0
        self.job: JobView | None = None

    def follow(self, state: machine.ProviderState) -> None:
        """Take a session's newest state."""
        if state.ask is None or state.channel is None or state.stage is machine.Stage.ENDED:
            if self.job is not None:
                self.job = self._view(state)
            return
        if state.stage in {machine.Stage.CHECKING, machine.Stage.COUNTING}:
            return
        self.job = self._view(state)
        self._jobs.update(self.job)

    def _view(self, state: machine.ProviderState) -> JobView:
        assert state.ask is not None
        assert state.channel is not None
        if state.output_tokens > self._tokens:
            self._tokens, self._last_text_s = state.output_tokens, time.monotonic()
            if not self._first_text_s:
                self._first_text_s, self._first_tokens = self._last_text_s, self._tokens
        elapsed_s = self._last_text_s - self._first_text_s
        speed = (self._tokens - self._first_tokens) / elapsed_s if elapsed_s > 0.001 else 0.0
        before = self.job
        return JobView(
            job_id=before.job_id if before else f"{state.ask.request_id[:40]}-{now_ms():x}",
            role="provider",
            model=self._info.model_name,
            peer=before.peer if before else checksum_address(state.channel.payer),
            stage=_stage(state),
            channel_id=state.channel.channel_id,
            input_tokens=state.input_tokens,
            output_tokens=state.output_tokens,
            tokens_per_s=speed,
            amount_nano=max(0, state.paid_nano - state.base_nano),
            exposure_nano=state.exposure_nano,
            credit_window_nano=state.window_nano,
            started_ms=before.started_ms if before else now_ms(),
            finished_ms=None,
        )


def _stage(state: machine.ProviderState) -> JobStage:
    if state.stalled:
        return JobStage.UNPAID
    if state.output_tokens:
        return JobStage.STREAMING
    return JobStage.PREFILL if state.started_ms else JobStage.QUEUED
