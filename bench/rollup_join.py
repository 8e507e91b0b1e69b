"""How long a watchtower takes to join an old rollup from a snapshot, over real HTTP and on real contract storage.

Old batches are written into the contract's storage in one block of the embedded L1, as their submission would have left
them: how many there are, and the records of the newest 2,000 of those. The newest hundred are posted by transactions.
Older records are left out, since py-evm takes a millisecond for each word; whoever joins from a snapshot reads none.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import msgspec
from aiohttp import web

from bench.report import Result, median_of
from bench.rollup_speed import funded, key_of
from chain.codec import BatchHeader
from chain.contracts import build
from chain.l1.deploy import DeployParams, deploy
from chain.l1.embedded.evm import EmbeddedEvm
from chain.l1.embedded.server import L1Server
from chain.l1.protocol import EMPTY_INBOX_HASH, Deployment
from chain.l1.rollup_l1 import JsonRpcRollupL1
from chain.replay import deployment_id, rules_of
from chain.rpc.snapshots import SnapshotDownloads
from chain.rules.binding import bound_address
from chain.sequencer.snapshots import write_durably
from chain.signing import address_of, keccak256, sign_digest
from chain.snapshot import Snapshot
from chain.snapshot_source import SNAPSHOT_PATH
from chain.state import GENESIS_ROOT, RollupState
from chain.txs import Transfer
from chain.types import META_KEY, Account, Channel, Leaf, Meta, Withdrawal, channel_key, withdrawal_key
from chain.villains.draft import Draft
from chain.watchtower.open import open_watchtower

BATCHES = 100_000
POSTED = 100
"""The newest of them, by transactions; a rollup that posts every ten seconds has so many not yet in a snapshot."""
RECORDS = 2_000
LEAVES = 1_000_000
SIGNERS = 200
FRAMES = 4
AT_MOST_S = 60
OPERATOR_KEY = keccak256(b"bench operator")
NOW_S = 1_900_000_000
WINDOW_S = 7 * 86_400


class Joined(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured, and of what."""

    seconds: float
    batches: int
    leaves: int
    snapshot_mib: float


def measure() -> list[Result]:
    """The figures of ``bench.rollup``."""
    joined = asyncio.run(join())
    metric = f"watchtower joins {joined.batches:,} batches, {joined.leaves:,} leaves, from a snapshot"
    return [
        median_of(metric, [joined.seconds], "s", against="wall clock, L1 in the same process", at_most=AT_MOST_S),
        median_of("that snapshot", [joined.snapshot_mib], "MiB", against="its bytes"),
    ]


async def join(batches: int = BATCHES, posted: int = POSTED, leaves: int = LEAVES) -> Joined:
    """Build the rollup, and join it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        deployment = await _deployed(folder)
        state = old_state(leaves)
        await asyncio.to_thread(write_old_batches, folder, deployment, batches - posted, state)
        file = folder / "snapshot.bin"
        write_durably(file, Snapshot(deployment_id(deployment), batches - posted, state).chunks())
        async with _serving(folder) as server, _offering(file) as url:
            await _post(server.url, deployment, batches - posted, posted, state)
            expected = "0x" + state.root().hex()
            del state
            begin = time.monotonic()
            async with open_watchtower(server.url, deployment.rollup_address, snapshot=url) as tower:
                await tower.settle()
                seconds = time.monotonic() - begin
                view = tower.view()
            assert (view.verified_batches, view.state_root) == (batches, expected), view
        return Joined(seconds=seconds, batches=batches, leaves=leaves, snapshot_mib=file.stat().st_size / 2**20)


def old_state(leaves: int) -> RollupState:
    """A state of so many leaves: half of them accounts, a quarter channels, a quarter withdrawals."""
    accounts, channels = leaves // 2, leaves // 4
    withdrawals = leaves - accounts - channels - 1
    return RollupState.from_leaves(_leaves(accounts, channels, withdrawals, Random(1)))


def _leaves(accounts: int, channels: int, withdrawals: int, rng: Random) -> Iterator[tuple[int, Leaf]]:
    signers = funded(SIGNERS)
    for number in range(1, accounts + 1):
        yield number, signers.account(number) or Account(owner=rng.randbytes(20), balance_nano=10**9, nonce=number)
    for number in range(1, channels + 1):
        channel = Channel(payer=1, payee=2, signer=rng.randbytes(20), deposit_nano=10**9, expiry_s=NOW_S + 10**6)
        yield channel_key(number), channel
    for number in range(1, withdrawals + 1):
        yield withdrawal_key(number), Withdrawal(recipient=rng.randbytes(20), amount_nano=1, account=1, nonce=number)
    yield (
        META_KEY,
        Meta(
            next_account=accounts + 1, next_channel=channels + 1, next_withdrawal=withdrawals + 1, l2_time_s=NOW_S - 100
        ),
    )


def write_old_batches(folder: Path, deployment: Deployment, count: int, state: RollupState) -> None:
    """Put ``count`` final batches into the contract's storage, the last of them with this state's root."""
    evm = _open_evm(folder)
    rollup, first_block = deployment.rollup_address, evm.head().block_number
    make_vm = evm._chain.get_vm

    def with_batches(header: Any = None) -> Any:
        vm = make_vm(header)
        for slot, word in _storage(count, state, first_block):
            vm.state.set_storage(rollup, slot, word)
        return vm

    evm._chain.get_vm = with_batches
    try:
        evm.mine()
    finally:
        evm._chain.get_vm = make_vm
        evm.close()


def _storage(count: int, state: RollupState, block: int) -> Iterator[tuple[int, int]]:
    """The words of the contract's storage that so many batches leave, placed as its layout file says."""
    layout = msgspec.json.decode((Path(build.__file__).parent / "storage" / "Rollup.json").read_bytes())
    slots = {entry["label"]: entry["slot"] for entry in layout["storage"]}
    fields = {entry["label"]: 8 * entry["offset"] for entry in layout["structs"]["struct Batches.Batch"]}
    meta, operator = state.meta, int.from_bytes(address_of(OPERATOR_KEY), "big")
    yield slots["count"], count
    yield slots["finalCount"], count
    for number in range(max(0, count - RECORDS), count):
        place = number.to_bytes(32, "big") + slots["_batches"].to_bytes(32, "big")
        slot = int.from_bytes(keccak256(place), "big")
        root = state.root() if number == count - 1 else keccak256(b"root" + number.to_bytes(4, "big"))
        yield slot, int.from_bytes(keccak256(b"frames" + number.to_bytes(4, "big")), "big")
        yield slot + 1, int.from_bytes(root, "big")
        submitted_at_s = NOW_S - WINDOW_S - 10 * (count - number)
        yield slot + 2, operator | submitted_at_s << fields["submittedAt"] | 1 << fields["frameCount"]
        l2_time_s = meta.l2_time_s - (count - number)
        yield (slot + 3, l2_time_s | meta.inbox_cursor << fields["inboxTo"] | block << fields["blockNumber"])


