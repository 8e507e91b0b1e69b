"""The provider's side of one metered session: a pure state machine, events in, actions out.

The shell (``node.services``) runs the actions and feeds their outcomes back as events. What this file promises,
whatever the buyer sends and in whatever order:

* *Exposure* (billed for what was handed over, less what vouchers on disk pay for) never exceeds ``window_nano``: the
  prompt and ``credit_tokens`` of output. Once the buyer has begun to pay, a delivery leaves at most ``credit_tokens``
  of output unpaid.
* The bill never exceeds the quote's ceiling, which never exceeds what the channel still holds.
* A voucher counts only when the shell says that it is on disk.
* No event raises.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from chain.eip712 import SigningDomain
from chain.views import Inclusion
from node.engine.protocol import GenerateRequest
from node.session import messages as m
from node.session.provider_io import (
    Action,
    AgreeClose,
    AwaitPayment,
    ChannelChecked,
    CheckChannel,
    CloseSigned,
    CountInput,
    End,
    EngineEnded,
    Event,
    Generate,
    InputCounted,
    IssueReceipt,
    PaymentTimeout,
    PeerGone,
    Produced,
    ReceiptReady,
    Received,
    Refused,
    Send,
    Skip,
    Started,
    StopGenerating,
    StoreVoucher,
    VoucherStored,
    Waiting,
)
from node.session.terms import (
    DEFAULT_CREDIT_TOKENS,
    ChannelFacts,
    affordable_tokens,
    bill_nano,
    fingerprint_hash,
    prompt_hash,
    window_nano,
)
from node.values import Prices
from wallet.receipts import Receipt
from wallet.vouchers import Voucher, verify_voucher

if TYPE_CHECKING:
    from hashlib import _Hash

_ACCEPTED: Final = {
    Inclusion.SOFT: frozenset({Inclusion.SOFT, Inclusion.BATCHED, Inclusion.FINAL}),
    Inclusion.BATCHED: frozenset({Inclusion.BATCHED, Inclusion.FINAL}),
    Inclusion.FINAL: frozenset({Inclusion.FINAL}),
}
WRITTEN_OFF_WINDOWS: Final = 4
"""How many credit windows one channel may leave unpaid, over all its requests, before it gets no more credit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderPolicy:
    """What this provider offers and insists on; constant during a session."""

    domain: SigningDomain
    account: bytes
    model_sha256: bytes
    context_length: int
    prices: Prices
    credit_tokens: int = DEFAULT_CREDIT_TOKENS
    min_deposit_nano: int = 0
    expiry_margin_s: int = 600
    """A channel this close to its expiry gets no new request: its vouchers must be redeemed before."""
    accept: Inclusion = Inclusion.SOFT
    """How final a channel's opening must be before it is worth credit."""


class Stage(StrEnum):
    """Where the session stands."""

    IDLE = "idle"
    CHECKING = "checking"
    COUNTING = "counting"
    RUNNING = "running"
    RECEIPTING = "receipting"
    SETTLING = "settling"
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderState:
    """Everything a session knows; made by :func:`start`, replaced by :func:`step`."""

    policy: ProviderPolicy
    stage: Stage = Stage.IDLE
    ask: m.Ask | None = None
    first: m.Pay | m.CloseRequest | None = None
    """What opened the session when it was no request."""
    channel: ChannelFacts | None = None
    seen_nano: int = 0
    """The highest verified voucher, on disk or on its way there."""
    paid_nano: int = 0
    """The highest voucher on disk."""
    base_nano: int = 0
    """What was promised before this request."""
    input_tokens: int = 0
    max_output_tokens: int = 0
    output_tokens: int = 0
    output_bytes: int = 0
    output_hash: _Hash = field(default_factory=hashlib.sha256)
    seed: int = 0
    started_ms: int = 0
    pending_text: str = ""
    pending_tokens: int = 0
    stalled: bool = False
    ended: EngineEnded | None = None
    cancelled: bool = False

    @property
    def bill_nano(self) -> int:
        """What was delivered costs."""
        return bill_nano(self.policy.prices, self.input_tokens, self.output_tokens)

    @property
    def owed_nano(self) -> int:
        """The cumulative amount that a voucher must reach to pay for everything delivered."""
        return self.base_nano + self.bill_nano

    @property
    def exposure_nano(self) -> int:
        """Delivered and not paid for."""
        return max(0, self.owed_nano - self.paid_nano)

    @property
    def window_nano(self) -> int:
        """The bound of ``exposure_nano``."""
        return window_nano(self.policy.prices, self.input_tokens, self.policy.credit_tokens)

    @property
    def awaits_payment(self) -> bool:
        """Whether the timer of the last ``AwaitPayment`` still runs; a partial payment does not restart it."""
        return self.stalled or self.stage is Stage.SETTLING

    @property
    def wants_chunks(self) -> bool:
        """Whether the shell should read on from the engine; ``False`` while text waits for a voucher."""
        return self.stage is Stage.RUNNING and not self.pending_text and not self.pending_tokens and self.ended is None


