"""The store: everything that a node must still know after ``kill -9``, in one object."""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType

import aiosqlite

from node.store.base import check_range
from node.store.buyer_channels import BuyerChannels
from node.store.chats import Chats
from node.store.database import Database
from node.store.history import History
from node.store.job_energy import JobEnergies
from node.store.provider_channels import ProviderChannels
from node.store.records import ForeignDeployment
from node.store.rejections import Rejections


class Store(BuyerChannels, ProviderChannels, History, JobEnergies, Rejections, Chats):
    """The node's database. Open it once in a process, share the object, and close it at the end.

    Channels, receipts and totals belong to a *deployment* of the rollup. :meth:`bind_deployment` says which one is in
    use; records of another stay, archived under its id.
    """

    @classmethod
    async def open(cls, path: Path) -> Store:
        """Open or create the database at ``path``.

        Raises:
            StoreError: If it can't be used; its code and fix say why.
        """
        database = await Database.open(path)
        try:
            rows = await database.rows("SELECT deployment FROM deployments WHERE archived_at_ms IS NULL")
        except BaseException:
            await database.close()
            raise
        return cls(database, str(rows[0][0]) if rows else None)

    async def close(self) -> None:
        """Wait for running writes and close; calling it twice does nothing."""
        await self._database.close()

    async def __aenter__(self) -> Store:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def bind_deployment(self, deployment: str) -> bool:
        """Say which chain deployment (``ChainInfo.deployment``) is in use.

        Returns:
            ``True`` if this home uses that deployment, or uses none yet. ``False`` if this home's channels belong to
            another one; nothing has changed then: ask the user, and call :meth:`archive_foreign`.
        """
        deployment = deployment.lower()
        if self._deployment is not None:
            return self._deployment == deployment
        await self._switch(deployment, archived_at_ms=0)
        return True

    async def archive_foreign(self, deployment: str, *, at_ms: int | None = None) -> None:
        """Use another deployment. The records of the present one are archived under its id, not deleted.

        Using an archived deployment again brings its channels back.

        Args:
            deployment: The id of the deployment to use.
            at_ms: The time of archiving, milliseconds UTC; ``None`` for now.
        """
        deployment = deployment.lower()
        if deployment != self._deployment:
            await self._switch(deployment, archived_at_ms=time.time_ns() // 1_000_000 if at_ms is None else at_ms)

    async def archived_deployments(self) -> list[ForeignDeployment]:
        """Deployments that this home used before, the last archived one first."""
        rows = await self._database.rows(
            "SELECT deployment, archived_at_ms, "
            "(SELECT count(*) FROM buyer_channels b WHERE b.deployment = d.deployment), "
            "(SELECT count(*) FROM provider_channels p WHERE p.deployment = d.deployment) "
            "FROM deployments d WHERE archived_at_ms IS NOT NULL ORDER BY archived_at_ms DESC"
        )
        return [
            ForeignDeployment(deployment=name, archived_at_ms=at_ms, buyer_channels=bought, provider_channels=provided)
            for name, at_ms, bought, provided in rows
        ]

    async def _switch(self, deployment: str, *, archived_at_ms: int) -> None:
        check_range(archived_at_ms=archived_at_ms)

        async def switch(connection: aiosqlite.Connection) -> None:
            await connection.execute(
                "UPDATE deployments SET archived_at_ms = ? WHERE archived_at_ms IS NULL", (archived_at_ms,)
            )
            await connection.execute(
                "INSERT INTO deployments (deployment) VALUES (?) "
                "ON CONFLICT (deployment) DO UPDATE SET archived_at_ms = NULL",
                (deployment,),
            )

        await self._database.write(switch)
        self._deployment = deployment
