"""What a rollup's delays owe each other, so that who acts in time is never too late: values in, values out.

A payee, or whoever reports a false receipt, has L1 alone to rely on when the leader is its opponent. From the close of
a channel on L1 to the execution of the redeem that it forces there pass at most, in L2 seconds:

* the *lag*: L2 may be as much as the force delay behind L1 when the close is executed, so the delay ends that much
  earlier;
* the payee's *reaction*, until its redeem arrived on L1;
* the takeover delay, after which anyone bonded may execute it, whatever the leader does;
* the *succession*, until somebody has, a fraud that is posted, proven and taken back meanwhile included;
* how far L2 may run *ahead* of L1 in that batch.

Reaction and succession share one force delay, half each. The contract asks for the same (`Parameters.sol`).
"""

from __future__ import annotations

from typing import Protocol

import msgspec


class Delays(msgspec.Struct, frozen=True, kw_only=True):
    """A rollup's delays; seconds on L1, or on L2 for a close and an unstaking."""

    challenge_window_s: int
    force_delay_s: int
    takeover_delay_s: int
    freeze_delay_s: int
    close_delay_s: int
    unstake_delay_s: int
    reveal_delay_blocks: int
    max_time_ahead_s: int


class HasDelays(Protocol):
    """A deployment, or what one is made with."""

    @property
    def force_delay_s(self) -> int:
        """How long a batch may leave an inbox message waiting, and L2 may lag."""
        ...

    @property
    def takeover_delay_s(self) -> int:
        """How long a message waits before anyone bonded may sequence."""
        ...

    @property
    def max_time_ahead_s(self) -> int:
        """How far L2 may run ahead."""
        ...


def reaction_s(delays: HasDelays) -> int:
    """How long a payee, or a reporter, has from what it sees on L1 to its message there."""
    return delays.force_delay_s // 2


def succession_s(delays: HasDelays) -> int:
    """How long whoever takes over has to execute an overdue message, frauds that are proven meanwhile included."""
    return delays.force_delay_s - reaction_s(delays)


def execution_s(delays: HasDelays) -> int:
    """How much later than its arrival on L1 a message is executed at the latest, as L2's clock shows it."""
    return delays.takeover_delay_s + succession_s(delays) + delays.max_time_ahead_s


def force_by_s(delays: HasDelays, over_at_s: int) -> int:
    """Until when a message must be on L1 to be executed before an L2 time: a channel's end, or a stake's unlocking."""
    return over_at_s - execution_s(delays)


def least_close_delay_s(delays: HasDelays) -> int:
    """The least close delay, and the least unstake delay."""
    lag_s = delays.force_delay_s
    return lag_s + reaction_s(delays) + execution_s(delays)


def least_freeze_delay_s(delays: Delays) -> int:
    """The least freeze delay: what a fraud had executed waits again with its age, a whole window later at worst."""
    return delays.challenge_window_s + delays.takeover_delay_s + delays.force_delay_s


def prover_margin_s(delays: Delays, *, block_s: int) -> int:
    """How much of a window is left to find a wrong batch and to get two transactions mined.

    Args:
        delays: The rollup's.
        block_s: How long an L1 block takes; the contract counts with the least possible, one second.
    """
    return delays.challenge_window_s - delays.reveal_delay_blocks * block_s


def broken_rules(delays: Delays) -> dict[int, str]:
    """The contract's rules about delays that these break, by the number that its ``InvalidParameters`` carries."""
    least_s = least_close_delay_s(delays)
    rules = {
        3: ("force and reveal delay are at least 1", delays.force_delay_s > 0 < delays.reveal_delay_blocks),
        4: ("a proof can be revealed within the window", prover_margin_s(delays, block_s=1) > 0),
        5: ("the takeover delay is not below the force delay", delays.takeover_delay_s >= delays.force_delay_s),
        6: (f"the close delay is at least {least_s} s", delays.close_delay_s >= least_s),
        7: (f"the unstake delay is at least {least_s} s", delays.unstake_delay_s >= least_s),
        8: (
            f"the freeze delay is at least {least_freeze_delay_s(delays)} s",
            delays.freeze_delay_s >= least_freeze_delay_s(delays),
        ),
    }
    return {number: says for number, (says, holds) in rules.items() if not holds}
