"""A watchtower for an L1 given by its URL: finds the contracts there, and checks the prover's funds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Protocol

from chain.errors import IdlewattError
from chain.l1.connection import L1Signer, checksum, with_margin
from chain.l1.discover import read_deployment
from chain.l1.rollup_l1 import JsonRpcRollupL1
from chain.replay import ReplayedBatch
from chain.signing import checksum_address
from chain.snapshot_source import start_from
from chain.views import WatchEvent
from chain.watchtower.prover import Prover
from chain.watchtower.tower import Watchtower, WatchtowerConfig

MAX_PROOF_GAS = 1_000_000
"""What the proof of no frame exceeds that the contract takes."""
COMMIT_GAS = 60_000
PROOF_GAS = with_margin(COMMIT_GAS + MAX_PROOF_GAS)
"""What a commitment and the most expensive proof must be able to pay for: their limits have a margin."""


class ProverAccount(Protocol):
    """What proves: a wallet's unlocked account."""

    address: bytes

    def sign_digest(self, digest: bytes) -> bytes:
        """Sign 32 bytes."""
        ...

    def sign_l1_transaction(self, transaction: Mapping[str, Any]) -> bytes:
        """Sign one L1 transaction; returns it raw."""
        ...


@asynccontextmanager
async def open_watchtower(
    l1_url: str,
    rollup_address: bytes,
    *,
    account: ProverAccount | None = None,
    config: WatchtowerConfig | None = None,
    on_event: Callable[[WatchEvent], None] = lambda _: None,
    snapshot: str | None = None,
    on_verified: Callable[[ReplayedBatch], None] = lambda _: None,
) -> AsyncIterator[Watchtower]:
    """A watchtower for as long as the block runs; it only tells of wrong batches where no account proves.

    Args:
        l1_url: The L1's JSON-RPC over HTTP.
        rollup_address: 20 bytes.
        account: Proves, and pays the gas.
        config: Intervals and deadlines.
        on_event: Called with everything that happens.
        snapshot: A file or a URL with a final state to begin with; where it can't be used, everything is replayed.
        on_verified: Called with each batch that is right.

    Raises:
        ChainUnavailableError: If L1 can't be reached.
        ChainRejectedError: If it has no rollup there.
    """
    deployment = await read_deployment(l1_url, rollup_address)
    if account is None:
        l1, prover = JsonRpcRollupL1(l1_url, deployment), None
    else:
        signer = partial(L1Signer, address=account.address, sign=account.sign_l1_transaction)
        l1 = JsonRpcRollupL1(l1_url, deployment, make_signer=signer)
        prover = Prover(account.address, account.sign_digest)
    try:
        start, text = await start_from(snapshot, l1)
        if text:
            on_event(WatchEvent(kind="snapshot", text=text, at_s=await l1.time_s()))
        yield Watchtower(l1, prover=prover, config=config, on_event=on_event, on_verified=on_verified, start=start)
    finally:
        await l1.aclose()


async def check_funds(l1_url: str, address: bytes) -> None:
    """Make sure that a prover can pay for a proof at the fees of now.

    Raises:
        IdlewattError: With code ``prover_unfunded`` if it can't.
        ChainUnavailableError: If L1 can't be reached.
    """
    from chain.l1.connection import L1Connection

    connection = L1Connection(l1_url)
    try:
        eth = connection.web3.eth
        held_wei = int(await connection.request(lambda: eth.get_balance(checksum(address))))
        needed_wei = PROOF_GAS * (await connection.fees())["maxFeePerGas"]
    finally:
        await connection.aclose()
    if held_wei < needed_wei:
        raise IdlewattError(
            f"{checksum_address(address)} holds {held_wei / 10**18:.6f} ether on this L1; a proof may cost "
            f"{needed_wei / 10**18:.6f}.",
            code="prover_unfunded",
            fix="Send it ether there, or watch without --prove.",
        )
