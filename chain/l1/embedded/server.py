"""The embedded L1 as loopback JSON-RPC over HTTP: what wallets, the sequencer and a watchtower talk to.

The EVM runs in one thread of its own and never on the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, TypeVar

from chain.errors import JsonRpc
from chain.jsonrpc import JsonRpcServer, RpcError, RpcLimits
from chain.signing import keccak256

if TYPE_CHECKING:
    from chain.l1.embedded.evm import EmbeddedEvm

LIMITS: Final = RpcLimits(max_body_bytes=1024 * 1024, max_batch=100, call_timeout_s=None)
"""Calls wait for the EVM's thread, where none can be broken off."""
MAX_LOOKED_AT_LOGS = 10_000
FRAUD_COMMITTED_TOPIC = keccak256(b"FraudCommitted(address,bytes32)")

_T = TypeVar("_T")


class L1Server:
    """Serves one EVM that it opens, owns and closes, in one thread.

    Args:
        open_evm: Opens the EVM; called in the thread.
        limits: How much is taken; calls under way are those that wait for the EVM's thread.
    """

    def __init__(self, open_evm: Callable[[], EmbeddedEvm], *, limits: RpcLimits = LIMITS) -> None:
        self._open_evm = open_evm
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="l1-evm")
        self._evm: EmbeddedEvm | None = None
        self._methods: Any = None
        self._rpc = JsonRpcServer(self._call, limits=limits)

    @property
    def url(self) -> str:
        """Where it listens; empty before ``start``."""
        return self._rpc.url

    async def start(self, host: str, port: int) -> None:
        """Open the chain and listen; port 0 picks a free one. ``url`` says where.

        Raises:
            IdlewattError: If the port is taken, or the chain can't be opened.
        """
        try:
            self._evm = await self._in_thread(self._open)
            await self._rpc.start(host, port)
        except BaseException:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """Stop listening, finish what the EVM is doing, and end its thread."""
        await self._rpc.aclose()
        if self._evm is not None:
            await self._in_thread(self._evm.close)
            self._evm = None
        await asyncio.to_thread(self._thread.shutdown)

    async def advance_time(self, seconds: int) -> None:
        """Move the chain's clock forward; for tests of what waits for a challenge window."""
        assert self._evm is not None
        await self._in_thread(self._evm.advance_time, seconds)

    async def mine_for_reveal(self, rollup: bytes, reveal_delay_blocks: int) -> bool:
        """Mine an empty block if a fraud commitment still waits for its reveal; returns whether it did.

        Blocks come with transactions only, so on a quiet chain a proof would never come.
        """
        assert self._evm is not None
        return await self._in_thread(_mine_for_reveal, self._evm, rollup, reveal_delay_blocks)

    def _open(self) -> EmbeddedEvm:
        from chain.l1.embedded.methods import L1Methods

        evm = self._open_evm()
        self._methods = L1Methods(evm)
        return evm

    async def _in_thread(self, function: Callable[..., _T], *args: Any) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *args)

    async def _call(self, method: str, params: Any) -> Any:
        if not isinstance(params, list | None):
            raise RpcError(JsonRpc.INVALID_PARAMS, "params must be a list")
        return await self._in_thread(self._methods.answer, method, params or [])


def _mine_for_reveal(evm: EmbeddedEvm, rollup: bytes, reveal_delay_blocks: int) -> bool:
    head = evm.head().block_number
    # A commitment from this block or a later one can't be revealed in the next block yet.
    first = max(0, head + 2 - reveal_delay_blocks)
    rows = evm.logs(first, head, [rollup], MAX_LOOKED_AT_LOGS)
    if not any(row.topics and row.topics[0] == FRAUD_COMMITTED_TOPIC for row in rows):
        return False
    evm.mine()
    return True
