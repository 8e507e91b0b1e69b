"""How fast one core sequences, replays and checks, against plain signature recovery in the same run."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.report import Result, median_of
from chain.codec import decode_batch
from chain.eip712 import SigningDomain, voucher_digest
from chain.l1.protocol import PostedBatch
from chain.replay import Replayer
from chain.sequencer.head import Head
from chain.sequencer.store import SequencerStore
from chain.signing import address_of, keccak256, recover, sign_digest
from chain.state import RollupState
from chain.stf import Rules
from chain.txs import Transfer
from chain.types import META_KEY, Account, Meta
from wallet.vouchers import Voucher, verify_voucher

ACCOUNTS = 2_000
TRANSFERS = 4_000
BATCH_TXS = 1_000
GROUP_TXS = 128
"""Transactions that share one durable commit, as in the sequencer."""
ROUNDS = 7
NOW_S = 1_800_000_000
RULES = Rules(domain=SigningDomain(31_337, b"\x11" * 20, b"\x16" * 32), close_delay_s=30, unstake_delay_s=60)


def key_of(number: int) -> bytes:
    """The same private key in every run."""
    return keccak256(b"bench" + number.to_bytes(4, "big"))


def funded(accounts: int) -> RollupState:
    """Accounts 1 to ``accounts``, each with money and a key of its own."""
    state = RollupState.from_leaves(
        (number, Account(owner=address_of(key_of(number)), balance_nano=10**12)) for number in range(1, accounts + 1)
    )
    state.write(META_KEY, Meta(next_account=accounts + 1, l2_time_s=NOW_S, supply_nano=10**12 * accounts))
    state.settle()
    state.root()  # hashing a whole tree is loading, which is measured by itself
    return state


def transfers(count: int, accounts: int, domain: SigningDomain) -> list[bytes]:
    """Signed transfers, each account in its turn to one far away."""
    raws = []
    for number in range(count):
        sender, nonce = number % accounts + 1, number // accounts
        receiver = (number * 7_919 + 5) % accounts + 1
        tx = Transfer(sender, receiver, 12_345, 1_000)
        raws.append(tx.encode(sign_digest(key_of(sender), tx.digest(domain, nonce, address_of(key_of(receiver))))))
    return raws


@dataclass(frozen=True)
class Work:
    """What every round does again."""

    raws: list[bytes]
    pairs: list[tuple[bytes, bytes]]
    vouchers: list[Voucher]
    signer: bytes
    posted: list[PostedBatch]


def prepare() -> Work:
    """Sign everything before anything is timed."""
    raws = transfers(TRANSFERS, ACCOUNTS, RULES.domain)
    signer_key = key_of(0)
    vouchers = [
        Voucher(7, amount, sign_digest(signer_key, voucher_digest(RULES.domain, 7, amount)))
        for amount in range(1, BATCH_TXS + 1)
    ]
    pairs = [(voucher_digest(RULES.domain, 7, voucher.cumulative_nano), voucher.signature) for voucher in vouchers]
    head, posted = new_head(), list[PostedBatch]()
    sequence(head, raws, posted)
    return Work(raws, pairs, vouchers, address_of(signer_key), posted)


def new_head() -> Head:
    """A sequencer's head on the funded state."""
    return Head(RULES, funded(ACCOUNTS), next_sequence=0, next_batch=0, inbox_hash=bytes(32))


def sequence(
    head: Head, raws: Sequence[bytes], posted: list[PostedBatch] | None = None
) -> list[list[tuple[str, tuple[object, ...]]]]:
    """Execute and seal; what has to be kept is handed out group by group."""
    changes = []
    for number, raw in enumerate(raws, 1):
        head.execute(raw, NOW_S)
        if number % BATCH_TXS == 0:
            batch = head.open
            assert batch is not None
            head.seal()
            if posted is not None:
                posted.append(_posted(batch.batch_id, batch.prev_root, batch.blob()))
        if number % GROUP_TXS == 0:
            changes.append(head.drain())
    changes.append(head.drain())
    return changes


def _posted(batch_id: int, prev_root: bytes, blob: bytes) -> PostedBatch:
    return PostedBatch(
        batch_id=batch_id,
        prev_root=prev_root,
        post_root=decode_batch(blob).frames[-1].post_root,
        inbox_hash=bytes(32),
        blob=blob,
        l1_tx=bytes(32),
        l1_block=1,
        submitted_at_s=NOW_S,
    )


def rate(count: int, work: Callable[[], object]) -> float:
    """How often a second, on the processor's time: one core, whatever else the machine does."""
    begin = time.thread_time()
    work()
    return count / (time.thread_time() - begin)


def keep(changes: Sequence[list[tuple[str, tuple[object, ...]]]], folder: Path) -> float:
    """Transactions made durable in a second, by the wall clock, with the sequencer's own store."""

    async def run() -> float:
        store = await SequencerStore.open(folder / "bench.db")
        begin = time.perf_counter()
        for change in changes:
            await store.commit(change)
        seconds = time.perf_counter() - begin
        await store.close()
        return TRANSFERS / seconds

    return asyncio.run(run())


def measure() -> list[Result]:
    """Every rate, and its share of what recovering signatures alone reaches."""
    work = prepare()
    rates: dict[str, list[float]] = {name: [] for name in ("recover", "sequence", "replay", "voucher", "keep")}
    for _ in range(ROUNDS):
        rates["recover"].append(rate(len(work.pairs), lambda: [recover(*pair) for pair in work.pairs]))
        head = new_head()
        changes: list[list[tuple[str, tuple[object, ...]]]] = []
        rates["sequence"].append(rate(TRANSFERS, lambda head=head, out=changes: out.extend(sequence(head, work.raws))))
        replayer = Replayer(RULES, state=funded(ACCOUNTS))

        def replay(replayer: Replayer = replayer) -> None:
            for posted in work.posted:
                replayer.advance(posted)
                replayer.state.settle()

        rates["replay"].append(rate(TRANSFERS, replay))
        checks = [(RULES.domain, voucher, work.signer) for voucher in work.vouchers]
        rates["voucher"].append(rate(len(checks), lambda checks=checks: [verify_voucher(*check) for check in checks]))
        with tempfile.TemporaryDirectory() as folder:
            rates["keep"].append(keep(changes, Path(folder)))
    return list(_results(rates))


def _results(rates: dict[str, list[float]]) -> list[Result]:
    plain = rates["recover"]
    named = (
        ("sequencing transfers", "sequence", 10_000),
        ("replaying transfers", "replay", 10_000),
        ("checking vouchers", "voucher", 20_000),
    )
    results = [median_of("recovering signatures alone", plain, "/s core", against="one core")]
    for label, name, aim in named:
        results.append(median_of(label, rates[name], "/s core", against="one core", at_least=aim))
        shares = [value / wall for value, wall in zip(rates[name], plain, strict=True)]
        results.append(median_of(f"{label} / recovering alone", shares, "ratio", against="same round"))
    results.append(median_of("making transfers durable, 128 a commit", rates["keep"], "/s", against="wall clock"))
    return results
