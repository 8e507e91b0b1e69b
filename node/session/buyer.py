"""The buyer's side of one metered request: a pure state machine, events in, actions out.

What this file promises, whatever the provider sends and in whatever order:

* ``signed_nano`` never exceeds ``base_nano`` plus the bill for what was received. The buyer counts this itself: output
  tokens never exceed the bytes received nor the quote; input tokens never exceed the bytes sent plus the template's
  overhead.
* A bill above the buyer's own count, the quote or the spending limit ends the session with the reason.
* Before the first output token nothing is signed.
* Text for which nothing is billed is bounded too: the reader keeps what comes.
* No event raises.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from msgspec import Struct, field
from msgspec.structs import replace

from chain.eip712 import SigningDomain
from chain.errors import ErrorCode
from node.session import buyer_io as io
from node.session import messages as m
from node.session.terms import bill_nano, fingerprint_hash, most_input_tokens, prompt_hash
from wallet.receipts import Receipt, verify_receipt
from wallet.vouchers import Voucher, verify_voucher

if TYPE_CHECKING:
    from hashlib import _Hash

VOUCHER_STEP_TOKENS: Final = 32
"""Output tokens from one voucher to the next, at most half the window, so that the stream goes on meanwhile."""
TOKEN_BYTES: Final = 1_024
"""More than the longest token of any vocabulary stands for; most have at most 128 spaces."""
UNBILLED_BYTES: Final = 64 * 1024
"""What a provider may send ahead of its count; a server may tell its tokens only now and then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuyerTerms:
    """What the buyer knows and accepts before it asks; constant during a request. Addresses have 20 bytes."""

    domain: SigningDomain
    provider: bytes
    signer: bytes
    """The voucher key's address."""
    deposit_nano: int
    signed_nano: int
    """The highest cumulative signed so far on this channel."""
    wanted_output_tokens: int = 0
    """A quote for a shorter answer is refused where only the channel's deposit makes it so short."""
    template_tokens: int = 0
    """Tokens that the chat template adds to a question, as the signed offer says."""


class Stage(StrEnum):
    """Where the request stands."""

    ASKED = "asked"
    QUOTED = "quoted"
    STREAMING = "streaming"
    PAYING = "paying"
    ENDED = "ended"


class BuyerState(Struct, frozen=True, kw_only=True):
    """Everything that a request knows; made by :func:`start`, replaced by :func:`step`."""

    terms: BuyerTerms
    ask: m.Ask
    stage: Stage = Stage.ASKED
    quote: m.Quote | None = None
    base_nano: int = 0
    signed_nano: int = 0
    """The highest cumulative signed, or being signed."""
    output_tokens: int = 0
    output_bytes: int = 0
    output_hash: _Hash = field(default_factory=hashlib.sha256)
    vouched_tokens: int = 0
    final: m.Final | None = None
    cancelling: bool = False
    broken: io.Failed | None = None
    """Why the session failed, while the voucher for what was received is still being signed."""

    @property
    def bill_nano(self) -> int:
        """What the received output costs, by the buyer's own count."""
        if self.quote is None:
            return 0
        return bill_nano(self.quote.prices, self.quote.input_tokens, self.output_tokens)

    @property
    def cost_nano(self) -> int:
        """What this request has been paid so far."""
        return self.signed_nano - self.base_nano if self.quote is not None else 0


Step = tuple[BuyerState, tuple[io.Action, ...]]


def start(terms: BuyerTerms, ask: m.Ask) -> Step:
    """Begin a request.

    Args:
        terms: What the buyer accepts.
        ask: The request.

    Returns:
        The first state, and the actions to run.
    """
    state = BuyerState(terms=terms, ask=ask, base_nano=terms.signed_nano, signed_nano=terms.signed_nano)
    return state, (io.Send(ask),)


def step(state: BuyerState, event: io.Event) -> Step:
    """Take one event.

    Returns:
        The next state, and the actions to run in this order. No event raises.
    """
    if state.stage is Stage.ENDED:
        return state, ()
    match event:
        case io.Signed(voucher):
            return _on_signed(state, voucher)
        case io.SigningFailed(code, message, fix):
            return replace(state, stage=Stage.ENDED), (io.Send(m.Cancel()), io.Failed(code, message, fix))
        case _ if state.broken is not None:
            return state, ()
        case io.Received(message):
            return _on_message(state, message)
        case io.CancelRequested():
            return _on_cancel(state)
        case io.ProviderSilent():
            return _on_silence(state)
        case io.PeerGone(code, message):
            return _break(state, io.Failed(code, message or "The provider went away.", "Ask again.", is_theirs=True))


def _on_message(state: BuyerState, message: m.Message) -> Step:
    match message:
        case m.Quote() if state.stage is Stage.ASKED:
            return _on_quote(state, message)
        case m.Queued() if state.stage is Stage.QUOTED:
            return state, (io.ReportProgress(message),)
        case m.Delta() if state.stage in {Stage.QUOTED, Stage.STREAMING}:
            return _on_delta(state, message)
        case m.Stalled() if state.stage in {Stage.QUOTED, Stage.STREAMING}:
            return _vouch(state)
        case m.Final() if state.stage in {Stage.QUOTED, Stage.STREAMING}:
            return _on_final(state, message)
        case m.Settled() if state.stage is Stage.PAYING:
            return _over(state)
        case m.Fault():
            return _break(state, _failed_by(message))
        case _:
            return _refuse(state, "protocol", "The provider sent a message that does not belong here.")


