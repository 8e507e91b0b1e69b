"""How a full node grows with its accounts: ``python -m bench.rollup_growth ACCOUNTS`` measures one size, as JSON.

Each size runs in a process of its own, so that its memory is its own.
"""

from __future__ import annotations

import gc
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from random import Random

import msgspec
import psutil

from bench.report import Result, median_of
from bench.rollup_speed import NOW_S, RULES, funded, key_of
from chain.codec import MAX_FRAME_ITEMS
from chain.rules.binding import bound_address
from chain.sequencer.head import Head
from chain.signing import sign_digest
from chain.state import RollupState
from chain.stf import Code, apply
from chain.txs import Transfer
from chain.types import META_KEY, Account, Leaf, Meta

SIZES = (1_000, 10_000, 100_000, 1_000_000)
SIGNERS = 200
"""Accounts with keys; the others' owners are drawn, since nobody spends from them here."""
FRAMES = 40


class Growth(msgspec.Struct, frozen=True, kw_only=True):
    """One size's figures."""

    accounts: int
    memory_mib: float
    """What the leaves, the tree and the indices of a sequencer's head take."""
    load_s: float
    """Building that from its leaves, every hash included."""
    frame_ms: float
    """Executing eight signed transfers and taking the root after them."""
    proof_ms: float
    """One leaf's Merkle proof."""


def grow(accounts: int) -> Growth:
    """Measure one size."""
    rng, process = Random(1), psutil.Process()
    signers = funded(SIGNERS)
    leaves = [(number, leaf) for number, leaf in signers.items() if isinstance(leaf, Account)]
    gc.collect()
    before = process.memory_info().rss
    begin = time.thread_time()
    # Signers lie at every distance, so that a frame's paths meet late.
    state = RollupState.from_leaves(_spread(leaves, accounts, rng))
    state.root()
    Head(RULES, state, next_sequence=0, next_batch=0, inbox_hash=bytes(32))
    load_s = time.thread_time() - begin
    gc.collect()
    memory = process.memory_info().rss - before
    return Growth(
        accounts=accounts,
        memory_mib=memory / 2**20,
        load_s=load_s,
        frame_ms=_frame_ms(state, accounts, rng),
        proof_ms=_proof_ms(state, accounts, rng),
    )


def _places(accounts: int) -> list[int]:
    return [1 + number * (accounts // SIGNERS) for number in range(SIGNERS)]


def _spread(signers: list[tuple[int, Account]], accounts: int, rng: Random) -> Iterator[tuple[int, Leaf]]:
    placed = dict(zip(_places(accounts), (leaf for _, leaf in sorted(signers, key=lambda item: item[0])), strict=True))
    for number in range(1, accounts + 1):
        yield number, placed.get(number) or Account(owner=rng.randbytes(20), balance_nano=10**9 + number, nonce=number)
    yield META_KEY, Meta(next_account=accounts + 1, l2_time_s=NOW_S, supply_nano=10**18)


def _frame_ms(state: RollupState, accounts: int, rng: Random) -> float:
    places, took = _places(accounts), []
    nonces = [0] * SIGNERS
    for _ in range(FRAMES):
        raws = []
        for who in rng.sample(range(SIGNERS), MAX_FRAME_ITEMS):
            tx = Transfer(places[who], rng.randint(1, accounts), 5, 1_000)
            raws.append(
                tx.encode(sign_digest(key_of(who + 1), tx.digest(RULES.domain, nonces[who], bound_address(state, tx))))
            )
            nonces[who] += 1
        begin = time.thread_time()
        codes = [apply(state, raw, RULES).code for raw in raws]
        state.root()
        took.append((time.thread_time() - begin) * 1_000)
        assert set(codes) == {Code.OK}
        state.settle()
    return statistics.median(took)


def _proof_ms(state: RollupState, accounts: int, rng: Random) -> float:
    numbers = [rng.randint(1, accounts) for _ in range(1_000)]
    begin = time.thread_time()
    for number in numbers:
        state.proof(number)
    return (time.thread_time() - begin) / len(numbers) * 1_000


def measure(sizes: tuple[int, ...] = SIZES) -> list[Growth]:
    """Every size, each in its own process."""
    grown = []
    for accounts in sizes:
        command = [sys.executable, "-m", "bench.rollup_growth", str(accounts)]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        grown.append(msgspec.json.decode(done.stdout, type=Growth))
    return grown


def results(grown: list[Growth]) -> list[Result]:
    """The figures in the bench's shape."""
    found = []
    for size in grown:
        label = f"{size.accounts:,} accounts"
        found.append(median_of(f"{label}: head in memory", [size.memory_mib], "MiB", against="resident"))
        found.append(median_of(f"{label}: loading", [size.load_s], "s", against="one core"))
        found.append(median_of(f"{label}: frame of 8 transfers", [size.frame_ms], "ms", against="one core"))
        found.append(median_of(f"{label}: proof of a leaf", [size.proof_ms], "ms", against="one core"))
    return found


if __name__ == "__main__":
    print(msgspec.json.encode(grow(int(sys.argv[1]))).decode())
