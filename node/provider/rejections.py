"""Why a provider gets no jobs: the reasons for rejected requests, each with its fix; pure rules.

A provider sees the buyers that it rejected and those that left, and how long its offer could not be taken at all. It
never sees a buyer that chose another offer in the first place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal

import msgspec

from node.provider.health import HealthVerdict
from node.values import Health, Phase, RejectionView

Unit = Literal["requests", "seconds"]


class Reason(msgspec.Struct, frozen=True):
    """One reason for getting no job."""

    group: str
    """What it is about: price, model, context, slots, stake, reputation, relay, chain, clock, engine, channel, …"""
    title: str
    fix: str
    unit: Unit = "requests"


_NOTHING: Final = "Nothing to do."
REASONS: Final[Mapping[str, Reason]] = {
    "left_after_quote": Reason(
        "price", "Left after the quote, before the first token.", "Lower the price, or speed up the first token."
    ),
    "price_changed": Reason("price", "Held an older, cheaper offer.", "Change prices less often."),
    "spend_limit": Reason("price", "The request cost more than its buyer allows.", "Lower the price."),
    "overbilled": Reason("price", "The buyer's recount was lower than the bill.", "See the log; report it."),
    "model_changed": Reason("model", "Held an offer of another model.", "Change models less often."),
    "unknown_model": Reason("model", "The server behind this node lost the model.", "Load it there."),
    "model_unaudited": Reason("model", "The buyer wants a model that can be audited.", "Rent out a GGUF file."),
    "context_too_long": Reason("context", "Conversations were too long.", "Load the model with more context."),
    "engine_busy": Reason("slots", "The queue was full.", "Raise the slots, or the price."),
    "too_many_requests": Reason("slots", "One buyer asked for too much at once.", _NOTHING),
    "left_in_line": Reason("slots", "Left while waiting in the queue.", "Raise the slots, or the price."),
    "too_many_sessions": Reason("slots", "Too many connections at once.", "Raise the price."),
    "slots_taken": Reason(
        "slots", "Every slot was taken: buyers choose free ones.", "Raise the slots, or the price.", "seconds"
    ),
    "stake_too_low": Reason("stake", "The buyer wants a larger stake.", "Stake more: idlewatt wallet stake."),
    "reputation_too_low": Reason("reputation", "The buyer knows too little good of this node.", "Serve on."),
    "bad_receipt": Reason("reputation", "The buyer refused a receipt.", "See the log; report it."),
    "offline_relay": Reason("relay", "The relay was gone: nobody saw the offer.", "Check its address.", "seconds"),
    "handshake_failed": Reason("relay", "The connection broke before a question came.", _NOTHING),
    "offline_chain": Reason("chain", "The chain was gone: no offer could be signed.", "Check its address.", "seconds"),
    "chain_unreachable": Reason("chain", "The chain could not be asked.", "Check its address."),
    "chain_timeout": Reason("chain", "The chain answered too late.", "Check its address."),
    "offline_clock": Reason(
        "clock", "The clock was too far off: no offer could be dated.", "Set it: timedatectl set-ntp true", "seconds"
    ),
    "offline_engine": Reason("engine", "The engine was down.", "See the log.", "seconds"),
    "engine_crashed": Reason("engine", "The engine died.", "See the log."),
    "engine_failed": Reason("engine", "The engine failed.", "See the log."),
    "engine_stalled": Reason("engine", "The engine stopped answering.", "See the log."),
    "engine_unavailable": Reason("engine", "The server behind this node was away.", "See the log."),
    "upstream_refused": Reason("engine", "The server behind this node refused its key.", "Check the key's variable."),
    "provider_stopping": Reason("engine", "The node was going offline.", _NOTHING),
    "offline_paused": Reason("engine", "Paused, as the settings ask.", "Change them if that was too long.", "seconds"),
    "offline_wallet": Reason("wallet", "The wallet was locked.", "Unlock it.", "seconds"),
    "wallet_locked": Reason("wallet", "The wallet was locked.", "Unlock it."),
    "unconfirmed": Reason("channel", "The deposit was not confirmed yet.", _NOTHING),
    "deposit_too_small": Reason("channel", "The channel held too little.", "Lower the minimum deposit, or wait."),
    "channel_busy": Reason("channel", "One channel serves one request at a time.", _NOTHING),
    "channel_closing": Reason("channel", "The channel was closing.", _NOTHING),
    "channel_expiring": Reason("channel", "The channel was about to expire.", _NOTHING),
    "unknown_channel": Reason("channel", "There is no such channel.", _NOTHING),
    "not_my_channel": Reason("channel", "The channel pays somebody else.", _NOTHING),
    "bad_voucher": Reason("channel", "A voucher was not the channel's.", _NOTHING),
    "foreign_voucher": Reason("channel", "A voucher was another channel's.", _NOTHING),
    "over_deposit": Reason("channel", "A voucher promised more than the deposit.", _NOTHING),
    "out_of_step": Reason("channel", "The two sides disagreed on what was paid.", _NOTHING),
    "unpaid": Reason("channel", "The buyer stopped paying; the loss is one credit window at most.", _NOTHING),
    "bad_request": Reason("buyer", "The request made no sense.", _NOTHING),
    "protocol": Reason("buyer", "The buyer broke the protocol.", _NOTHING),
    "version": Reason("buyer", "The buyer speaks another version.", "Update Idlewatt, if it is the newer one."),
    "offline_other": Reason("other", "The offer could not be published.", "See the checklist.", "seconds"),
    "other": Reason("other", "Something else.", "See the log."),
}
"""Every reason. A buyer's word that is not in this table counts as "other", so that no buyer can make it grow."""


def known(code: str) -> str:
    """The reason under which a code is counted."""
    return code if code in REASONS else "other"


def offline_reason(verdict: HealthVerdict, free_slots: int) -> str:
    """Why no buyer can take the offer at this moment: a reason that is counted in seconds, or ``""``."""
    if verdict.phase == "paused":
        return "offline_paused"
    if verdict.phase is Phase.SERVING and free_slots == 0:
        return "slots_taken"
    if verdict.phase is not Phase.DEGRADED:
        return ""
    broken = next((item.name for item in verdict.checklist if item.health is Health.FAIL), "")
    reason = f"offline_{broken}"
    return reason if reason in REASONS else "offline_other"


def views(today: Mapping[str, int], week: Mapping[str, int]) -> tuple[RejectionView, ...]:
    """The counts for screens and programs: requests before seconds, the largest of today first.

    Args:
        today: Amounts of today by reason.
        week: Amounts of the last seven days, today included.
    """

    def order(reason: str) -> tuple[bool, int, int, str]:
        return REASONS[reason].unit == "seconds", -today.get(reason, 0), -week.get(reason, 0), reason

    named = {reason for reason in (*today, *week) if reason in REASONS and (today.get(reason) or week.get(reason))}
    return tuple(_view(reason, today.get(reason, 0), week.get(reason, 0)) for reason in sorted(named, key=order))


def _view(reason: str, today: int, week: int) -> RejectionView:
    about = REASONS[reason]
    return RejectionView(
        reason=reason,
        count=today,
        fix=about.fix,
        group=about.group,
        title=about.title,
        unit=about.unit,
        week_count=max(today, week),
    )


def added(amounts: Mapping[str, int], more: Iterable[tuple[str, int]]) -> dict[str, int]:
    """These amounts and more of them."""
    sums = dict(amounts)
    for reason, amount in more:
        sums[reason] = sums.get(reason, 0) + amount
    return sums