def _failed_by(fault: m.Fault) -> io.Failed:
    return io.Failed(
        fault.code,
        fault.message,
        fault.fix,
        is_theirs=True,
        input_tokens=fault.input_tokens,
        retry_after_ms=fault.retry_after_ms,
    )


def _on_quote(state: BuyerState, quote: m.Quote) -> Step:
    ask, terms = state.ask, state.terms
    base, actions = terms.signed_nano, list[io.Action]()
    if quote.held is not None and quote.held.cumulative_nano > base:
        if not _is_own(terms, ask.channel_id, quote.held):
            return _refuse(state, "out_of_step", "The provider claims a voucher that was never signed here.")
        base = quote.held.cumulative_nano
        actions.append(io.AdoptVoucher(quote.held))
    elif terms.signed_nano and (quote.held is None or quote.held.cumulative_nano < terms.signed_nano):
        return _refuse(state, "out_of_step", "The provider does not acknowledge the vouchers it was given.")
    # The base is what our own signature proves, adopted or not, so a refusal below costs nothing more.
    known = replace(state, base_nano=base, signed_nano=base)
    wrong = _quote_problem(known, quote)
    if wrong:
        refused, refusal = _refuse(known, *wrong, input_tokens=quote.input_tokens)
        return refused, (*actions, *refusal)
    return replace(known, stage=Stage.QUOTED, quote=quote), (*actions, io.ReportProgress(quote))


def _is_own(terms: BuyerTerms, channel_id: int, voucher: Voucher) -> bool:
    return (
        voucher.channel_id == channel_id
        and voucher.cumulative_nano <= terms.deposit_nano
        and verify_voucher(terms.domain, voucher, terms.signer)
    )


def _quote_problem(state: BuyerState, quote: m.Quote) -> tuple[ErrorCode, str, str] | None:
    ask, prices = state.ask, quote.prices
    if quote.request_id != ask.request_id or quote.max_output_tokens > ask.max_tokens:
        return "protocol", "The quote answers another request.", ""
    if (
        prices.input_nano_per_mtok > ask.prices.input_nano_per_mtok
        or prices.output_nano_per_mtok > ask.prices.output_nano_per_mtok
    ):
        return "price_changed", "The provider asks more than its offer said.", "Choose another offer."
    most = most_input_tokens(ask.messages, state.terms.template_tokens)
    if quote.input_tokens > most:
        text = f"The provider counts {quote.input_tokens} input tokens where at most {most} can be."
        return "overbilled", text, "Choose another offer."
    if quote.ceiling_nano != bill_nano(prices, quote.input_tokens, quote.max_output_tokens):
        return "overbilled", "The quote's ceiling does not follow from its counts.", "Choose another offer."
    if quote.ceiling_nano > ask.max_cost_nano:
        # A provider that keeps to the protocol quotes a shorter answer, or says itself that the limit is too low.
        return "overbilled", "The provider's quote ignores the limit of the request.", "Choose another offer."
    if state.base_nano + quote.ceiling_nano > state.terms.deposit_nano:
        return "deposit_too_small", "The request may cost more than the channel holds.", "Top the channel up."
    if _is_cut_by_deposit(state, quote):
        text = f"The channel's deposit leaves room for {quote.max_output_tokens} tokens of answer."
        return "deposit_too_small", text, "Top the channel up."
    return None


def _is_cut_by_deposit(state: BuyerState, quote: m.Quote) -> bool:
    """Whether the answer may be so short only because the channel holds too little."""
    if quote.max_output_tokens >= min(state.terms.wanted_output_tokens, state.ask.max_tokens):
        return False
    left_nano = state.terms.deposit_nano - state.base_nano
    return bill_nano(quote.prices, quote.input_tokens, quote.max_output_tokens + 1) > left_nano


def _on_delta(state: BuyerState, delta: m.Delta) -> Step:
    quote = state.quote
    assert quote is not None
    text = delta.text.encode()
    tokens, received = state.output_tokens + delta.tokens, state.output_bytes + len(text)
    if tokens > received:
        return _refuse(state, "overbilled", f"The provider bills {tokens} tokens for {received} bytes of text.")
    if tokens > quote.max_output_tokens:
        return _refuse(state, "overbilled", f"The provider bills {tokens} tokens, {quote.max_output_tokens} quoted.")
    if received > UNBILLED_BYTES + tokens * TOKEN_BYTES:
        return _refuse(state, "protocol", f"The provider sends {received} bytes of text for {tokens} tokens.")
    digest = state.output_hash.copy()
    digest.update(text)
    counted = replace(state, stage=Stage.STREAMING, output_tokens=tokens, output_bytes=received, output_hash=digest)
    report = io.ReportProgress(delta)
    # The first voucher is sent at once, since it pays for the prompt; then one after each step.
    due = tokens and (not counted.vouched_tokens or tokens - counted.vouched_tokens >= _step_tokens(quote))
    if not due:
        return counted, (report,)
    vouched, actions = _vouch(counted)
    return vouched, (report, *actions)


