"""How executed transactions become a batch: the open batch, its size, and the cut into frames."""

from __future__ import annotations

from dataclasses import dataclass, field

from chain.codec import (
    FRAME_HEAD_BYTES,
    HEADER_BYTES,
    INBOX_BODY_BYTES,
    MAX_FRAME_ITEMS,
    BatchHeader,
    Frame,
    encode_batch,
    encode_inbox_body,
)


@dataclass(slots=True)
class OpenBatch:
    """A batch that is still filling; inbox messages come first, so it takes none after its first transaction."""

    batch_id: int
    l2_time_s: int
    """Fixed when the batch opens, so that what was executed softly is what a replay executes."""
    inbox_from: int
    inbox_to: int
    prev_root: bytes
    inbox_roots: list[bytes] = field(default_factory=list)
    txs: list[bytes] = field(default_factory=list)
    tx_roots: list[bytes] = field(default_factory=list)
    tx_bytes: int = 0

    @property
    def item_count(self) -> int:
        """Inbox messages and transactions so far."""
        return len(self.inbox_roots) + len(self.txs)

    def add_message(self, root: bytes) -> None:
        """Append the next inbox message, with the state root after it."""
        assert not self.txs
        self.inbox_to += 1
        self.inbox_roots.append(root)

    def add_tx(self, raw: bytes, root: bytes) -> None:
        """Append a transaction, with the state root after it."""
        self.txs.append(raw)
        self.tx_roots.append(root)
        self.tx_bytes += len(raw)

    def size_with(self, extra_bytes: int) -> int:
        """Bytes of the blob if one more transaction of this length (or one more inbox message, with 0) joined."""
        inbox_frames = -(-(len(self.inbox_roots) + 1) // MAX_FRAME_ITEMS)
        tx_frames = -(-(len(self.txs) + 1) // MAX_FRAME_ITEMS)
        return (
            HEADER_BYTES
            + inbox_frames * (FRAME_HEAD_BYTES + INBOX_BODY_BYTES)
            + tx_frames * FRAME_HEAD_BYTES
            + self.tx_bytes
            + extra_bytes
        )

    def frames(self) -> list[Frame]:
        """The batch cut into frames of at most K items: inbox first, then transactions."""
        frames = []
        for start in range(0, len(self.inbox_roots), MAX_FRAME_ITEMS):
            roots = self.inbox_roots[start : start + MAX_FRAME_ITEMS]
            frames.append(Frame(post_root=roots[-1], body=encode_inbox_body(self.inbox_from + start, len(roots))))
        for start in range(0, len(self.txs), MAX_FRAME_ITEMS):
            end = min(start + MAX_FRAME_ITEMS, len(self.txs))
            frames.append(Frame(post_root=self.tx_roots[end - 1], body=b"".join(self.txs[start:end])))
        return frames

    def blob(self) -> bytes:
        """The batch as L1 gets it.

        Raises:
            BatchFormatError: If it grew beyond what L1 takes.
        """
        return encode_batch(BatchHeader(l2_time_s=self.l2_time_s, inbox_to=self.inbox_to), self.frames())

    def post_root(self) -> bytes:
        """The state root after the last item."""
        return (self.tx_roots or self.inbox_roots)[-1]