Step = tuple[ProviderState, tuple[Action, ...]]


def start(policy: ProviderPolicy) -> ProviderState:
    """A session that has heard nothing yet."""
    return ProviderState(policy=policy)


def step(state: ProviderState, event: Event) -> Step:
    """Take one event: the next state, and what to do about it in this order. Total: no event raises."""
    if state.stage is Stage.ENDED:
        return state, ()
    match event:
        case Received(message):
            return _on_message(state, message)
        case ChannelChecked(facts):
            return _on_channel(state, facts)
        case VoucherStored(voucher):
            return _on_voucher_stored(state, voucher)
        case InputCounted(input_tokens):
            return _on_counted(state, input_tokens)
        case Started(input_tokens, seed, at_ms):
            return _on_started(state, input_tokens, seed, at_ms)
        case Produced(text, tokens):
            return _on_produced(state, text, tokens)
        case EngineEnded():
            return _on_engine_ended(state, event)
        case _:
            return _on_rest(state, event)


def _on_rest(state: ProviderState, event: Event) -> Step:
    match event:
        case Refused(code, message, fix):
            return _end(state, code, message, fix)
        case Waiting(position, eta_ms) if state.stage is Stage.RUNNING:
            return state, (Send(m.Queued(position=max(0, position), eta_ms=max(0, eta_ms))),)
        case ReceiptReady(receipt) if state.stage is Stage.RECEIPTING:
            return _on_receipt(state, receipt)
        case CloseSigned(cumulative_nano, signature) if isinstance(state.first, m.CloseRequest):
            answer = m.CloseSignature(
                channel_id=state.first.channel_id, cumulative_nano=cumulative_nano, signature=signature
            )
            return replace(state, stage=Stage.ENDED), (Send(answer), End("done"))
        case PaymentTimeout() if state.awaits_payment:
            return _end(state, "unpaid", "No voucher came for what was delivered.", "Ask again; nothing else is owed.")
        case PeerGone(code):
            return _gone(state, code)
        case _:
            return state, ()


def _on_message(state: ProviderState, message: m.Message) -> Step:
    match message:
        case m.Ask() if state.stage is Stage.IDLE:
            return _on_ask(state, message)
        case m.Pay() if state.stage is Stage.IDLE:
            checking = replace(state, stage=Stage.CHECKING, first=message)
            return checking, (CheckChannel(message.voucher.channel_id),)
        case m.CloseRequest() if state.stage is Stage.IDLE:
            return replace(state, stage=Stage.CHECKING, first=message), (CheckChannel(message.channel_id),)
        case m.Pay(voucher=voucher) if state.channel is not None:
            return _on_voucher(state, voucher)
        case m.Cancel() if state.ask is not None:
            return _on_cancel(state)
        case m.Fault(code=code):
            return _gone(state, code)
        case _:
            return _end(state, "protocol", "That message does not belong here.")


