"""The state transition: total functions from a state and bytes to a state and a code.

Nothing here reads a clock, a disk or a socket, and nothing raises on batch data: every outcome is one of the eighteen
codes of ``docs/rollup.md``, and a state is left as it was unless the code is ``OK``. Checks run in the order in which
they stand, since the contract that re-executes a step has to come to the same code.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from chain.codec import MAX_FORCED_TX_BYTES, MAX_FRAME_ITEMS, BatchHeader, Frame, decode_inbox_body, is_inbox_body
from chain.l1.protocol import InboxMessage
from chain.rules.accounts import collect_fees, create_account, deposit, prune, transfer, withdraw
from chain.rules.channels import close_together, expire, open_channel, redeem, start_close, top_up
from chain.rules.outcome import OK, Code, Outcome, Rules
from chain.rules.stakes import BURN_ADDRESS, finish_unstake, slash, stake, unstake
from chain.state import RollupState
from chain.txs import (
    TX_SIZES,
    CloseTogether,
    CollectFees,
    CreateAccount,
    Expire,
    FinishUnstake,
    OpenChannel,
    Prune,
    Redeem,
    Slash,
    Stake,
    StartClose,
    TopUp,
    Transfer,
    TxFormatError,
    Unstake,
    Withdraw,
    decode,
)
from chain.types import META_KEY

__all__ = [
    "BURN_ADDRESS",
    "Code",
    "InboxReader",
    "Outcome",
    "Rules",
    "apply",
    "apply_inbox",
    "execute_body",
    "execute_frame",
    "open_batch",
]

InboxReader = Callable[[int], InboxMessage]
"""The L1 inbox message of an index that exists."""

_COLLECT_FEES = bytes([CollectFees.TYPE])

_EXECUTORS: dict[type, Callable[[RollupState, Any, bytes, Rules], Outcome]] = {
    CreateAccount: create_account,
    Transfer: transfer,
    Withdraw: withdraw,
    OpenChannel: open_channel,
    TopUp: top_up,
    Redeem: redeem,
    CloseTogether: close_together,
    StartClose: start_close,
    Expire: expire,
    Stake: stake,
    Unstake: unstake,
    FinishUnstake: finish_unstake,
    Slash: slash,
    CollectFees: collect_fees,
    Prune: prune,
}


def apply(state: RollupState, raw: bytes, rules: Rules) -> Outcome:
    """Execute one transaction; the state changes only where the code is ``OK``.

    Args:
        state: Changed in place.
        raw: The transaction's bytes, as on the wire.
        rules: What the deployment fixes.
    """
    try:
        tx, signature = decode(raw)
    except TxFormatError as error:
        return Outcome(Code.UNKNOWN_TYPE if error.is_unknown_type else Code.MALFORMED)
    mark = state.mark()
    outcome = _EXECUTORS[type(tx)](state, tx, signature, rules)
    if outcome.code is not OK:
        state.rollback(mark)
    return outcome


def apply_inbox(state: RollupState, message: InboxMessage, rules: Rules) -> Outcome:
    """Execute the inbox message at the cursor and move the cursor; an invalid one changes nothing but the cursor.

    Args:
        state: Changed in place.
        message: The message at the state's inbox cursor.
        rules: What the deployment fixes.
    """
    outcome = deposit(state, message) if message.kind == "deposit" else _apply_forced(state, message.body, rules)
    state.write(META_KEY, replace(state.meta, inbox_cursor=message.index + 1))
    return outcome


def _apply_forced(state: RollupState, raw: bytes, rules: Rules) -> Outcome:
    if len(raw) > MAX_FORCED_TX_BYTES:
        return Outcome(Code.MALFORMED)
    if raw[:1] == _COLLECT_FEES:
        return Outcome(Code.UNKNOWN_TYPE)  # the fees are whose batch it is
    return apply(state, raw, rules)


def execute_frame(
    state: RollupState, header: BatchHeader, frame: Frame, rules: Rules, inbox: InboxReader, *, is_last: bool
) -> Code:
    """Re-execute one frame on the state before it, as a fraud proof does; without ``OK`` nothing changes.

    Args:
        state: The state before the frame; changed in place.
        header: Of the frame's batch.
        frame: Body and claimed state root.
        rules: What the deployment fixes.
        inbox: Gives an inbox message by its index.
        is_last: Whether the batch ends with this frame, so that the inbox cursor must be where the header says.
    """
    mark = state.mark()
    code = execute_body(state, header, frame.body, rules, inbox, is_last=is_last)
    if code is OK and state.root() != frame.post_root:
        code = Code.WRONG_ROOT
    if code is not OK:
        state.rollback(mark)
    return code


def execute_body(
    state: RollupState, header: BatchHeader, body: bytes, rules: Rules, inbox: InboxReader, *, is_last: bool
) -> Code:
    """Execute a frame's body whatever root it claims to reach; without ``OK`` the caller rolls the state back.

    Args:
        state: The state before the frame; changed in place.
        header: Of the frame's batch.
        body: An inbox body, or transactions one after the other.
        rules: What the deployment fixes.
        inbox: Gives an inbox message by its index.
        is_last: Whether the batch ends with this frame, so that the inbox cursor must be where the header says.
    """
    open_batch(state, header.l2_time_s)
    if is_inbox_body(body):
        code = _execute_inbox_body(state, header, body, rules, inbox)
    else:
        code = _execute_tx_body(state, header, body, rules)
    if code is OK and is_last and state.meta.inbox_cursor != header.inbox_to:
        code = Code.WRONG_CURSOR
    return code


def open_batch(state: RollupState, l2_time_s: int) -> None:
    """Set the L2 time that holds for a batch, which is what every frame's execution begins with."""
    state.write(META_KEY, replace(state.meta, l2_time_s=l2_time_s))


def _execute_inbox_body(state: RollupState, header: BatchHeader, body: bytes, rules: Rules, inbox: InboxReader) -> Code:
    decoded = decode_inbox_body(body)
    if decoded is None:
        return Code.MALFORMED
    start, count = decoded
    if count > MAX_FRAME_ITEMS:
        return Code.TOO_MANY_IN_FRAME
    if start != state.meta.inbox_cursor or count == 0 or start + count > header.inbox_to:
        return Code.INBOX_ORDER
    for index in range(start, start + count):
        apply_inbox(state, inbox(index), rules)
    return OK


def _execute_tx_body(state: RollupState, header: BatchHeader, body: bytes, rules: Rules) -> Code:
    if state.meta.inbox_cursor != header.inbox_to:
        return Code.INBOX_ORDER
    if not body:
        return Code.MALFORMED
    offset = count = 0
    while offset < len(body):
        if count == MAX_FRAME_ITEMS:
            return Code.TOO_MANY_IN_FRAME
        size = TX_SIZES.get(body[offset])
        if size is None:
            return Code.UNKNOWN_TYPE
        if offset + size > len(body):
            return Code.MALFORMED
        outcome = apply(state, body[offset : offset + size], rules)
        if outcome.code is not OK:
            return outcome.code
        offset += size
        count += 1
    return OK
