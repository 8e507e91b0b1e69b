"""Shows the steps of a forced withdrawal or an exit: done ones, and the waiting one with its deadline."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

from textual.app import ComposeResult
from textual.content import Content
from textual.widgets import Static

from node.values import IdlewattError, StepState, WithdrawalStep
from screens.dialogs import Dialog
from screens.text import countdown, one_line, short_hex

logger = logging.getLogger(__name__)

Stream = Callable[[], AbstractAsyncContextManager[AsyncIterator[WithdrawalStep]]]

_MARKS = {StepState.DOING: ("…", "$primary"), StepState.WAITING: ("◷", "$warning"), StepState.DONE: ("✓", "$success")}


def step_line(step: WithdrawalStep, now_ms: int) -> Content:
    """One step: its mark, its words, how long it still waits, the L1 transaction that did it."""
    mark, style = _MARKS[step.state]
    parts: list[Content | str | tuple[str, str]] = [(f"{mark} ", style), one_line(step.text, 300)]
    if step.ready_at_s is not None and step.state is not StepState.DONE:
        parts.append((f"  {countdown(step.ready_at_s, now_ms)}", "bold"))
    if step.l1_tx:
        parts.append((f"  {short_hex(step.l1_tx)}", "dim"))
    return Content.assemble(*parts)


class StepsDialog(Dialog[None]):
    """Runs a way out and shows its steps; closed early it stops watching, and nothing that was sent is lost.

    Args:
        title: What it is.
        stream: Begins it.
        now_ms: The clock that countdowns run against.
    """

    def __init__(self, title: str, stream: Stream, now_ms: Callable[[], int]) -> None:
        super().__init__(title)
        self._stream = stream
        self._now_ms = now_ms
        self._steps: dict[str, WithdrawalStep] = {}
        self._end: Content | None = None

    def compose_box(self) -> ComposeResult:
        """The steps, and what closes it."""
        yield Static("", markup=False, id="steps")
        yield Static("esc closes; what was sent goes on, and asking again goes on here.", markup=False, classes="label")

    def on_mount(self) -> None:
        """Begin."""
        self.run_worker(self._run(), exit_on_error=False)
        self.set_interval(1, self._draw)

    async def _run(self) -> None:
        try:
            async with self._stream() as steps:
                async for step in steps:
                    self._steps[step.key] = step
                    self._draw()
            waits = any(step.state is not StepState.DONE for step in self._steps.values())
            last = "The rest waits; come back later." if waits else "Done."
            self._end = Content.assemble((last, "bold $success" if not waits else "bold"))
        except IdlewattError as error:
            self._end = Content.assemble(("✗ ", "$error"), one_line(error.line(), 400))
        except Exception as error:
            logger.exception("escape_failed")
            text = f"Something failed inside ({type(error).__name__}). The log (9) has the details."
            self._end = Content.assemble(("✗ ", "$error"), text)
        self._draw()

    def _draw(self) -> None:
        lines = [step_line(step, self._now_ms()) for step in self._steps.values()]
        if self._end is not None:
            lines.append(self._end)
        self.query_one("#steps", Static).update(Content("\n").join(lines))
