"""Receipts, jobs and their totals, of both roles."""

from __future__ import annotations

import aiosqlite
import msgspec

from node.store.base import StorePart, check_range
from node.store.database import Row
from node.store.records import JobRecord, JobTotals, Role
from node.store.sqlite_errors import StoreError
from wallet.receipts import Receipt, conflicts, receipt_struct_hash

DAY_MS = 24 * 60 * 60 * 1000

_JOB_COLUMNS = (
    "job_id, role, model, peer, started_ms, finished_ms, input_tokens, output_tokens, amount_nano, finish_reason, "
    "error_code, tokens_per_s, channel_id, sequence"
)
_encode = msgspec.msgpack.Encoder().encode
_decode_receipt = msgspec.msgpack.Decoder(Receipt).decode


class History(StorePart):
    """Receipts and jobs of both roles."""

    async def save_receipt(self, role: Role, receipt: Receipt) -> Receipt | None:
        """Keep a *verified* receipt. Saving the same one again changes nothing.

        Args:
            role: The side that keeps it.
            receipt: The receipt.

        Returns:
            For a buyer, an earlier receipt with the same number and different content, if there is one: both together
            are evidence against the provider.

        Raises:
            StoreError: ``receipt_conflict`` if a provider already has another one with that number: don't send it.
        """
        deployment = self._bound()
        struct_hash = receipt_struct_hash(receipt)
        key = (deployment, role, receipt.channel_id, receipt.sequence)

        first = await self._database.write_statement(
            "INSERT INTO receipts SELECT ?1, ?2, ?3, ?4, ?5, ?6 WHERE NOT EXISTS (SELECT 1 FROM receipts WHERE "
            "deployment = ?1 AND role = ?2 AND channel_id = ?3 AND sequence = ?4) RETURNING sequence",
            (*key, struct_hash, _encode(receipt)),
        )
        if first:
            return None

        async def insert(connection: aiosqlite.Connection) -> Receipt | None:
            known = list(
                await connection.execute_fetchall(
                    "SELECT struct_hash, receipt FROM receipts "
                    "WHERE deployment = ? AND role = ? AND channel_id = ? AND sequence = ? ORDER BY rowid",
                    key,
                )
            )
            other = next((_decode_receipt(row[1]) for row in known if row[0] != struct_hash), None)
            if other is not None and role == "provider":
                raise StoreError("That receipt number is already taken.", code="receipt_conflict")
            if all(row[0] != struct_hash for row in known):
                await connection.execute(
                    "INSERT INTO receipts VALUES (?, ?, ?, ?, ?, ?)",
                    (*key, struct_hash, _encode(receipt)),
                )
            return other

        return await self._database.write(insert)

    async def receipts(
        self, *, role: Role | None = None, channel_id: int | None = None, limit: int = 100
    ) -> list[Receipt]:
        """This deployment's receipts, newest first.

        Args:
            role: Only this side's; ``None`` for both.
            channel_id: Only this channel's; ``None`` for all.
            limit: How many at most.
        """
        rows = await self._database.rows(
            "SELECT receipt FROM receipts WHERE deployment = ?1 AND (?2 IS NULL OR role = ?2) "
            "AND (?3 IS NULL OR channel_id = ?3) ORDER BY rowid DESC LIMIT ?4",
            (self._deployment or "", role, channel_id, limit),
        )
        return [_decode_receipt(row[0]) for row in rows]

    async def receipt(self, role: Role, channel_id: int, sequence: int) -> Receipt | None:
        """The first receipt kept for one request."""
        rows = await self._database.rows(
            "SELECT receipt FROM receipts WHERE deployment = ? AND role = ? AND channel_id = ? AND sequence = ? "
            "ORDER BY rowid LIMIT 1",
            (self._deployment or "", role, channel_id, sequence),
        )
        return _decode_receipt(rows[0][0]) if rows else None

    async def conflicting_receipts(self, limit: int = 100) -> list[tuple[Receipt, Receipt]]:
        """Pairs of verified receipts of this deployment that have the same number and different content."""
        rows = await self._database.rows(
            "SELECT min(rowid), max(rowid) FROM receipts WHERE deployment = ? AND role = 'buyer' "
            "GROUP BY channel_id, sequence HAVING count(*) > 1 ORDER BY min(rowid) LIMIT ?",
            (self._deployment or "", limit),
        )
        pairs: list[tuple[Receipt, Receipt]] = []
        for row in rows:
            both = await self._database.rows(
                "SELECT receipt FROM receipts WHERE rowid IN (?, ?) ORDER BY rowid", (row[0], row[1])
            )
            first, second = (_decode_receipt(one[0]) for one in both)
            if conflicts(first, second):
                pairs.append((first, second))
        return pairs

    async def save_job(self, job: JobRecord) -> None:
        """Write a job down, or replace the record with the same role and id.

        Raises:
            StoreError: ``bad_record`` if a number is out of range.
        """
        check_range(
            started_ms=job.started_ms,
            finished_ms=job.finished_ms or 0,
            input_tokens=job.input_tokens,
            output_tokens=job.output_tokens,
            amount_nano=job.amount_nano,
        )
        values = msgspec.structs.asdict(job)
        names = _JOB_COLUMNS.split(", ")
        updates = ", ".join(f"{name} = excluded.{name}" for name in names if name not in ("job_id", "role"))

        await self._database.write_statement(
            f"INSERT INTO jobs ({_JOB_COLUMNS}, deployment) VALUES ({', '.join('?' * len(names))}, ?) "
            f"ON CONFLICT (role, job_id) DO UPDATE SET {updates}",
            (*(values[name] for name in names), self._deployment or ""),
        )

    async def jobs(
        self, limit: int = 100, *, role: Role | None = None, before_ms: int | None = None
    ) -> list[JobRecord]:
        """The newest jobs first, including those of archived deployments.

        Args:
            limit: How many at most.
            role: Only this side's; ``None`` for both.
            before_ms: Only jobs that started before this time, for paging.
        """
        rows = await self._database.rows(
            f"SELECT {_JOB_COLUMNS} FROM jobs WHERE (?1 IS NULL OR role = ?1) AND (?2 IS NULL OR started_ms < ?2) "
            "ORDER BY started_ms DESC, rowid DESC LIMIT ?3",
            (role, before_ms, limit),
        )
        return [_job(row) for row in rows]

    async def end_unfinished_jobs(self, at_ms: int) -> int:
        """After a crash, end the jobs that were running with the code ``interrupted``; returns their number."""

        async def end(connection: aiosqlite.Connection) -> int:
            cursor = await connection.execute(
                "UPDATE jobs SET finished_ms = max(started_ms, ?), error_code = 'interrupted' "
                "WHERE finished_ms IS NULL",
                (at_ms,),
            )
            return cursor.rowcount

        return await self._database.write(end)

    async def totals(self, role: Role, *, since_ms: int = 0) -> JobTotals:
        """Totals of the jobs of one role that finished on this deployment.

        Args:
            role: Whose jobs.
            since_ms: Only jobs that finished from this time on, milliseconds UTC.
        """
        rows = await self._database.rows(
            "SELECT count(*), coalesce(sum(error_code <> ''), 0), coalesce(sum(input_tokens), 0), "
            "coalesce(sum(output_tokens), 0), coalesce(sum(amount_nano), 0) FROM jobs "
            "WHERE role = ? AND deployment = ? AND finished_ms >= ?",
            (role, self._deployment or "", since_ms),
        )
        jobs, failed, input_tokens, output_tokens, amount_nano = rows[0]
        return JobTotals(
            jobs=jobs,
            failed=failed,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            amount_nano=amount_nano,
        )

    async def earnings(self, since_ms: int = 0) -> JobTotals:
        """Totals of the provider's jobs that finished from ``since_ms`` on."""
        return await self.totals("provider", since_ms=since_ms)


def _job(row: Row) -> JobRecord:
    return JobRecord(**dict(zip(_JOB_COLUMNS.split(", "), row, strict=True)))