def _on_ask(state: ProviderState, ask: m.Ask) -> Step:
    policy, asked = state.policy, replace(state, ask=ask)
    if ask.version != m.PROTOCOL_VERSION:
        return _end(asked, "version", f"This provider speaks version {m.PROTOCOL_VERSION}.", "Update Idlewatt.")
    if ask.model_sha256 != policy.model_sha256:
        return _end(asked, "model_changed", "This provider now serves another model.", "Refresh the market.")
    if (
        ask.prices.input_nano_per_mtok < policy.prices.input_nano_per_mtok
        or ask.prices.output_nano_per_mtok < policy.prices.output_nano_per_mtok
    ):
        return _end(asked, "price_changed", "The price is higher than that offer said.", "Refresh the market.")
    return replace(asked, stage=Stage.CHECKING), (CheckChannel(ask.channel_id),)


def _on_channel(state: ProviderState, facts: ChannelFacts) -> Step:
    if state.stage is not Stage.CHECKING:
        return state, ()
    known = replace(
        state, channel=facts, seen_nano=facts.held_nano, paid_nano=facts.held_nano, base_nano=facts.held_nano
    )
    voucher = _opening_voucher(state)
    wrong = _channel_problem(known, facts) or (_voucher_problem(known, voucher) if voucher else None)
    if wrong:
        return _end(known, *wrong)
    waiting = replace(known, stage=Stage.COUNTING)
    if voucher is not None and voucher.cumulative_nano > known.seen_nano:
        return replace(waiting, seen_nano=voucher.cumulative_nano), (StoreVoucher(voucher),)
    return _after_opening(waiting)


def _opening_voucher(state: ProviderState) -> Voucher | None:
    opening = state.ask or state.first
    return None if opening is None else opening.voucher


def _after_opening(state: ProviderState) -> Step:
    """The channel is good and the newest voucher on disk: go on with what the session was opened for."""
    if state.ask is not None:
        return state, (CountInput(state.ask.messages),)
    if isinstance(state.first, m.CloseRequest):
        return state, (AgreeClose(state.first.channel_id),)
    ended = replace(state, stage=Stage.ENDED)
    return ended, (Send(m.Settled(cumulative_nano=state.paid_nano)), End("done"))


def _channel_problem(state: ProviderState, facts: ChannelFacts) -> tuple[str, str, str] | None:
    policy = state.policy
    if facts.payee != policy.account:
        return "not_my_channel", "That channel pays somebody else.", "Open a channel with this provider."
    if state.ask is None:
        return None
    if facts.inclusion not in _ACCEPTED.get(policy.accept, frozenset()):
        return "unconfirmed", "The channel's deposit is not confirmed yet.", "Ask again in a moment."
    if facts.closing_at_s:
        return "channel_closing", "That channel is closing.", "Open another one."
    if facts.now_s + policy.expiry_margin_s >= facts.expiry_s:
        return "channel_expiring", "That channel expires too soon.", "Open another one."
    if facts.deposit_nano < policy.min_deposit_nano:
        return "deposit_too_small", "The deposit is below this provider's minimum.", "Top the channel up."
    if facts.written_off_nano > WRITTEN_OFF_WINDOWS * window_nano(policy.prices, 0, policy.credit_tokens):
        return "unpaid", "Too much on that channel was delivered and never paid.", "Open another channel."
    return None


def _voucher_problem(state: ProviderState, voucher: Voucher) -> tuple[str, str, str] | None:
    facts = state.channel
    if facts is None or voucher.channel_id != facts.channel_id:
        return "foreign_voucher", "That voucher belongs to another channel.", "Sign one for this channel."
    if voucher.cumulative_nano > facts.deposit_nano:
        return "over_deposit", "That voucher promises more than the deposit holds.", "Top the channel up."
    if voucher.cumulative_nano > state.seen_nano and not verify_voucher(state.policy.domain, voucher, facts.signer):
        return "bad_voucher", "That voucher is not signed by the channel's voucher key.", ""
    return None


