"""A contract's events, however little an L1's RPC gives at once.

RPCs cap the blocks, the results, the time or the bytes of one ``eth_getLogs``, each with an error of its own. So a
query that fails is asked again for half of it, down to one block and then to one value of the indexed field; what an
L1 took is asked for again, and more after a while. Where a single block can't be had that way either, its events come
from its transactions' receipts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from chain.errors import ChainRejectedError, ChainUnavailableError, ErrorCode
from chain.l1.answers import contradiction, integer
from chain.l1.connection import L1Connection
from chain.logs import get_logger

log = get_logger(__name__)

FIRST_PAGE_BLOCKS: Final = 10_000
MAX_PAGE_BLOCKS: Final = 1_000_000
MAX_CHOICES: Final = 256
"""Values of an indexed field in one query; RPCs cap these too."""
CALM_PAGES: Final = 16
"""Pages in a row that an RPC must give before a longer one is tried after a failure."""
SKIPPED_QUERIES: Final = 16
"""How often receipts are read at once after logs could not be had at all."""
_NOT_FOR_ITS_SIZE: frozenset[ErrorCode] = frozenset({"chain_unreachable", "l1_slow"})
"""Failures that a smaller query doesn't mend: nobody answers, or asks for fewer questions."""


class LogReader:
    """Reads events through one connection, and remembers how much its RPC gives.

    Args:
        connection: Where to ask.
        first_page_blocks: How many blocks are asked for first.
    """

    def __init__(self, connection: L1Connection, *, first_page_blocks: int = FIRST_PAGE_BLOCKS) -> None:
        self._connection = connection
        self._page_blocks = first_page_blocks
        self._has_failed = False
        self._calm = 0
        self._skips = 0

    async def read(
        self, events: Sequence[Any], first_block: int, last_block: int, choices: Sequence[int] | None = None
    ) -> list[Any]:
        """Events of one contract in a range of blocks, in order, decoded, each checked to be what was asked for.

        Args:
            events: The events' classes, of web3; all of one contract.
            first_block: The first block.
            last_block: The last one.
            choices: What the first indexed field may be; anything if not given.

        Raises:
            ChainUnavailableError: If L1 does not answer, or contradicts itself.
            ChainRejectedError: If it refuses even the smallest query.
        """
        kinds = [event() for event in events]
        logs = await self._gather(kinds, first_block, last_block, choices)
        return await self._checked(kinds, logs, first_block, last_block)

    async def at(self, event: Any, blocks: Mapping[int, int]) -> list[Any]:
        """The events with these values of the first indexed field, each in a block that is known.

        Args:
            event: The event's class, of web3.
            blocks: The block of each value.

        Raises:
            ChainUnavailableError: If L1 does not answer, or contradicts itself.
            ChainRejectedError: If it gives neither the logs nor the receipts.
        """
        found: list[Any] = []
        waiting = sorted(blocks, key=lambda value: (blocks[value], value))
        while waiting:
            first = blocks[waiting[0]]
            within = [value for value in waiting[:MAX_CHOICES] if blocks[value] < first + self._page_blocks]
            last = blocks[within[-1]]
            found += await self._logs_or_receipts(event, first, last, {value: blocks[value] for value in within})
            waiting = waiting[len(within) :]
        return found

    async def of_receipt(self, events: Sequence[Any], receipt: Any) -> list[Any]:
        """One contract's events in a receipt, decoded.

        Raises:
            ChainUnavailableError: If they can't be.
        """
        kinds, block = [event() for event in events], integer(receipt["blockNumber"])
        return await self._checked(kinds, [entry for entry in receipt["logs"] if _is_of(entry, kinds)], block, block)

    async def _logs_or_receipts(self, event: Any, first: int, last: int, blocks: Mapping[int, int]) -> list[Any]:
        choices = list(blocks)
        kind = event()
        if self._skips == 0:
            try:
                logs = await self._gather([kind], first, last, choices)
            except (ChainRejectedError, ChainUnavailableError) as error:
                if error.code in _NOT_FOR_ITS_SIZE:
                    raise
                log.warning("l1_logs_failed", blocks=f"{first}-{last}", error=error.line())
                self._skips = SKIPPED_QUERIES
            else:
                return await self._checked([kind], logs, first, last)
        self._skips -= 1
        found: list[Any] = []
        for block in sorted({blocks[value] for value in choices}):
            found += await self._of_receipts(kind, block, [value for value in choices if blocks[value] == block])
        return found

    async def _of_receipts(self, kind: Any, number: int, choices: Iterable[int]) -> list[Any]:
        """One block's events, from the receipts of its transactions: those sent to the contract itself first."""
        eth, wanted = self._connection.web3.eth, frozenset(choices)
        missing = set(wanted)
        block = await self._connection.request(lambda: eth.get_block(number, True))
        found: list[Any] = []
        for transaction in sorted(block["transactions"], key=lambda one: one["to"] != kind.address):
            if not missing and transaction["to"] != kind.address:
                break
            receipt = await self._connection.request(partial(eth.get_transaction_receipt, transaction["hash"]))
            logs = [entry for entry in receipt["logs"] if _is_of(entry, [kind])]
            for entry in await self._checked([kind], logs, number, number):
                value = next(iter(entry["args"].values()))
                missing.discard(value)
                if value in wanted:
                    found.append(entry)
        return found

    async def _gather(
        self, kinds: Sequence[Any], first_block: int, last_block: int, choices: Sequence[int] | None
    ) -> list[Any]:
        """The logs as they are answered, in pages that the L1 takes."""
        found: list[Any] = []
        while first_block <= last_block:
            end = min(last_block, first_block + self._page_blocks - 1)
            try:
                found += await self._ask(kinds, first_block, end, choices)
            except (ChainRejectedError, ChainUnavailableError) as error:
                self._shrink(error, end - first_block + 1)
                if end > first_block:
                    continue
                found += await self._narrowed(kinds, end, choices, error)
            else:
                self._grow(end - first_block + 1)
            first_block = end + 1
        return found

    async def _narrowed(
        self,
        kinds: Sequence[Any],
        block: int,
        choices: Sequence[int] | None,
        error: ChainRejectedError | ChainUnavailableError,
    ) -> list[Any]:
        """One block that is too much at once: each kind of event alone, then each half of the choices."""
        parts: list[tuple[Sequence[Any], Sequence[int] | None]]
        if len(kinds) > 1:
            parts = [([kind], choices) for kind in kinds]
        elif choices is not None and len(choices) > 1:
            half = len(choices) // 2
            parts = [(kinds, choices[:half]), (kinds, choices[half:])]
        else:
            raise error
        found: list[Any] = []
        for part_kinds, part_choices in parts:
            found += await self._gather(part_kinds, block, block, part_choices)
        return sorted(found, key=lambda entry: integer(entry["logIndex"]))

    def _shrink(self, error: ChainRejectedError | ChainUnavailableError, asked_blocks: int) -> None:
        if error.code in _NOT_FOR_ITS_SIZE:
            raise error
        self._has_failed, self._calm = True, 0
        self._page_blocks = max(1, asked_blocks // 2)
        if error.code == "chain_timeout":
            # To wait for each half as long would take minutes.
            self._page_blocks = max(1, asked_blocks // 16)
            raise error

    def _grow(self, asked_blocks: int) -> None:
        self._calm += 1
        if asked_blocks == self._page_blocks and (self._calm >= CALM_PAGES or not self._has_failed):
            self._page_blocks, self._calm = min(MAX_PAGE_BLOCKS, 2 * self._page_blocks), 0

    async def _ask(self, kinds: Sequence[Any], first: int, last: int, choices: Sequence[int] | None) -> list[Any]:
        topics: list[Any] = [[kind.topic for kind in kinds] if len(kinds) > 1 else kinds[0].topic]
        if choices is not None:
            topics.append(["0x" + value.to_bytes(32, "big").hex() for value in choices])
        query = {"address": kinds[0].address, "fromBlock": first, "toBlock": last, "topics": topics}
        answer = await self._connection.request(lambda: self._connection.web3.eth.get_logs(query))
        return list(answer)

    async def _checked(self, kinds: Sequence[Any], logs: Sequence[Any], first: int, last: int) -> list[Any]:
        # Outside of what is asked again: an L1 that makes things up doesn't stop it for smaller questions.
        async def decoded() -> list[Any]:
            return [_kind_of(entry, kinds).process_log(entry) for entry in logs]

        found: list[Any] = await self._connection.request(decoded)
        for entry in found:
            if entry["address"] != kinds[0].address or not first <= integer(entry["blockNumber"]) <= last:
                contradiction("a log is not one that was asked for")
        return found


def _is_of(entry: Any, kinds: Sequence[Any]) -> bool:
    return bool(entry["topics"]) and any(
        entry["address"] == kind.address and bytes(entry["topics"][0]) == bytes.fromhex(kind.topic[2:])
        for kind in kinds
    )


def _kind_of(entry: Any, kinds: Sequence[Any]) -> Any:
    topic = bytes(entry["topics"][0])
    return next((kind for kind in kinds if bytes.fromhex(kind.topic[2:]) == topic), kinds[0])
