"""One turn of a chat as it goes: a pure reduction of ``ChatEvent`` into what the screen shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual.content import Content

from node.values import (
    AnswerEnding,
    AnswerLimit,
    ChatDelta,
    ChatDone,
    ChatEvent,
    ChatFailed,
    ChatMessage,
    ChatQuote,
    ChatStage,
    FinishReason,
    ReceiptView,
    ending_of,
)
from screens.text import duration, milliseconds, one_line, speed, usd

STAGE_WORDS = {
    "choosing": "choosing an offer",
    "connecting": "connecting to the provider",
    "opening_channel": "opening a payment channel",
    "asking": "asking for a quote",
    "queued": "waiting for a free slot",
    "prefill": "the model reads the prompt",
}
MIN_MEASURED_S = 0.2


@dataclass
class TurnProgress:
    """The state of the running turn."""

    started_ms: int
    stage: str = "starting"
    detail: str = ""
    job_id: str = ""
    model: str = ""
    ceiling_nano: int = 0
    max_output_tokens: int = 0
    limited_by: AnswerLimit | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    spent_nano: int = 0
    first_token_ms: int | None = None
    deposit_left_nano: int | None = None
    receipt: ReceiptView | None = None
    stopping: bool = False
    thought: bool = False
    reason: FinishReason = "failed"
    """How it ended; an answer without an end has failed."""

    def take(self, event: ChatEvent, now_ms: int) -> None:
        """Apply one event."""
        if isinstance(event, ChatStage):
            self.stage, self.detail = event.stage, event.detail
        elif isinstance(event, ChatQuote):
            self.job_id, self.model = event.job_id, event.model
            self.input_tokens, self.ceiling_nano = event.input_tokens, event.ceiling_nano
            self.max_output_tokens, self.limited_by = event.max_output_tokens, event.limited_by
        elif isinstance(event, ChatDelta):
            if self.first_token_ms is None:
                self.first_token_ms = now_ms
            self.output_tokens, self.spent_nano = event.output_tokens, event.spent_nano
            self.thought = self.thought or (event.thinking and bool(event.text.strip()))
        elif isinstance(event, ChatDone):
            self.job_id, self.receipt, self.reason = event.job_id, event.receipt, event.reason
            self.output_tokens, self.spent_nano = event.output_tokens, event.cost_nano
            self.deposit_left_nano = event.deposit_left_nano
        else:
            self.spent_nano = event.cost_nano

    def ending(self, answer: str) -> AnswerEnding:
        """How the answer with this text ended."""
        return ending_of(
            self.reason,
            text=answer,
            output_tokens=self.output_tokens,
            max_output_tokens=self.max_output_tokens,
            limited_by=self.limited_by,
            thought=self.thought,
        )

    def tokens_per_s(self, now_ms: int) -> float:
        """The speed since the first token."""
        if self.first_token_ms is None:
            return 0.0
        elapsed_s = (now_ms - self.first_token_ms) / 1000
        return (self.output_tokens - 1) / elapsed_s if elapsed_s >= MIN_MEASURED_S else 0.0

    def running_content(self, now_ms: int) -> Content:
        """The current stage, and for how long."""
        elapsed = duration((now_ms - self.started_ms) / 1000)
        if self.stopping:
            return Content.assemble(("■ ", "$warning"), "stopping, paying for what was delivered…")
        if self.first_token_ms is None:
            what = STAGE_WORDS.get(self.stage, one_line(self.stage, 40))
            detail = f": {one_line(self.detail, 80)}" if self.detail else ""
            return Content.assemble(("◐ ", "$warning"), f"{what}{detail} · {elapsed} · esc stops")
        rate = self.tokens_per_s(now_ms)
        rate_text = f" · {speed(rate)} tok/s" if rate else ""
        return Content.assemble(
            ("▶ ", "$success"),
            f"{one_line(self.model, 30)}{rate_text} · {self.output_tokens} tokens · {usd(self.spent_nano)} · esc stops",
        )


def ending_content(ending: AnswerEnding) -> Content:
    """Why an answer is not whole; empty if it is."""
    return Content.assemble(("■ ", "$warning"), ending.words) if ending.words else Content("")


def done_content(done: ChatDone, ending: AnswerEnding) -> Content:
    """The lines below an answer that came to its end: why it is not whole, and its figures."""
    thought = f" ({done.thinking_tokens} thinking)" if done.thinking_tokens else ""
    figures = Content(
        f"{done.input_tokens} → {done.output_tokens} tokens{thought} · {speed(done.tokens_per_s)} tok/s"
        f" · first {milliseconds(done.ttft_ms)}"
        f" · {usd(done.cost_nano)} · ✓ receipt"
    )
    told = ending_content(ending)
    return Content("\n").join([told, figures]) if told else figures


def failed_content(failed: ChatFailed) -> Content:
    """The lines below an answer that failed: what, the fix, what it cost."""
    parts: list[Content | str | tuple[str, str]] = [
        ("✗ ", "$error"),
        (one_line(failed.code, 60), "bold"),
        " ",
        one_line(failed.message, 600),
    ]
    if failed.fix:
        parts += [("\n→ ", "$primary"), one_line(failed.fix, 600)]
    cost = f"{usd(failed.cost_nano)} was paid, for what was delivered" if failed.cost_nano else "It cost nothing"
    parts.append((f"\n{cost}. ctrl+r asks again.", "dim"))
    return Content.assemble(*parts)


def stopped_content(turn: TurnProgress) -> Content:
    """The line below an answer that the person stopped."""
    paid = f"paid {usd(turn.spent_nano)} for what came" if turn.spent_nano else "nothing was paid"
    return Content(f"■ stopped after {turn.output_tokens} tokens · {paid}")


def answered_messages(messages: Sequence[ChatMessage]) -> tuple[ChatMessage, ...]:
    """A conversation as it is sent: without the questions that got no answer, and without their empty answers."""
    unanswered = {
        place - back
        for place, message in enumerate(messages)
        for back in (0, 1)
        if message.role == "assistant" and not message.content.strip()
    }
    return tuple(message for place, message in enumerate(messages) if place not in unanswered)
