"""The L2 RPC server: a sequencer's methods as JSON-RPC over HTTP and websocket, on loopback unless told otherwise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chain.errors import IdlewattError, JsonRpc
from chain.fees.quotas import Network
from chain.jsonrpc import JsonRpcServer, RpcError, RpcLimits
from chain.logs import get_logger
from chain.rpc.methods import FaucetGrantor, Methods
from chain.rpc.snapshots import SnapshotDownloads
from chain.sequencer.sequencer import Sequencer
from chain.snapshot_source import SNAPSHOT_PATH

log = get_logger(__name__)


class RpcServer(JsonRpcServer):
    """Serves one sequencer.

    Args:
        sequencer: Answers.
        l1_rpc_url: Told to clients, who deposit there.
        faucet: On a devnet, gives test money.
        is_devnet: Whether anyone may have batches posted at once.
        host_names: DNS names that this server is reached by, beside IP addresses and localhost.
        limits: How much is taken.
        trusted_proxies: The operator's own proxies, whose ``X-Forwarded-For`` is believed.
        safety_fresh_s: How long an answer about the rollup's safety is reused before L1 is asked again.
        snapshot: A file with the last final state, offered to whoever joins; it may come later.
    """

    def __init__(  # noqa: PLR0913 - each stands alone, with a default
        self,
        sequencer: Sequencer,
        *,
        l1_rpc_url: str,
        faucet: FaucetGrantor | None = None,
        is_devnet: bool = False,
        host_names: frozenset[str] = frozenset(),
        limits: RpcLimits | None = None,
        safety_fresh_s: float = 1.0,
        trusted_proxies: Sequence[Network] = (),
        snapshot: Path | None = None,
    ) -> None:
        super().__init__(
            self._answer_call,
            limits=limits,
            host_names=host_names,
            has_websocket=True,
            trusted_proxies=trusted_proxies,
            pages={} if snapshot is None else {SNAPSHOT_PATH: SnapshotDownloads(snapshot).handle},
        )
        self._methods = Methods(
            sequencer, l1_rpc_url=l1_rpc_url, faucet=faucet, is_devnet=is_devnet, safety_fresh_s=safety_fresh_s
        )

    async def _answer_call(self, method: str, given: Any) -> Any:
        try:
            return await self._methods.call(method, given)
        except IdlewattError as error:
            number = error.entry.json_rpc
            if number is JsonRpc.INTERNAL_ERROR:
                log.error("rpc_call_failed", method=method, error=error.line())
            data: dict[str, str | int] = {"code": error.wire_code, "fix": error.fix}
            if error.retry_after_s is not None:
                data["retry_after_s"] = math.ceil(error.retry_after_s)
            raise RpcError(number, error.message, data) from error
