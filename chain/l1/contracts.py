"""The base of every part of `JsonRpcRollupL1`: the contracts, the key that sends, and checked logs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from chain.errors import ChainRejectedError, ChainUnavailableError
from chain.l1.connection import L1Connection, L1Signer
from chain.l1.protocol import Deployment


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

    async def _logs(
        self, event: Any, from_block: int, to_block: int | str, indexes: Iterable[int] | None = None
    ) -> list[Any]:
        """A contract's events of one kind in a range of blocks, decoded, each checked to be what was asked for.

        Args:
            event: The event's class, of web3.
            from_block: The first block.
            to_block: The last block, or a tag.
            indexes: What the first indexed field may be; anything if not given.
        """
        contract_event = event()
        topics: list[Any] = [contract_event.topic]
        if indexes is not None:
            topics.append(["0x" + index.to_bytes(32, "big").hex() for index in indexes])
        address = contract_event.address
        query = {"address": address, "fromBlock": from_block, "toBlock": to_block, "topics": topics}
        logs = await self.connection.request(lambda: self.connection.web3.eth.get_logs(query))

        async def decoded() -> list[Any]:
            return [contract_event.process_log(log) for log in logs]

        found = list(await self.connection.request(decoded))
        for log in found:
            is_asked_for = log["address"] == address and from_block <= integer(log["blockNumber"])
            if not is_asked_for or (isinstance(to_block, int) and log["blockNumber"] > to_block):
                contradiction("a log is not one that was asked for")
        return found


def integer(value: Any) -> int:
    """A number that an L1 answered with.

    Raises:
        ChainUnavailableError: If it is none.
    """
    if not isinstance(value, int) or value < 0:
        contradiction("a number is missing")
    return value


def contradiction(what: str) -> NoReturn:
    """Refuse to believe an L1.

    Raises:
        ChainUnavailableError: Always.
    """
    raise ChainUnavailableError(
        f"The L1 contradicts itself: {what}.", code="chain_bad_answer", fix="Use an L1 node that you trust."
    )
