"""The provider's side of one metered session: a pure state machine, events in, actions out.

The shell (``node.provider.session``) runs the actions and returns their results as events. What this file promises,
whatever the buyer sends and in whatever order:

* *Exposure* (the bill for what was delivered, less what the vouchers on disk pay) never exceeds ``window_nano``: the
  prompt and ``credit_tokens`` of output. Once the buyer has begun to pay, at most ``credit_tokens`` of output stay
  unpaid.
* The bill never exceeds the quote's ceiling. The ceiling never exceeds what the channel still holds.
* A voucher counts only after the shell says that it is on disk.
* No event raises.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from chain.errors import ErrorCode
from node.engine.protocol import GenerateRequest
from node.session import messages as m
from node.session import provider_io as io
from node.session.provider_delivery import deliver, finish
from node.session.provider_rules import BUYER_REFUSALS, ask_problem, channel_problem, voucher_problem
from node.session.provider_state import ProviderPolicy, ProviderState, Stage, Step
from node.session.terms import ChannelFacts, affordable_tokens, bill_nano
from node.values.public import public_words
from wallet.receipts import Receipt
from wallet.vouchers import Voucher

_ELSEWHERE: Final = "Choose another offer."

__all__ = ["ProviderPolicy", "ProviderState", "Stage", "Step", "start", "step"]


def start(policy: ProviderPolicy) -> ProviderState:
    """The first state: nothing has been received yet."""
    return ProviderState(policy=policy)


def step(state: ProviderState, event: io.Event) -> Step:
    """Take one event.

    Returns:
        The next state, and the actions to run in this order. No event raises.
    """
    if state.stage is Stage.ENDED:
        return state, ()
    match event:
        case io.Received(message):
            return _on_message(state, message)
        case io.ChannelChecked(facts):
            return _on_channel(state, facts)
        case io.VoucherStored(voucher):
            return _on_voucher_stored(state, voucher)
        case io.InputCounted(input_tokens):
            return _on_counted(state, input_tokens)
        case io.Started(input_tokens, seed, at_ms):
            return _on_started(state, input_tokens, seed, at_ms)
        case io.TextProduced():
            return _on_produced(state, event)
        case io.EngineEnded():
            return _on_engine_ended(state, event)
        case _:
            return _on_rest(state, event)


def _on_rest(state: ProviderState, event: io.Event) -> Step:
    match event:
        case io.Refused(code, message, fix, retry_after_ms):
            return _end(state, code, message, fix, retry_after_ms=retry_after_ms)
        case io.WaitingForSlot(position, eta_ms) if state.stage is Stage.RUNNING:
            queued = m.Queued(position=_within(position, m.MAX_POSITION), eta_ms=_within(eta_ms, m.MAX_ETA_MS))
            return replace(state, is_queued=True), (io.Send(queued),)
        case io.ReceiptReady(receipt) if state.stage is Stage.RECEIPTING:
            return _on_receipt(state, receipt)
        case io.CloseSigned(cumulative_nano, signature) if isinstance(state.first, m.CloseRequest):
            answer = m.CloseSignature(
                channel_id=state.first.channel_id, cumulative_nano=cumulative_nano, signature=signature
            )
            return replace(state, stage=Stage.ENDED), (io.Send(answer), io.EndRequest("done"))
        case io.PaymentTimeout() if state.awaits_payment:
            return _end(state, "unpaid", "No voucher came for what was delivered.", "Ask again; nothing else is owed.")
        case io.PeerGone(code):
            return _gone(state, code)
        case _:
            return state, ()


def _on_message(state: ProviderState, message: m.Message) -> Step:
    match message:
        case m.Ask() if state.stage is Stage.IDLE:
            return _on_ask(state, message)
        case m.Pay() if state.stage is Stage.IDLE:
            checking = replace(state, stage=Stage.CHECKING, first=message)
            return checking, (io.CheckChannel(message.voucher.channel_id),)
        case m.CloseRequest() if state.stage is Stage.IDLE:
            return replace(state, stage=Stage.CHECKING, first=message), (io.CheckChannel(message.channel_id),)
        case m.Pay(voucher=voucher) if state.channel is not None:
            return _on_voucher(state, voucher)
        case m.Cancel() if state.ask is not None:
            return _on_cancel(state)
        case m.Cancel() if state.stage is Stage.IDLE:
            return state, ()  # it was for the request before, which had already ended
        case m.Fault(code=code):
            return _gone(state, code, said=True)
        case _:
            return _end(state, "protocol", "That message does not belong here.")


def _on_ask(state: ProviderState, ask: m.Ask) -> Step:
    asked = replace(state, ask=ask)
    wrong = ask_problem(state.policy, ask)
    if wrong:
        return _end(asked, *wrong)
    return replace(asked, stage=Stage.CHECKING), (io.CheckChannel(ask.channel_id),)


def _on_channel(state: ProviderState, facts: ChannelFacts) -> Step:
    if state.stage is not Stage.CHECKING:
        return state, ()
    known = replace(
        state, channel=facts, seen_nano=facts.held_nano, paid_nano=facts.held_nano, base_nano=facts.held_nano
    )
    voucher = _opening_voucher(state)
    wrong = channel_problem(known, facts) or (voucher_problem(known, voucher) if voucher else None)
    if wrong:
        return _end(known, *wrong)
    waiting = replace(known, stage=Stage.COUNTING)
    if voucher is not None and voucher.cumulative_nano > known.seen_nano:
        return replace(waiting, seen_nano=voucher.cumulative_nano), (io.StoreVoucher(voucher),)
    return _after_opening(waiting)


def _opening_voucher(state: ProviderState) -> Voucher | None:
    opening = state.ask or state.first
    return None if opening is None else opening.voucher


def _after_opening(state: ProviderState) -> Step:
    """The channel is good and the newest voucher is on disk: go on with what the session was opened for."""
    if state.ask is not None:
        return state, (io.CountInput(state.ask.messages, state.ask.template_options),)
    if isinstance(state.first, m.CloseRequest):
        return state, (io.AgreeClose(state.first.channel_id),)
    ended = replace(state, stage=Stage.ENDED)
    return ended, (io.Send(m.Settled(cumulative_nano=state.paid_nano)), io.EndRequest("done"))


def _on_voucher(state: ProviderState, voucher: Voucher) -> Step:
    wrong = voucher_problem(state, voucher)
    if wrong:
        return _end(state, *wrong)
    if voucher.cumulative_nano <= state.seen_nano:
        return state, ()
    return replace(state, seen_nano=voucher.cumulative_nano), (io.StoreVoucher(voucher),)


def _on_voucher_stored(state: ProviderState, voucher: Voucher) -> Step:
    if state.channel is None or voucher.cumulative_nano <= state.paid_nano:
        return state, ()
    paid = replace(state, paid_nano=voucher.cumulative_nano)
    match state.stage:
        case Stage.COUNTING if state.max_output_tokens == 0:
            return _after_opening(replace(paid, base_nano=paid.paid_nano))
        case Stage.RUNNING:
            return deliver(paid)
        case Stage.SETTLING if paid.paid_nano >= paid.owed_nano:
            return _settled(paid)
        case _:
            return paid, ()


def _on_counted(state: ProviderState, input_tokens: int) -> Step:
    ask, facts, policy = state.ask, state.channel, state.policy
    if state.stage is not Stage.COUNTING or ask is None or facts is None:
        return state, ()
    room = policy.context_length - input_tokens
    if room < 1:
        limit = f"{policy.context_length} tokens"
        return _end(state, "context_too_long", f"The conversation fills the model's {limit}.", "Start a new chat.")
    headroom = facts.deposit_nano - state.base_nano
    afforded = affordable_tokens(policy.prices, input_tokens, min(headroom, ask.max_cost_nano))
    if afforded is not None and afforded < 1:
        # A buyer without a limit allows what its channel holds, so that the deposit is why where both are the same.
        if headroom <= ask.max_cost_nano:
            text = f"The channel can't pay for this prompt of {input_tokens} tokens."
            return _end(state, "deposit_too_small", text, "Top the channel up.", input_tokens=input_tokens)
        text = f"The prompt alone, {input_tokens} tokens, costs more than allowed."
        return _end(state, "spend_limit", text, "Raise the spending limit.", input_tokens=input_tokens)
    most = min(ask.max_tokens, room, ask.max_tokens if afforded is None else afforded)
    held = facts.held if facts.held and facts.held.cumulative_nano == state.base_nano else None
    if ask.voucher is not None and ask.voucher.cumulative_nano == state.base_nano:
        held = ask.voucher
    quote = m.Quote(
        request_id=ask.request_id,
        input_tokens=input_tokens,
        max_output_tokens=most,
        prices=policy.prices,
        ceiling_nano=bill_nano(policy.prices, input_tokens, most),
        credit_tokens=policy.credit_tokens,
        held=held,
    )
    request = GenerateRequest(
        request_id=ask.request_id,
        messages=ask.messages,
        max_tokens=most,
        sampling=ask.sampling,
        stop=ask.stop,
        logprobs=ask.logprobs,
        response_format=ask.response_format,
        template_options=ask.template_options,
        # Prompt prefixes are reused among one account's requests and no others'.
        cache_key=facts.payer.hex(),
    )
    running = replace(state, stage=Stage.RUNNING, input_tokens=input_tokens, max_output_tokens=most)
    # The engine starts first: it processes the prompt while the quote travels.
    return running, (io.Generate(request), io.Send(quote))


def _on_started(state: ProviderState, input_tokens: int, seed: int, at_ms: int) -> Step:
    if state.stage is not Stage.RUNNING:
        return state, ()
    # The quote holds: an engine that counts fewer tokens when it starts lowers the bill and never raises it.
    counted = min(input_tokens, state.input_tokens)
    if counted != state.input_tokens:
        return _end(state, "engine_failed", "The engine counted the prompt in two ways.")
    return replace(state, seed=seed, started_ms=at_ms, is_queued=False), ()


def _on_produced(state: ProviderState, produced: io.TextProduced) -> Step:
    if state.stage is not Stage.RUNNING or state.ended is not None:
        return state, ()
    # The shell reads on only when nothing is pending, so kinds of text are mixed only if it breaks that rule.
    mixed = bool(state.pending_text)
    return deliver(
        replace(
            state,
            pending_text=state.pending_text + produced.text,
            pending_tokens=state.pending_tokens + max(0, produced.tokens),
            pending_thinking=produced.thinking and (state.pending_thinking or not mixed),
            pending_marker=produced.marker and (state.pending_marker or not mixed),
            pending_logprobs=state.pending_logprobs + produced.logprobs,
        )
    )


def _on_engine_ended(state: ProviderState, event: io.EngineEnded) -> Step:
    if state.stage is not Stage.RUNNING or state.ended is not None:
        return state, ()
    failed, actions = deliver(replace(state, ended=event))
    if event.reason == "failed" and not failed.output_tokens:
        return failed, (io.CountRejection(event.error_code or "engine_failed"), *actions)
    return failed, actions


def _on_cancel(state: ProviderState) -> Step:
    match state.stage:
        case Stage.RUNNING:
            if state.cancelled:
                return state, ()
            # Text that still waits for a voucher was not delivered, so it is neither sent nor billed.
            stopped = replace(
                state, cancelled=True, pending_text="", pending_tokens=0, pending_logprobs=(), stalled=False
            )
            left = _left(state)
            if state.ended is None:
                return finish(stopped, "cancelled", state.started_ms, (io.StopGenerating(), *left))
            return finish(stopped, "cancelled", state.ended.at_ms, left)
        case Stage.RECEIPTING | Stage.SETTLING:
            return state, ()
        case _:
            return _end(state, "cancelled", "The request was cancelled.")


def _on_receipt(state: ProviderState, receipt: Receipt) -> Step:
    ended = state.ended
    assert ended is not None
    final = io.Send(
        m.Final(
            reason=ended.reason,
            receipt=receipt,
            error_code=ended.error_code[:48],
            error=_public(ended.error),
            fix=_public(ended.fix, _ELSEWHERE),
            retry_after_ms=_within(ended.retry_after_ms, m.MAX_ETA_MS),
        )
    )
    settling = replace(state, stage=Stage.SETTLING)
    if state.exposure_nano == 0:
        settled, actions = _settled(settling)
        return settled, (final, *actions)
    return settling, (final, io.AwaitPayment(state.owed_nano))


def _settled(state: ProviderState) -> Step:
    assert state.ended is not None
    settled = io.Send(m.Settled(cumulative_nano=state.paid_nano))
    return replace(state, stage=Stage.ENDED), (settled, io.EndRequest(state.ended.reason, is_settled=True))


def _within(value: int, most: int) -> int:
    return min(max(0, value), most)


def _end(
    state: ProviderState,
    code: ErrorCode,
    message: str,
    fix: str = "",
    *,
    input_tokens: int = 0,
    retry_after_ms: int = 0,
) -> Step:
    """Tell the buyer why, and end. A request without any output counts as rejected."""
    actions: list[io.Action] = []
    if state.stage is Stage.RUNNING and state.ended is None:
        actions.append(io.StopGenerating())
    if state.ask is not None and state.output_tokens == 0 and code != "cancelled":
        actions.append(io.CountRejection(code))
    actions += [
        io.Send(
            m.Fault(
                code=code,
                message=_public(message),
                fix=_public(fix, _ELSEWHERE),
                input_tokens=input_tokens,
                retry_after_ms=_within(retry_after_ms, m.MAX_ETA_MS),
            )
        ),
        io.EndRequest(code, state.exposure_nano),
    ]
    return replace(state, stage=Stage.ENDED), tuple(actions)


def _public(words: str, otherwise: str = "The provider failed.") -> str:
    return public_words(words, otherwise)[: m.MAX_LINE_CHARS]


def _gone(state: ProviderState, code: str, *, said: bool = False) -> Step:
    running = state.stage is Stage.RUNNING and state.ended is None
    actions: tuple[io.Action, ...] = (io.StopGenerating(),) if running else ()
    return replace(state, stage=Stage.ENDED), (
        *actions,
        *_left(state, code if said else ""),
        io.EndRequest(code, state.exposure_nano),
    )


def _left(state: ProviderState, said: str = "") -> tuple[io.Action, ...]:
    """Count a buyer that left between the quote and the first token, by the reason that it gave, if any."""
    if state.stage is not Stage.RUNNING or state.output_tokens:
        return ()
    if said in BUYER_REFUSALS:
        return (io.CountRejection(said),)
    return (io.CountRejection("left_in_line" if state.is_queued else "left_after_quote"),)
