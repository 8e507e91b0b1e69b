"""The steps of an exit or a forced withdrawal, reported one after the other, each again as it progresses."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class StepState(StrEnum):
    """How far one step is."""

    DOING = "doing"
    WAITING = "waiting"
    """For time to pass, or for somebody else; ``WithdrawalStep.ready_at_s`` says until when, where that is known."""
    DONE = "done"


class WithdrawalStep(msgspec.Struct, frozen=True, kw_only=True):
    """One step as it stands now; a later one with the same key replaces it."""

    key: str
    """Names the step, such as ``send`` or ``channel 7``."""
    state: StepState
    text: str
    """One line for a person, this program's own words and numbers only."""
    ready_at_s: int | None = None
    """When the wait ends at the latest or the money can move, on L1's clock."""
    l1_tx: str = ""
    """The L1 transaction that did it, as ``0x`` hex."""
    amount_nano: int | None = None
    """The money that this step moves."""
    fee_nano: int | None = None
    """What somebody kept of it, where somebody did."""


def doing(key: str, text: str) -> WithdrawalStep:
    """A step that begins."""
    return WithdrawalStep(key=key, state=StepState.DOING, text=text)


def waiting(key: str, text: str, ready_at_s: int | None = None) -> WithdrawalStep:
    """A step that waits."""
    return WithdrawalStep(key=key, state=StepState.WAITING, text=text, ready_at_s=ready_at_s)


def done(key: str, text: str, *, l1_tx: bytes = b"", amount_nano: int | None = None) -> WithdrawalStep:
    """A step that is done."""
    shown = "0x" + l1_tx.hex() if l1_tx else ""
    return WithdrawalStep(key=key, state=StepState.DONE, text=text, l1_tx=shown, amount_nano=amount_nano)
