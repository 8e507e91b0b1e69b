"""The base of every part of `JsonRpcRollupL1`: the contracts, the key that sends, and the reader of their logs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chain.errors import ChainRejectedError
from chain.l1.connection import L1Connection, L1Signer
from chain.l1.logs import LogReader
from chain.l1.protocol import Deployment, L1Spent


class ContractsL1:
    """The contracts of one deployment, and the account that sends to them.

    Args:
        url: The L1's JSON-RPC over HTTP.
        deployment: The contracts to talk to.
        operator_key: Signs and pays for what is sent.
        make_signer: Makes another signer than the one of a bare key. Without either this instance only reads.
    """

    def __init__(
        self,
        url: str,
        deployment: Deployment,
        operator_key: bytes | None = None,
        *,
        make_signer: Callable[[L1Connection], L1Signer] | None = None,
    ) -> None:
        self.connection = L1Connection(url)
        self._logs = LogReader(self.connection)
        self.signer: L1Signer | None = None
        if operator_key is not None:
            self.signer = L1Signer.of_key(self.connection, operator_key)
        elif make_signer is not None:
            self.signer = make_signer(self.connection)
        self._deployment = deployment
        self._rollup = self.connection.contract("Rollup", deployment.rollup_address)
        self._inbox = self.connection.contract("Inbox", deployment.inbox_address)

    @property
    def sender(self) -> bytes | None:
        """The address that sends; ``None`` where this instance only reads."""
        return self.signer.address if self.signer is not None else None

    @property
    def spent(self) -> L1Spent:
        """The gas of what this instance sent and saw mined."""
        return self.signer.spent if self.signer is not None else L1Spent()

    async def gas_price_wei(self) -> int:
        """What L1 asks for a unit of gas now: the newest block's base fee, and the tip that it suggests."""
        return await self.connection.gas_price_wei()

    async def aclose(self) -> None:
        """Close the connection."""
        await self.connection.aclose()

    async def deployment(self) -> Deployment:
        """The contracts this instance talks to."""
        return self._deployment

    async def _call(self, function: Any) -> Any:
        return await self.connection.call(function)

    async def _send(self, function: Any, *, value_wei: int = 0) -> bytes:
        """Send a call; returns its L1 transaction's hash."""
        receipt = await self._signer().send(function, value_wei=value_wei)
        return bytes(receipt["transactionHash"])

    def _signer(self) -> L1Signer:
        if self.signer is None:
            raise ChainRejectedError("This L1 connection only reads: it has no key to send with.", code="read_only")
        return self.signer