async def _post(url: str, deployment: Deployment, first: int, count: int, state: RollupState) -> None:
    """The newest batches, by transactions, each of a few frames of transfers."""
    l1, rules, rng = JsonRpcRollupL1(url, deployment, OPERATOR_KEY), rules_of(deployment), Random(2)
    try:
        for batch_id in range(first, first + count):
            previous = state.root()
            header = BatchHeader(l2_time_s=NOW_S - 100 + (batch_id - first) // 2, inbox_to=0)
            draft = Draft(state, header, rules, {}, OPERATOR_KEY)
            for _ in range(FRAMES):
                draft.add(b"".join(_transfer(state, sender, rules.domain) for sender in rng.sample(range(1, 201), 8)))
            await l1.submit_batch(batch_id, previous, EMPTY_INBOX_HASH, draft.blob())
            state.settle()
    finally:
        await l1.aclose()


def _transfer(state: RollupState, sender: int, domain: Any) -> bytes:
    account = state.account(sender)
    assert account is not None
    tx = Transfer(sender, sender % SIGNERS + 1, 5, 1)
    return tx.encode(sign_digest(key_of(sender), tx.digest(domain, account.nonce, bound_address(state, tx))))


async def _deployed(folder: Path) -> Deployment:
    async with _serving(folder) as server:
        params = DeployParams(
            l2_chain_id=31_338,
            genesis_root=GENESIS_ROOT,
            challenge_window_s=WINDOW_S,
            force_delay_s=12 * 3_600,
            takeover_delay_s=24 * 3_600,
            freeze_delay_s=14 * 86_400,
            close_delay_s=3 * 86_400,
            unstake_delay_s=14 * 86_400,
            reveal_delay_blocks=10,
        )
        return await deploy(server.url, OPERATOR_KEY, params)


def _open_evm(folder: Path) -> EmbeddedEvm:
    rich = {address_of(OPERATOR_KEY): 10**24}
    return EmbeddedEvm(folder / "l1.db", chain_id=31_337, genesis_balances_wei=rich, clock=lambda: NOW_S)


@asynccontextmanager
async def _serving(folder: Path) -> AsyncIterator[L1Server]:
    server = L1Server(lambda: _open_evm(folder))
    await server.start("127.0.0.1", 0)
    try:
        yield server
    finally:
        await server.aclose()


@asynccontextmanager
async def _offering(file: Path) -> AsyncIterator[str]:
    """The snapshot, served as the rollup's RPC serves it."""
    downloads, app = SnapshotDownloads(file), web.Application()

    async def handle(request: web.Request) -> web.StreamResponse:
        return await downloads.handle(request, "bench")

    app.router.add_get(SNAPSHOT_PATH, handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}{SNAPSHOT_PATH}"
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    print(msgspec.json.format(msgspec.json.encode(measure())).decode())
