"""Withdrawals and their payment on L1."""

from __future__ import annotations

from typing import Any

import msgspec

from chain.sequencer.store.database import SequencerDatabase, Statement
from chain.types import MAX_U32, Withdrawal


class WithdrawalRow(msgspec.Struct, frozen=True, kw_only=True):
    """One withdrawal and its payment."""

    number: int
    leaf: Withdrawal
    l2_tx: bytes
    batch_id: int
    claim_l1_tx: bytes | None
    fee_nano: int
    """What it paid; 0 where it came by force or by a slash."""


_FEE = "CASE WHEN tx.kind = 'withdraw' AND tx.inbox_index IS NULL THEN substr(tx.raw, 14, 4) ELSE x'00000000' END"
"""The four bytes of a withdrawal's fee, after its type, sender and amount."""


class Withdrawals(SequencerDatabase):
    """Withdrawals to L1."""

    async def withdrawals_of(self, recipient: bytes, limit: int) -> list[WithdrawalRow]:
        """Withdrawals to an L1 address, newest first.

        Where there are more than the limit, those that wait for their payment come before those that are paid, and the
        greatest of them first: nobody hides another one's money behind small withdrawals to its address.
        """
        return await self._withdrawals(
            "WHERE w.number IN (SELECT number FROM withdrawal WHERE recipient = ?"
            " ORDER BY claim_l1_tx IS NOT NULL, iif(claim_l1_tx IS NULL, amount_nano, NULL) DESC, number DESC LIMIT ?)"
            " ORDER BY w.number DESC",
            (recipient, limit),
        )

    async def withdrawal_like(self, leaf: Withdrawal) -> WithdrawalRow | None:
        """The withdrawal that is exactly this one."""
        rows = await self._withdrawals(
            "WHERE w.recipient = ? AND w.amount_nano = ? AND w.account = ? AND w.nonce = ? LIMIT 1",
            (leaf.recipient, leaf.amount_nano.to_bytes(8, "big"), leaf.account, leaf.nonce.to_bytes(8, "big")),
        )
        return rows[0] if rows else None

    async def unclaimed(
        self, before_batch: int, limit: int, *, least_nano: int = 0, least_fee_nano: int = 0
    ) -> list[WithdrawalRow]:
        """Withdrawals that aren't known to be paid on L1.

        Args:
            before_batch: One past the newest batch to look at.
            limit: How many.
            least_nano: Leaves smaller ones out.
            least_fee_nano: Leaves those out that paid less for it.
        """
        return await self._withdrawals(
            "WHERE w.claim_l1_tx IS NULL AND w.batch_id < ? AND w.amount_nano >= ?"
            f" AND {_FEE} >= ? ORDER BY w.number LIMIT ?",
            (before_batch, least_nano.to_bytes(8, "big"), min(least_fee_nano, MAX_U32).to_bytes(4, "big"), limit),
        )

    async def _withdrawals(self, where: str, values: tuple[Any, ...]) -> list[WithdrawalRow]:
        rows = await self._all(
            "SELECT w.number, w.recipient, w.amount_nano, w.account, w.nonce, tx.hash, w.batch_id, w.claim_l1_tx,"
            f" {_FEE} FROM withdrawal w JOIN tx ON tx.sequence = w.sequence {where}",
            values,
        )
        return [
            WithdrawalRow(
                number=row[0],
                leaf=Withdrawal(
                    recipient=row[1],
                    amount_nano=int.from_bytes(row[2], "big"),
                    account=row[3],
                    nonce=int.from_bytes(row[4], "big"),
                ),
                l2_tx=row[5],
                batch_id=row[6],
                claim_l1_tx=row[7],
                fee_nano=int.from_bytes(row[8], "big"),
            )
            for row in rows
        ]


def insert_withdrawal(number: int, leaf: Withdrawal, sequence: int, batch_id: int) -> Statement:
    """The statement that keeps a withdrawal; amount and nonce are u64, more than SQLite has, and so are bytes."""
    amount, nonce = (value.to_bytes(8, "big") for value in (leaf.amount_nano, leaf.nonce))
    return (
        "INSERT INTO withdrawal (number, recipient, amount_nano, account, nonce, sequence, batch_id)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (number, leaf.recipient, amount, leaf.account, nonce, sequence, batch_id),
    )


def mark_claimed(number: int, l1_tx: bytes) -> Statement:
    """The statement that records a withdrawal's payment."""
    return "UPDATE withdrawal SET claim_l1_tx = ? WHERE number = ?", (l1_tx, number)
