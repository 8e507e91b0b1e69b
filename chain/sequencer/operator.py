"""What an operator does for everyone, and pays the gas for: finality, and the claims that withdrawals paid for."""

from __future__ import annotations

import asyncio

from chain.errors import ChainRejectedError, ChainUnavailableError, ErrorCode
from chain.logs import get_logger
from chain.money import MAX_NANO, format_usd
from chain.retry import retry
from chain.sequencer.finality import Finality
from chain.sequencer.ledger import SequencerLedger
from chain.sequencer.store import SequencerStoreError, WithdrawalRow, insert_event, mark_claimed
from chain.types import withdrawal_key

log = get_logger(__name__)

CLAIM_PAGE = 16
REFUSED_FOR_S = 3_600
"""How long a withdrawal that L1 refused to pay isn't tried again."""
_OWN_TROUBLE: frozenset[ErrorCode] = frozenset({"no_gas", "nonce"})
"""Refusals that are not about the withdrawal."""


class Operator:
    """Finalizes batches past their window and claims the withdrawals in them for their recipients.

    Args:
        ledger: Whose batches and withdrawals.
        finality: Knows what is final.
    """

    def __init__(self, ledger: SequencerLedger, finality: Finality) -> None:
        self._ledger = ledger
        self._finality = finality
        self._refused: dict[int, int] = {}
        """Withdrawals that L1 refused to pay, and until when they are left alone."""

    async def run(self) -> None:
        """Work until cancelled; waits and tries again while L1 or the disk refuses."""
        config = self._ledger.config
        while True:
            await retry(
                self.step,
                on=(ChainUnavailableError, ChainRejectedError, SequencerStoreError),
                wait_s=config.retry_s,
                max_wait_s=config.max_retry_s,
                on_failure=lambda error: log.warning("operator_step_failed", error=error.line()),
            )
            await asyncio.sleep(config.poll_s)

    async def step(self) -> None:
        """Do what is due now: at most one finalization, and one page of claims."""
        ledger = self._ledger
        if await self._finality.is_due():
            await self._finality.advance(await ledger.l1.finalize())
        # A withdrawal that L1 refuses (for example because the asset blocks its recipient) must not stop the others.
        # Nor may one that isn't worth its gas, and such a crowd can't fill the page.
        now_s = ledger.clock.time_s
        self._refused = {number: until_s for number, until_s in self._refused.items() if until_s > now_s}
        rows = await ledger.store.unclaimed(
            ledger.final.count,
            CLAIM_PAGE + len(self._refused),
            least_nano=min(ledger.fees.claim_threshold_nano(), MAX_NANO),
            least_fee_nano=ledger.fees.claim_fee_nano(),
        )
        for row in rows:
            if row.number not in self._refused:
                await self._claim(row)

    async def _claim(self, row: WithdrawalRow) -> None:
        ledger = self._ledger
        key = withdrawal_key(row.number)
        # Read without an await between: the proof must belong to the batch that it is claimed against.
        batch_id, siblings = ledger.final.count - 1, ledger.final.state.proof(key)
        try:
            l1_tx = await ledger.l1.claim_withdrawal(batch_id, key, row.leaf, siblings)
        except ChainRejectedError as error:
            if error.code in _OWN_TROUBLE:
                raise
            log.error("withdrawal_claim_refused", withdrawal=row.number, error=error.line())
            self._refused[row.number] = ledger.clock.time_s + REFUSED_FOR_S
            return
        text = f"Withdrawal of {format_usd(row.leaf.amount_nano)} to 0x{row.leaf.recipient.hex()} paid on L1."
        await ledger.store.commit(
            [
                mark_claimed(row.number, l1_tx),
                *insert_event("claim", ledger.clock.time_s, text, "0x" + l1_tx.hex()),
                *ledger.books.drain(),
            ]
        )