def _on_voucher(state: ProviderState, voucher: Voucher) -> Step:
    wrong = _voucher_problem(state, voucher)
    if wrong:
        return _end(state, *wrong)
    if voucher.cumulative_nano <= state.seen_nano:
        return state, ()
    return replace(state, seen_nano=voucher.cumulative_nano), (StoreVoucher(voucher),)


def _on_voucher_stored(state: ProviderState, voucher: Voucher) -> Step:
    if state.channel is None or voucher.cumulative_nano <= state.paid_nano:
        return state, ()
    paid = replace(state, paid_nano=voucher.cumulative_nano)
    match state.stage:
        case Stage.COUNTING if state.max_output_tokens == 0:
            return _after_opening(replace(paid, base_nano=paid.paid_nano))
        case Stage.RUNNING:
            return _deliver(paid)
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
        if headroom < ask.max_cost_nano:
            return _end(state, "deposit_too_small", "The channel can't pay for this prompt.", "Top the channel up.")
        return _end(state, "spend_limit", "The prompt alone costs more than allowed.", "Raise the spending limit.")
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
    )
    running = replace(state, stage=Stage.RUNNING, input_tokens=input_tokens, max_output_tokens=most)
    return running, (Send(quote), Generate(request))


def _on_started(state: ProviderState, input_tokens: int, seed: int, at_ms: int) -> Step:
    if state.stage is not Stage.RUNNING:
        return state, ()
    # The quote stands: an engine that counts fewer tokens when it starts makes the bill smaller, never larger.
    counted = min(input_tokens, state.input_tokens)
    if counted != state.input_tokens:
        return _end(state, "engine_failed", "The engine counted the prompt in two ways.")
    return replace(state, seed=seed, started_ms=at_ms), ()


def _on_produced(state: ProviderState, text: str, tokens: int) -> Step:
    if state.stage is not Stage.RUNNING or state.ended is not None:
        return state, ()
    return _deliver(
        replace(state, pending_text=state.pending_text + text, pending_tokens=state.pending_tokens + max(0, tokens))
    )


def _on_engine_ended(state: ProviderState, event: EngineEnded) -> Step:
    if state.stage is not Stage.RUNNING or state.ended is not None:
        return state, ()
    return _deliver(replace(state, ended=event))


def _on_cancel(state: ProviderState) -> Step:
    match state.stage:
        case Stage.RUNNING:
            if state.cancelled:
                return state, ()
            # Text that still waited for a voucher was never delivered, so it is neither sent nor billed.
            stopped = replace(state, cancelled=True, pending_text="", pending_tokens=0, stalled=False)
            if state.ended is None:
                return _finish(stopped, "cancelled", state.started_ms, (StopGenerating(),))
            return _finish(stopped, "cancelled", state.ended.at_ms)
        case Stage.RECEIPTING | Stage.SETTLING:
            return state, ()
        case _:
            return _end(state, "cancelled", "The request was cancelled.")


def _deliver(state: ProviderState) -> Step:
    """Hand over what the credit window allows, then finish if the engine has nothing more."""
    actions: list[Action] = []
    while state.pending_text or state.pending_tokens:
        piece = _next_piece(state)
        if piece is None:
            if not state.stalled:
                state = replace(state, stalled=True)
                actions += [Send(m.Stalled(owed_nano=state.owed_nano)), AwaitPayment(state.owed_nano)]
            return state, tuple(actions)
        state, delta = _hand_over(state, *piece)
        actions.append(Send(delta))
    state = replace(state, stalled=False)
    if state.ended is None:
        return state, tuple(actions)
    reason = state.ended.reason
    return _finish(state, reason, state.ended.at_ms, tuple(actions))


