"""The L1 inbox: messages read back from their events and held against their hashes, and transactions forced into it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chain.codec import MAX_FORCED_TX_BYTES
from chain.errors import UsageError
from chain.l1.answers import contradiction, integer
from chain.l1.contracts import ContractsL1
from chain.l1.protocol import (
    DEPOSIT_KIND,
    EMPTY_INBOX_HASH,
    FORCED_KIND,
    InboxMessage,
    PendingMessage,
    next_inbox_hash,
)
from chain.signing import ZERO_ADDRESS

MAX_PAGE_MESSAGES = 500


class InboxL1(ContractsL1):
    """The part of `RollupL1` that is about the inbox."""

    async def inbox_messages(self, start: int, limit: int) -> Sequence[InboxMessage]:
        """Messages from index ``start`` on, in order."""
        # One more before them: each message's hash is over the one before it.
        first = max(start - 1, 0)
        page = await self._call(self._inbox.functions.messages(first, min(limit, MAX_PAGE_MESSAGES) + start - first))
        before, records = (EMPTY_INBOX_HASH, page) if start == 0 else (page[0][0] if page else b"", page[1:])
        contents: dict[int, Any] = {}
        for kind, event in ((DEPOSIT_KIND, self._inbox.events.Deposited), (FORCED_KIND, self._inbox.events.Forced)):
            blocks = {start + i: integer(record[2]) for i, record in enumerate(records) if record[3] == kind}
            if blocks:
                logs = await self._logs.at(event, blocks)
                # A log of a message of the other kind is no content of it.
                contents |= {log["args"]["index"]: log["args"] for log in logs if log["args"]["index"] in blocks}
        messages: list[InboxMessage] = []
        for index, record in enumerate(records, start):
            messages.append(_message(index, record, contents.get(index), before))
            before = record[0]
        return messages

    async def inbox_hash(self, length: int) -> bytes:
        """The inbox's hash after so many messages, as L1 has them now."""
        return bytes(await self._call(self._inbox.functions.hashOf(length)))

    async def inbox_length(self) -> int:
        """How many messages the inbox ever took."""
        return integer(await self._call(self._inbox.functions.length()))

    async def oldest_pending(self) -> PendingMessage | None:
        """The oldest inbox message that no standing batch executes."""
        index, at_s = await self._call(self._rollup.functions.oldestPending())
        return PendingMessage(index=index, at_s=at_s) if at_s else None

    async def force_tx(self, body: bytes) -> bytes:
        """Make every sequencer execute a signed L2 transaction; returns the L1 transaction's hash.

        Raises:
            UsageError: If it is empty or too long to be forced.
        """
        check_forced(body)
        return await self._send(self._inbox.functions.forceTx(body))


def check_forced(body: bytes) -> None:
    """Make sure that the inbox takes a transaction.

    Raises:
        UsageError: If it is empty or too long to be forced.
    """
    if not 0 < len(body) <= MAX_FORCED_TX_BYTES:
        raise UsageError(
            f"A transaction of {len(body)} bytes can't be forced.",
            code="not_forcible",
            fix=f"Force one of at most {MAX_FORCED_TX_BYTES} bytes.",
        )


def _message(index: int, record: Any, content: Any, hash_before: bytes) -> InboxMessage:
    inbox_hash, timestamp, block, kind = record
    if kind not in (DEPOSIT_KIND, FORCED_KIND):
        contradiction(f"inbox message {index} is of an unknown kind")
    if content is None:
        contradiction(f"inbox message {index} has no event")
    is_deposit = kind == DEPOSIT_KIND
    message = InboxMessage(
        index=index,
        kind="deposit" if is_deposit else "forced",
        owner=bytes.fromhex(content["owner"][2:]) if is_deposit else ZERO_ADDRESS,
        index_hint=content["indexHint"] if is_deposit else 0,
        amount_nano=content["amountNano"] if is_deposit else 0,
        body=b"" if is_deposit else bytes(content["body"]),
        at_s=integer(timestamp),
        l1_block=integer(block),
    )
    is_held = next_inbox_hash(hash_before, message.content_hash()) == inbox_hash
    if len(message.body) > MAX_FORCED_TX_BYTES or not is_held:
        contradiction(f"inbox message {index} differs from its hash")
    return message
