"""How the provider delivers text: in pieces that the credit window allows, billed so that a buyer can check it."""

from __future__ import annotations

from msgspec.structs import replace

from node.session import messages as m
from node.session import provider_io as io
from node.session.provider_state import ProviderState, Stage, Step
from node.session.terms import bill_nano, fingerprint_hash, prompt_hash, window_nano


def deliver(state: ProviderState) -> Step:
    """Deliver what the credit window allows, then finish if the engine has ended."""
    actions: list[io.Action] = []
    while state.pending_text or state.pending_tokens:
        piece = _next_piece(state)
        if piece is None:
            if not state.stalled:
                state = replace(state, stalled=True)
                actions += [io.Send(m.Stalled(owed_nano=state.owed_nano)), io.AwaitPayment(state.owed_nano)]
            return state, tuple(actions)
        state, delta = _delivered(state, *piece)
        actions.append(io.Send(delta))
    state = replace(state, stalled=False)
    if state.ended is None:
        return state, tuple(actions)
    reason = state.ended.reason
    return finish(state, reason, state.ended.at_ms, tuple(actions))


def _next_piece(state: ProviderState) -> tuple[str, int] | None:
    """The text to deliver next and the number of its tokens; ``None`` when the window is full."""
    text, tokens = state.pending_text, state.pending_tokens
    step_tokens = max(1, state.policy.credit_tokens // 2)
    logprobs = -(-len(state.pending_logprobs) // m.MAX_DELTA_LOGPROBS)
    pieces = max(1, -(-tokens // step_tokens), -(-len(text) // m.MAX_DELTA_CHARS), logprobs)
    if pieces > 1:
        text, tokens = text[: -(-len(text) // pieces)], min(tokens, -(-tokens // pieces))
    billed = _billable(state, text, tokens)
    after = bill_nano(state.policy.prices, state.input_tokens, state.output_tokens + billed)
    unpaid = state.base_nano + after - state.paid_nano
    begun = state.paid_nano > state.base_nano
    allowed = window_nano(state.policy.prices, 0 if begun else state.input_tokens, state.policy.credit_tokens)
    return None if unpaid > allowed else (text, tokens)


def _billable(state: ProviderState, text: str, tokens: int) -> int:
    """The tokens to bill for a piece: in all never more than bytes delivered, and never more than were quoted."""
    byte_room = state.output_bytes + len(text.encode()) - state.output_tokens
    return max(0, min(tokens, byte_room, state.max_output_tokens - state.output_tokens))


def _delivered(state: ProviderState, text: str, tokens: int) -> tuple[ProviderState, m.Delta]:
    billed = _billable(state, text, tokens)
    digest = state.output_hash.copy()
    digest.update(text.encode())
    left = state.pending_text[len(text) :]
    # There is one entry for each token that begins in the text. This piece takes its own; the last one takes the rest.
    logprobs = state.pending_logprobs[: tokens if left else m.MAX_DELTA_LOGPROBS]
    delivered = replace(
        state,
        output_tokens=state.output_tokens + billed,
        output_bytes=state.output_bytes + len(text.encode()),
        output_hash=digest,
        pending_text=left,
        pending_tokens=state.pending_tokens - tokens,
        pending_logprobs=state.pending_logprobs[len(logprobs) :] if left else (),
    )
    delta = m.Delta(
        text=text,
        tokens=billed,
        thinking=state.pending_thinking,
        marker=state.pending_marker,
        logprobs=logprobs,
    )
    return delivered, delta


def finish(state: ProviderState, reason: str, at_ms: int, before: tuple[io.Action, ...] = ()) -> Step:
    """Deliver nothing more, and ask for the receipt of what was delivered.

    Args:
        state: The session so far.
        reason: Why the answer ends: the engine's reason, ``cancelled`` or ``failed``.
        at_ms: When it ended, milliseconds UTC.
        before: Actions to run before the receipt is made.
    """
    ask = state.ask
    assert ask is not None
    receipt = io.IssueReceipt(
        channel_id=ask.channel_id,
        prompt_hash=prompt_hash(ask.messages),
        output_hash=state.output_hash.digest(),
        fingerprint_hash=fingerprint_hash(
            ask.sampling,
            ask.stop,
            state.max_output_tokens,
            state.seed,
            ask.response_format,
            ask.template_options,
        ),
        input_tokens=state.input_tokens,
        output_tokens=state.output_tokens,
        cumulative_nano=state.owed_nano,
        seed=state.seed,
        started_ms=state.started_ms,
        finished_ms=max(at_ms, state.started_ms),
    )
    ended = io.EngineEnded("cancelled", at_ms) if reason == "cancelled" or state.ended is None else state.ended
    if reason == "cancelled" and not state.cancelled:
        ended = io.EngineEnded("failed", at_ms, "engine_stopped", "The provider stopped the request.")
    return replace(state, stage=Stage.RECEIPTING, ended=ended), (*before, receipt)