def _next_piece(state: ProviderState) -> tuple[str, int] | None:
    """The text to hand over next and the tokens it stands for; ``None`` when the window is full."""
    text, tokens = state.pending_text, state.pending_tokens
    step_tokens = max(1, state.policy.credit_tokens // 2)
    pieces = max(1, -(-tokens // step_tokens), -(-len(text) // m.MAX_DELTA_CHARS))
    if pieces > 1:
        text, tokens = text[: -(-len(text) // pieces)], min(tokens, -(-tokens // pieces))
    billed = _billable(state, text, tokens)
    after = bill_nano(state.policy.prices, state.input_tokens, state.output_tokens + billed)
    unpaid = state.base_nano + after - state.paid_nano
    begun = state.paid_nano > state.base_nano
    allowed = window_nano(state.policy.prices, 0 if begun else state.input_tokens, state.policy.credit_tokens)
    return None if unpaid > allowed else (text, tokens)


def _billable(state: ProviderState, text: str, tokens: int) -> int:
    """Bill what the buyer can re-count: never more tokens in all than bytes handed over, nor than were quoted."""
    byte_room = state.output_bytes + len(text.encode()) - state.output_tokens
    return max(0, min(tokens, byte_room, state.max_output_tokens - state.output_tokens))


def _hand_over(state: ProviderState, text: str, tokens: int) -> tuple[ProviderState, m.Delta]:
    billed = _billable(state, text, tokens)
    digest = state.output_hash.copy()
    digest.update(text.encode())
    delivered = replace(
        state,
        output_tokens=state.output_tokens + billed,
        output_bytes=state.output_bytes + len(text.encode()),
        output_hash=digest,
        pending_text=state.pending_text[len(text) :],
        pending_tokens=state.pending_tokens - tokens,
    )
    return delivered, m.Delta(text=text, tokens=billed)


def _finish(state: ProviderState, reason: str, at_ms: int, before: tuple[Action, ...] = ()) -> Step:
    ask = state.ask
    assert ask is not None
    receipt = IssueReceipt(
        channel_id=ask.channel_id,
        prompt_hash=prompt_hash(ask.messages),
        output_hash=state.output_hash.digest(),
        fingerprint_hash=fingerprint_hash(ask.sampling, ask.stop, state.max_output_tokens, state.seed),
        input_tokens=state.input_tokens,
        output_tokens=state.output_tokens,
        cumulative_nano=state.owed_nano,
        seed=state.seed,
        started_ms=state.started_ms,
        finished_ms=max(at_ms, state.started_ms),
    )
    ended = EngineEnded("cancelled", at_ms) if reason == "cancelled" or state.ended is None else state.ended
    if reason == "cancelled" and not state.cancelled:
        ended = EngineEnded("failed", at_ms, "engine_stopped", "The provider stopped the request.")
    return replace(state, stage=Stage.RECEIPTING, ended=ended), (*before, receipt)


def _on_receipt(state: ProviderState, receipt: Receipt) -> Step:
    ended = state.ended
    assert ended is not None
    final = Send(
        m.Final(reason=ended.reason, receipt=receipt, error_code=ended.error_code[:48], error=ended.error[:400])
    )
    settling = replace(state, stage=Stage.SETTLING)
    if state.exposure_nano == 0:
        settled, actions = _settled(settling)
        return settled, (final, *actions)
    return settling, (final, AwaitPayment(state.owed_nano))


def _settled(state: ProviderState) -> Step:
    assert state.ended is not None
    settled = Send(m.Settled(cumulative_nano=state.paid_nano))
    return replace(state, stage=Stage.ENDED), (settled, End(state.ended.reason))


def _end(state: ProviderState, code: str, message: str, fix: str = "") -> Step:
    """Say why, and end; a request that had not begun counts as skipped."""
    actions: list[Action] = []
    if state.stage is Stage.RUNNING and state.ended is None:
        actions.append(StopGenerating())
    if state.ask is not None and state.output_tokens == 0 and code != "cancelled":
        actions.append(Skip(code))
    actions += [Send(m.Fault(code=code, message=message[:400], fix=fix[:400])), End(code, state.exposure_nano)]
    return replace(state, stage=Stage.ENDED), tuple(actions)


def _gone(state: ProviderState, code: str) -> Step:
    running = state.stage is Stage.RUNNING and state.ended is None
    actions: tuple[Action, ...] = (StopGenerating(),) if running else ()
    return replace(state, stage=Stage.ENDED), (*actions, End(code, state.exposure_nano))
