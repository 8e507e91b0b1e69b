"""What a step comes to: its code, what it allocated, and what a deployment fixes for every step."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple

from chain.eip712 import SigningDomain


class Code(IntEnum):
    """Why a step is wrong; 0 where it is not."""

    OK = 0
    MALFORMED = 1
    UNKNOWN_TYPE = 2
    MISSING_SENDER = 3
    MALLEABLE_SIGNATURE = 4
    BAD_SIGNATURE = 5
    OVERDRAFT = 6
    MISSING_RECEIVER = 7
    WRONG_ROOT = 8
    TOO_MANY_IN_FRAME = 9
    CHANNEL_UNAVAILABLE = 10
    BAD_VOUCHER = 11
    TOO_EARLY = 12
    STAKE_VIOLATION = 13
    BAD_SLASH_EVIDENCE = 14
    INBOX_ORDER = 15
    WRONG_CURSOR = 16
    BAD_ALLOCATION = 17
    OVERFLOW = 18


@dataclass(frozen=True, slots=True)
class Rules:
    """What a deployment fixes for every step."""

    domain: SigningDomain
    close_delay_s: int
    unstake_delay_s: int
    """How long a stake on its way out stays slashable."""


class Outcome(NamedTuple):
    """What a transaction or inbox message did: its code, and the account, channel or withdrawal number it allocated."""

    code: Code
    allocated: int | None = None


OK: Final = Code.OK  # looked up once: an enum's member costs five times as much as a name
DONE = Outcome(OK)
