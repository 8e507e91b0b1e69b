"""The head of the L2 chain in memory: its state, the indices over it, and the open batch.

Everything here is synchronous and writes nothing: what must become durable collects as statements, and ``drain``
hands them to the caller, who commits them. After a failed commit the head is dropped and loaded again.

The state root is taken once a frame and not once a transaction, so a soft receipt carries none.
"""

from __future__ import annotations

from typing import Final

from chain.codec import decode_batch
from chain.errors import IdlewattError
from chain.l1.protocol import InboxMessage, next_inbox_hash
from chain.money import format_usd
from chain.sequencer.batching import OpenBatch
from chain.sequencer.store import (
    BatchRow,
    Statement,
    TxRow,
    insert_batch,
    insert_event,
    insert_frame,
    insert_tx,
    insert_withdrawal,
    seal_batch,
    widen_batch,
    write_leaf,
)
from chain.state import RollupState
from chain.stf import Code, Outcome, Rules, apply, apply_inbox, open_batch
from chain.txs import CloseTogether, Expire, Slash, TxFormatError, Withdraw, decode, inbox_tx_id, kind_of, tx_id
from chain.types import Account, Channel, Leaf, Region

_OK: Final = Code.OK
_NUMBER_MASK = (1 << 30) - 1
_ENDING = frozenset({CloseTogether.KIND, Expire.KIND})
"""Kinds that remove a channel. The indices over owners change with these and with allocations."""
_WITHDRAWING = frozenset({Withdraw.KIND, Slash.KIND, "refund"})
"""Kinds that allocate a withdrawal; a refund is a deposit that no account could take."""


class TxRefusedError(IdlewattError):
    """A transaction that was not executed.

    Args:
        tx_code: The rule that it breaks.
    """

    default_code = "refused"

    def __init__(self, tx_code: Code) -> None:
        super().__init__(tx_code.name)
        self.tx_code = tx_code


