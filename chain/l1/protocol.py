"""What the rollup needs of its L1, as one typed protocol: the inbox, the batches, finality and claims.

One implementation speaks JSON-RPC (``chain.l1.rollup_l1``), to the embedded EVM or to any other chain.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """Where the contracts are, and the parameters they were deployed with."""

    l1_chain_id: int
    l2_chain_id: int
    rollup_address: bytes
    inbox_address: bytes
    asset_address: bytes
    block_number: int
    block_hash: bytes
    challenge_window_s: int
    force_delay_s: int
    close_delay_s: int
    genesis_root: bytes
    takeover_delay_s: int = 40
    freeze_delay_s: int = 120
    unstake_delay_s: int = 60
    reveal_delay_blocks: int = 10


class InboxMessage(msgspec.Struct, frozen=True, kw_only=True):
    """One message of the L1 inbox, in its order."""

    index: int
    kind: Literal["deposit", "forced"]
    owner: bytes
    """20 bytes; zero for a forced transaction."""
    index_hint: int
    amount_nano: int
    body: bytes
    """A forced transaction's bytes (≤ 128); empty for a deposit."""
    at_s: int
    l1_block: int


class PostedBatch(msgspec.Struct, frozen=True, kw_only=True):
    """One batch as L1 calldata has it."""

    batch_id: int
    prev_root: bytes
    post_root: bytes
    blob: bytes
    l1_tx: bytes
    l1_block: int
    submitted_at_s: int


class RollupL1(Protocol):
    """The rollup's contracts on one L1.

    Every method may raise ``chain.errors.ChainUnavailableError`` (unreachable, retry) or ``ChainRejectedError``
    (reverted).
    """

    async def deployment(self) -> Deployment:
        """The contracts this instance talks to."""
        ...

    async def time_s(self) -> int:
        """The newest L1 block's timestamp."""
        ...

    async def inbox_messages(self, start: int, limit: int) -> Sequence[InboxMessage]:
        """Messages from index ``start`` on, in order."""
        ...

    async def batch_count(self) -> int:
        """How many batches stand on L1; the next one's id."""
        ...

    async def final_count(self) -> int:
        """How many of them are final."""
        ...

    async def batches(self, start: int, limit: int) -> Sequence[PostedBatch]:
        """Batches from id ``start`` on, blobs read back from the transactions that posted them."""
        ...

    async def submit_batch(self, batch_id: int, prev_root: bytes, blob: bytes) -> PostedBatch:
        """Post a batch and wait for its L1 receipt.

        A batch of this id and content that stands already is returned as it is.
        """
        ...

    async def finalize(self) -> int:
        """Make every batch past its window final; returns the new final count."""
        ...

    async def claim_withdrawal(
        self, batch_id: int, index: int, recipient: bytes, amount_nano: int, siblings: Sequence[bytes]
    ) -> bytes:
        """Pay a withdrawal to its recipient with a proof against a final batch's root.

        Returns the L1 transaction's hash.
        """
        ...

    async def is_claimed(self, index: int) -> bool:
        """Whether the withdrawal at this state index was paid."""
        ...
