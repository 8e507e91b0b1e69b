"""The open batch: how executed transactions fill it, its size, and its frames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from chain.codec import (
    FRAME_HEAD_BYTES,
    HEADER_BYTES,
    INBOX_BODY_BYTES,
    MAX_BODY_BYTES,
    MAX_FRAME_ITEMS,
    BatchHeader,
    Frame,
    encode_batch,
    encode_inbox_body,
)


@dataclass(slots=True)
class OpenBatch:
    """A batch that is still filling; inbox messages come first, so it takes none after its first transaction.

    Items gather until they fill a frame, or until the batch is sealed. Only then is the state root taken: hashing the
    tree is most of what a transaction costs beside its signature, and a frame's transactions share it.
    """

    batch_id: int
    l2_time_s: int
    """Fixed when the batch opens, so that what was executed softly is what a replay executes."""
    inbox_from: int
    prev_root: bytes
    inbox_to: int = field(init=False)
    frames: list[Frame] = field(default_factory=list)
    tx_count: int = 0
    _messages: int = 0
    """How many inbox messages wait for their frame to close."""
    _txs: list[bytes] = field(default_factory=list)
    """Transactions that wait for their frame to close."""
    _tx_bytes: int = 0
    """The length of those."""
    _size_bytes: int = HEADER_BYTES

    def __post_init__(self) -> None:
        self.inbox_to = self.inbox_from

    @property
    def item_count(self) -> int:
        """Inbox messages and transactions so far."""
        return self.inbox_to - self.inbox_from + self.tx_count

    def ends_frame_before(self, raw: bytes) -> bool:
        """Whether the frame that fills has to be closed before a transaction is executed: it has no place in it."""
        return self._messages > 0 or self._tx_bytes + len(raw) > MAX_BODY_BYTES

    @property
    def is_frame_due(self) -> bool:
        """Whether the frame that fills is full."""
        return MAX_FRAME_ITEMS in (self._messages, len(self._txs))

    def add_message(self) -> None:
        """Append the next inbox message."""
        assert not self.tx_count
        self._messages += 1
        self.inbox_to += 1

    def add_tx(self, raw: bytes) -> None:
        """Append a transaction, to whose frame it fits."""
        assert not self.ends_frame_before(raw)
        self._txs.append(raw)
        self._tx_bytes += len(raw)
        self.tx_count += 1
        self._size_bytes += len(raw)

    def close_frame(self, post_root: bytes) -> None:
        """Make a frame of what waits, with the state root after it."""
        if self._messages:
            body = encode_inbox_body(self.inbox_to - self._messages, self._messages)
            self._size_bytes += len(body)
        else:
            body = b"".join(self._txs)
        assert body
        self._messages, self._txs, self._tx_bytes = 0, [], 0
        self._size_bytes += FRAME_HEAD_BYTES
        self.frames.append(Frame(post_root=post_root, body=body))

    @property
    def is_frame_open(self) -> bool:
        """Whether items wait for their frame to close."""
        return bool(self._messages or self._txs)

    def size_with(self, extra_bytes: int) -> int:
        """The most that the blob would have if one more item joined: a transaction of this length, or a message."""
        waiting = FRAME_HEAD_BYTES + INBOX_BODY_BYTES
        return self._size_bytes + waiting + FRAME_HEAD_BYTES + max(extra_bytes, INBOX_BODY_BYTES)

    def refill(self, items: Iterable[bytes | None], post_roots: Iterator[bytes]) -> None:
        """Take up what a database has: transactions (``None`` for an inbox message) and the roots of closed frames."""
        for raw in items:
            if raw is None:
                self.add_message()
            else:
                if self.ends_frame_before(raw):
                    self.close_frame(next(post_roots))
                self.add_tx(raw)
            if self.is_frame_due:
                self.close_frame(next(post_roots))

    def blob(self) -> bytes:
        """The batch as L1 gets it; every frame is closed then.

        Raises:
            BatchFormatError: If it grew beyond what L1 takes.
        """
        assert not self.is_frame_open
        return encode_batch(BatchHeader(l2_time_s=self.l2_time_s, inbox_to=self.inbox_to), self.frames)

    def post_root(self) -> bytes:
        """The state root after the last closed frame."""
        return self.frames[-1].post_root