class Head:
    """The newest L2 state and the batch that is filling.

    Args:
        rules: What the deployment fixes.
        state: The state after the last durable item.
        next_sequence: The number of the next transaction or message.
        next_batch: The id of the next batch to open.
        inbox_hash: The inbox's hash after the messages that the state has executed.
    """

    def __init__(
        self, rules: Rules, state: RollupState, *, next_sequence: int, next_batch: int, inbox_hash: bytes
    ) -> None:
        self.rules = rules
        self.state = state
        self.next_sequence = next_sequence
        self.next_batch = next_batch
        self._inbox_hash = inbox_hash
        self.open: OpenBatch | None = None
        self._account_of: dict[bytes, int] = {}
        self._further_of: dict[bytes, set[int]] = {}
        """Accounts beyond the first of the few owners that have several; reading leaves out those that are gone."""
        self._channels_of: dict[int, set[int]] = {}
        self._channel_sides: dict[int, tuple[int, int]] = {}
        self._statements: list[Statement] = []
        self._txs: list[Statement] = []
        self._frames: list[Statement] = []
        self._leaves: list[Statement] = []
        self._written: set[int] = set()
        """State indices that the open batch wrote and that ``drain`` has not handed out yet."""
        for key, leaf in state.items():
            self._index(key, leaf)

    def resume(self, row: BatchRow, txs: list[TxRow], post_roots: list[bytes]) -> None:
        """Take up the open batch that the database has; the state is the one after its last item.

        Args:
            row: The batch.
            txs: Its items in their order.
            post_roots: The state roots after its closed frames.
        """
        self.open = OpenBatch(
            batch_id=row.batch_id, l2_time_s=row.l2_time_s, inbox_from=row.inbox_from, prev_root=row.prev_root
        )
        self.open.refill((tx.raw if tx.inbox_index is None else None for tx in txs), iter(post_roots))

    def account_number(self, owner: bytes) -> int | None:
        """The lowest account number of an owner."""
        return next(iter(self.account_numbers(owner)), None)

    def account_numbers(self, owner: bytes) -> list[int]:
        """Every account number of an owner, in ascending order: deposits without a number make an account each."""
        first = self._account_of.get(owner)
        if first is None:
            return []
        numbers = sorted({first, *self._further_of.get(owner, ())})
        return [number for number in numbers if self.state.account(number) is not None]

    def channels_of(self, account: int) -> set[int]:
        """Open channels that an account pays into or is paid from."""
        return self._channels_of.get(account, set())

    def execute(self, raw: bytes, l1_time_s: int) -> TxRow:
        """Execute a transaction on top, opening a batch where none is open.

        Raises:
            TxRefusedError: If the transition refuses it; nothing has changed then.
        """
        state, batch = self.state, self.open
        mark, before = state.mark(), None
        if batch is None or batch.ends_frame_before(raw):
            before = state.root()
        if batch is None:
            self._set_time(l1_time_s)
        outcome = apply(state, raw, self.rules)
        if outcome.code is not _OK:
            state.rollback(mark)
            raise TxRefusedError(outcome.code)
        if before is not None:
            if batch is None:
                batch = self._open(before)
            else:
                self._close_frame(batch, before)
        assert batch is not None
        batch.add_tx(raw)
        row = self._record(batch, tx_id(raw), kind_of(raw), raw, outcome, inbox_index=None)
        if batch.is_frame_due:
            self._close_frame(batch, state.root())
        return row

    def execute_message(self, message: InboxMessage, l1_time_s: int) -> TxRow:
        """Execute the next inbox message; the open batch must have no transaction yet."""
        batch = self.open
        if batch is None:
            before = self.state.root()
            self._set_time(l1_time_s)
            batch = self._open(before)
        withdrawals = self.state.meta.next_withdrawal
        outcome = apply_inbox(self.state, message, self.rules)
        batch.add_message()
        self._inbox_hash = next_inbox_hash(self._inbox_hash, message.content_hash())
        self._statements.append(widen_batch(batch.batch_id, batch.inbox_to, self._inbox_hash))
        if message.kind == "deposit":
            kind = "deposit" if self.state.meta.next_withdrawal == withdrawals else "refund"
        else:
            kind = _forced_kind(message, outcome)
        tx_hash = inbox_tx_id(message.index)
        row = self._record(batch, tx_hash, kind, message.content_hash(), outcome, inbox_index=message.index)
        if batch.is_frame_due:
            self._close_frame(batch, self.state.root())
        if kind == "deposit" and outcome.code is Code.OK:
            number = message.index_hint if outcome.allocated is None else outcome.allocated
            text = f"Deposit of {format_usd(message.amount_nano)} credited to account {number}."
            self._statements += insert_event("deposit", batch.l2_time_s, text, "0x" + row.hash.hex())
        return row

    def seal(self, blob: bytes | None = None) -> int:
        """Close the open batch; returns its id. ``blob`` replaces the one built here, for a batch read from L1."""
        batch = self.open
        assert batch is not None
        if batch.is_frame_open:
            self._close_frame(batch, self.state.root())
        sealed = blob if blob is not None else batch.blob()
        frame_count = len(decode_batch(blob).frames) if blob is not None else len(batch.frames)
        self._statements.append(
            seal_batch(batch.batch_id, sealed, batch.post_root(), batch.item_count, frame_count),
        )
        self._take_leaves(batch.batch_id)
        self.open = None
        self.next_batch = batch.batch_id + 1
        return batch.batch_id

    def drain(self) -> list[Statement]:
        """What has to become durable since the last time, statements of one kind side by side."""
        if self.open is not None:
            self._take_leaves(self.open.batch_id)
        statements = self._statements + self._txs + self._frames + self._leaves
        self._statements, self._txs, self._frames, self._leaves = [], [], [], []
        return statements

    def _close_frame(self, batch: OpenBatch, post_root: bytes) -> None:
        self._frames.append(insert_frame(batch.batch_id, len(batch.frames), post_root))
        batch.close_frame(post_root)

    def _take_leaves(self, batch_id: int) -> None:
        for key in self._written:
            leaf = self.state.leaf(key)
            self._leaves.append(write_leaf(batch_id, key, leaf.encode() if leaf is not None else None))
        self._written.clear()

    def _set_time(self, l1_time_s: int) -> None:
        open_batch(self.state, max(self.state.meta.l2_time_s, l1_time_s))

    def _open(self, prev_root: bytes) -> OpenBatch:
        meta = self.state.meta
        self.open = OpenBatch(
            batch_id=self.next_batch,
            l2_time_s=meta.l2_time_s,
            inbox_from=meta.inbox_cursor,
            prev_root=prev_root,
        )
        self._statements.append(
            insert_batch(self.next_batch, meta.l2_time_s, meta.inbox_cursor, self._inbox_hash, prev_root)
        )
        return self.open

    def _record(
        self, batch: OpenBatch, tx_hash: bytes, kind: str, raw: bytes, outcome: Outcome, *, inbox_index: int | None
    ) -> TxRow:
        row = TxRow(
            sequence=self.next_sequence,
            hash=tx_hash,
            kind=kind,
            raw=raw,
            inbox_index=inbox_index,
            code=int(outcome.code),
            allocated=outcome.allocated,
            batch_id=batch.batch_id,
        )
        self.next_sequence += 1
        self._txs.append(insert_tx(row))
        allocated = outcome.allocated
        if allocated is not None and kind in _WITHDRAWING:
            self._record_withdrawal(allocated, row, batch.l2_time_s)
        written = self.state.settle()
        self._written |= written
        if allocated is not None or kind in _ENDING:
            for key in written:
                self._index(key, self.state.leaf(key))
        return row

    def _record_withdrawal(self, number: int, row: TxRow, at_s: int) -> None:
        leaf = self.state.withdrawal(number)
        assert leaf is not None
        self._statements.append(insert_withdrawal(number, leaf, row.sequence, row.batch_id))
        money = format_usd(leaf.amount_nano)
        if row.kind == "slash":
            text = f"A provider's stake was slashed; {money} of it is burnt."
        elif row.kind == "refund":
            text = f"No account could take a deposit of {money}: it is on its way back to 0x{leaf.recipient.hex()}."
        else:
            text = f"Withdrawal of {money} to 0x{leaf.recipient.hex()} asked for."
        self._statements += insert_event("withdrawal", at_s, text, "0x" + row.hash.hex())

    def _index(self, key: int, leaf: Leaf | None) -> None:
        number = key & _NUMBER_MASK
        if isinstance(leaf, Account):
            known = self._account_of.setdefault(leaf.owner, number)
            if known != number:
                self._further_of.setdefault(leaf.owner, set()).add(number)
        elif key >> 30 == Region.CHANNEL:
            for side in self._channel_sides.pop(number, ()):
                self._channels_of.get(side, set()).discard(number)
            if isinstance(leaf, Channel):
                self._channel_sides[number] = (leaf.payer, leaf.payee)
                for side in self._channel_sides[number]:
                    self._channels_of.setdefault(side, set()).add(number)


def _forced_kind(message: InboxMessage, outcome: Outcome) -> str:
    if outcome.code is not Code.OK:
        return "forced"
    try:
        return decode(message.body)[0].KIND
    except TxFormatError:  # pragma: no cover - what executed was decoded
        return "forced"