def _step_tokens(quote: m.Quote) -> int:
    return max(1, min(VOUCHER_STEP_TOKENS, quote.credit_tokens // 2))


def _vouch(state: BuyerState) -> Step:
    """Sign for everything that was received, if that is more than what was signed."""
    owed = state.base_nano + state.bill_nano
    vouched = replace(state, vouched_tokens=state.output_tokens)
    if owed <= state.signed_nano:
        return vouched, ()
    return replace(vouched, signed_nano=owed), (io.SignVoucher(owed),)


def _on_signed(state: BuyerState, voucher: Voucher) -> Step:
    if state.broken is not None:
        return replace(state, stage=Stage.ENDED), (state.broken,)
    return state, (io.Send(m.Pay(voucher=voucher)),)


def _on_final(state: BuyerState, final: m.Final) -> Step:
    wrong = _receipt_problem(state, final)
    if wrong:
        return _refuse(state, "bad_receipt", wrong)
    paying, actions = _vouch(replace(state, stage=Stage.PAYING, final=final))
    return paying, (io.KeepReceipt(final.receipt), *actions)


def _receipt_problem(state: BuyerState, final: m.Final) -> str:
    receipt, ask, quote = final.receipt, state.ask, state.quote
    assert quote is not None
    facts = (
        (receipt.channel_id == ask.channel_id, "another channel"),
        (receipt.model_sha256 == ask.model_sha256, "another model"),
        (receipt.prompt_hash == prompt_hash(ask.messages), "another prompt"),
        (receipt.output_hash == state.output_hash.digest(), "another answer"),
        (receipt.input_tokens == quote.input_tokens, "another input count"),
        (receipt.output_tokens == state.output_tokens, "another output count"),
        (receipt.cumulative_nano == state.base_nano + state.bill_nano, "another amount"),
        (ask.sampling.seed is None or state.output_tokens == 0 or receipt.seed == ask.sampling.seed, "another seed"),
        (_fingerprint(state, receipt) == receipt.fingerprint_hash, "other sampling parameters"),
        (final.reason != "cancelled" or state.cancelling, "a cancellation that nobody asked for"),
    )
    for right, what in facts:
        if not right:
            return f"The receipt is about {what}."
    if not verify_receipt(state.terms.domain, receipt, state.terms.provider):
        return "The receipt is not signed by the provider."
    return ""


def _fingerprint(state: BuyerState, receipt: Receipt) -> bytes:
    assert state.quote is not None
    ask, most = state.ask, state.quote.max_output_tokens
    return fingerprint_hash(ask.sampling, ask.stop, most, receipt.seed, ask.response_format, ask.template_options)


def _over(state: BuyerState) -> Step:
    """The answer is complete and paid. Or the voucher is on disk: then the next session sends it."""
    final = state.final
    assert final is not None
    ended = replace(state, stage=Stage.ENDED)
    if final.reason == "failed":
        failed = io.Failed(
            final.error_code or "engine_failed",
            final.error or "The provider's engine failed.",
            final.fix or "Ask again.",
            receipt=final.receipt,
            retry_after_ms=final.retry_after_ms,
        )
        return ended, (failed,)
    return ended, (io.Finished(final.reason, final.receipt),)


def _on_cancel(state: BuyerState) -> Step:
    if state.cancelling or state.stage is Stage.PAYING:
        return state, ()
    if state.stage is Stage.ASKED:
        ended = replace(state, stage=Stage.ENDED)
        return ended, (io.Send(m.Cancel()), io.Failed("cancelled", "Cancelled before it began; it cost nothing.", ""))
    return replace(state, cancelling=True), (io.Send(m.Cancel()),)


def _on_silence(state: BuyerState) -> Step:
    if state.stage is Stage.PAYING:
        return _over(state)
    wait = io.Failed("provider_silent", "The provider stopped answering.", "Ask again, or choose another offer.")
    broken, actions = _break(state, wait)
    return broken, (io.Send(m.Cancel()), *actions)


def _break(state: BuyerState, failed: io.Failed) -> Step:
    """The session can't go on: sign for what was received, which the next session pays, and report why."""
    if state.stage is Stage.PAYING:
        return _over(state)
    vouched, actions = _vouch(state)
    if actions:
        return replace(vouched, broken=failed), actions
    return replace(vouched, stage=Stage.ENDED), (failed,)


def _refuse(
    state: BuyerState, code: ErrorCode, message: str, fix: str = "Choose another offer.", *, input_tokens: int = 0
) -> Step:
    """What the provider sent can't be accepted: sign nothing more, tell the provider why, and end."""
    fault = m.Fault(code=code, message=message, fix=fix)
    failed = io.Failed(code, message, fix, input_tokens=input_tokens)
    return replace(state, stage=Stage.ENDED), (io.Send(fault), failed)
