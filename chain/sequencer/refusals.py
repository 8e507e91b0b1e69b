"""The sequencer's refusals: one clear line, a stable code, and what to do."""

from __future__ import annotations

import math

from chain.errors import ChainRejectedError, ChainUnavailableError, ErrorCode
from chain.money import format_usd
from chain.stf import Code

_MALFORMED: tuple[ErrorCode, str, str] = ("malformed", "These bytes are no transaction of this rollup.", "")
_OTHERWISE: tuple[ErrorCode, str, str] = ("refused", "The rollup's rules refuse this transaction.", "")
"""For the codes of whole frames and batches, which no transaction alone comes to."""
_WORDS: dict[Code, tuple[ErrorCode, str, str]] = {
    Code.MALFORMED: _MALFORMED,
    Code.UNKNOWN_TYPE: _MALFORMED,
    Code.MISSING_SENDER: ("missing_sender", "The sender has no account on the rollup.", "Create or fund it first."),
    Code.MALLEABLE_SIGNATURE: ("malleable_signature", "The signature has a high s value.", "Sign again with low s."),
    Code.BAD_SIGNATURE: (
        "bad_signature",
        "The signature or its nonce doesn't match the sender's account.",
        "Read the account's nonce again and sign anew.",
    ),
    Code.OVERDRAFT: ("overdraft", "The account's balance doesn't cover the amount and the fee.", "Deposit more first."),
    Code.MISSING_RECEIVER: ("missing_receiver", "The receiver has no account on the rollup.", "Create it first."),
    Code.CHANNEL_UNAVAILABLE: ("channel_unavailable", "The channel doesn't exist, is closing, or has expired.", ""),
    Code.BAD_VOUCHER: (
        "bad_voucher",
        "The cumulative amount or the voucher's signature doesn't fit the channel.",
        "Read the channel again.",
    ),
    Code.TOO_EARLY: ("too_early", "The channel's time hasn't run out yet.", "Wait for its expiry or close delay."),
    Code.STAKE_VIOLATION: (
        "stake_unavailable",
        "The account has no such stake to move, or its unstake delay isn't over.",
        "Read the account's stake and its unlock time again.",
    ),
    Code.BAD_SLASH_EVIDENCE: (
        "bad_evidence",
        "These receipts don't contradict each other, or the provider didn't sign both.",
        "",
    ),
    Code.OVERFLOW: ("overflow", "An amount, nonce or index would grow too large.", ""),
}


def refusal(code: Code) -> ChainRejectedError:
    """The error for a transaction that the state transition refuses."""
    word, message, fix = _WORDS.get(code, _OTHERWISE)
    return ChainRejectedError(message, code=word, fix=fix)


def low_fee(asked_nano: int, valid_s: int) -> ChainRejectedError:
    """The fee is below every quote that still holds."""
    return ChainRejectedError(
        "The fee is below what the sequencer asks for.",
        code="fee_too_low",
        fix=f"Offer at least {asked_nano} nano; that holds for {valid_s} seconds.",
    )


def small_withdrawal(least_nano: int) -> ChainRejectedError:
    """A withdrawal isn't worth what its claim on L1 costs."""
    return ChainRejectedError(
        "That withdrawal is worth less than its payment on L1 costs.",
        code="withdrawal_too_small",
        fix=f"Withdraw at least {format_usd(least_nano)}, or force it through L1: idlewatt wallet force-withdraw.",
    )


def small_redeem(least_nano: int) -> ChainRejectedError:
    """A redeem brings little, and its channel has few left that its opening and top-ups paid for."""
    return ChainRejectedError(
        "That redeem brings too little for the few that this channel has left.",
        code="redeem_too_small",
        fix=f"Redeem at least {format_usd(least_nano)} at once, or when the channel closes.",
    )


def no_redeem_left() -> ChainRejectedError:
    """A channel's redeems are used up but for the one that is kept for its end."""
    return ChainRejectedError(
        "This channel has used up the redeems that its opening and top-ups paid for.",
        code="redeem_quota",
        fix="Redeem when it closes or is about to expire, have its payer top it up, or force the redeem through L1.",
    )


def too_often(what: str, wait_s: float) -> ChainRejectedError:
    """One client, or all of them, did something too often."""
    seconds = max(1, math.ceil(wait_s))
    return ChainRejectedError(
        f"Too many {what} within a minute.",
        code="rate_limited",
        fix=f"Try again in {seconds} seconds.",
        retry_after_s=seconds,
    )


def busy() -> ChainRejectedError:
    """Too much waits already."""
    return ChainRejectedError(
        "The sequencer has too many transactions waiting for L1.", code="busy", fix="Try again in a moment."
    )


def not_leading() -> ChainRejectedError:
    """Another sequencer posts, or a wrong batch stands on L1."""
    return ChainRejectedError(
        "This sequencer stands by: it may not post to L1 now.",
        code="not_leading",
        fix="Use the leading sequencer, or try again once this one took over.",
    )


def realigning() -> ChainUnavailableError:
    """L1's history changed, and the head lacks transactions that were acknowledged."""
    return ChainUnavailableError(
        "The sequencer is bringing its state into agreement with L1.", code="realigning", fix="Try again in a moment."
    )


def account_exists() -> ChainRejectedError:
    """An owner has one account here."""
    return ChainRejectedError("This address has an account already.", code="account_exists")


def halted(reason: str) -> ChainRejectedError:
    """The sequencer stopped rather than build on something wrong."""
    return ChainRejectedError(
        f"The sequencer has stopped: {reason}", code="sequencer_halted", fix="Read the sequencer's log."
    )
