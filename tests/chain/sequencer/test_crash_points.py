"""A sequencer that stops for ever at any of its durable commits, just before it or just after, and is started again."""

import asyncio

import pytest

from chain.codec import decode_batch, is_inbox_body
from chain.signing import keccak256
from chain.txs import TX_SIZES, CreateAccount, Transfer
from chain.views import Inclusion
from tests.chain.sequencer.conftest import fund, until
from tests.chain.support import MemoryL1, owner, rebuild_state, signed

OTHER = owner(90)


class Stopped:
    """Lets so many commits through, and then nothing any more: what a process that was killed there has done."""

    def __init__(self, sequencer, commits: int, *, is_kept: bool) -> None:
        self._commit = sequencer.ledger.store.commit
        self._left = commits
        self._is_kept = is_kept
        self.here = asyncio.Event()
        self.count = 0
        sequencer.ledger.store.commit = self.commit

    async def commit(self, change) -> None:
        self.count += 1
        self._left -= 1
        if self._left > 0 or (self._left == 0 and self._is_kept):
            await self._commit(change)
        if self._left <= 0:
            self.here.set()
            await asyncio.Future()


async def story(start, sequencer, l1, name: str, acknowledged: list[bytes]) -> None:
    """Payments, a batch of another sequencer in the place of an open one, and payments again."""

    async def pay(nonce: int) -> None:
        raw = signed(Transfer(1, 2, 5, 0), 1, nonce)
        await sequencer.submit(raw)
        acknowledged.append(raw)

    await fund(sequencer, l1, 1)
    await fund(sequencer, l1, 2)
    await pay(0)
    await sequencer.flush()
    await pay(1)
    l1.leads = OTHER
    async with start(l1=l1.by(OTHER), name=f"other-{name}") as other:
        await other.submit(CreateAccount(owner(7)).encode())
        await other.flush()
    await until(lambda: not sequencer.leads)
    await until(lambda: sequencer.ledger.posted_count == len(l1.posted))
    l1.leads = None
    await until(lambda: sequencer.leads and sequencer.head.state.account(1).nonce == 2)
    await pay(2)
    await sequencer.flush()


async def run(start, config, l1, name: str, commits: int, *, is_kept: bool) -> tuple[list[bytes], int]:
    """The story up to a commit; returns what was acknowledged, and how many commits there were."""
    acknowledged: list[bytes] = []
    sequencer = start(config, l1=l1, name=name)
    await sequencer.start()
    stopped = Stopped(sequencer, commits, is_kept=is_kept)
    telling = asyncio.ensure_future(story(start, sequencer, l1, name, acknowledged))
    stopping = asyncio.ensure_future(stopped.here.wait())
    await asyncio.wait([telling, stopping], return_when=asyncio.FIRST_COMPLETED)
    for task in (telling, stopping):
        task.cancel()
    results = await asyncio.gather(telling, stopping, return_exceptions=True)
    assert all(result in (None, True) or isinstance(result, asyncio.CancelledError) for result in results), results
    await sequencer.close()
    return acknowledged, stopped.count


def on_l1(l1: MemoryL1) -> list[bytes]:
    found: list[bytes] = []
    for posted in l1.posted:
        for frame in decode_batch(posted.blob).frames:
            body = b"" if is_inbox_body(frame.body) else frame.body
            while body:
                found.append(body[: TX_SIZES[body[0]]])
                body = body[TX_SIZES[body[0]] :]
    return found


@pytest.mark.parametrize("is_kept", [False, True], ids=["before", "after"])
async def test_at_no_commit_does_it_lose_or_repeat_anything(start, quick, is_kept):
    l1 = MemoryL1()
    _, commits = await run(start, quick, l1, "whole.db", 10_000, is_kept=True)
    assert commits > 10
    for point in range(1, commits + 1):
        l1, name = MemoryL1(), f"{point}-{is_kept}.db"
        acknowledged, _ = await run(start, quick, l1, name, point, is_kept=is_kept)
        l1.leads = None
        async with start(l1=l1, name=name) as sequencer:
            await until(lambda sequencer=sequencer: sequencer.leads)
            await sequencer.flush()
            await until(lambda sequencer=sequencer: not sequencer.ledger.pending_txs)
            for raw in acknowledged:
                status = await sequencer.queries.transaction(keccak256(raw))
                assert status.inclusion is Inclusion.BATCHED, point
            posted = on_l1(l1)
            assert len(posted) == len(set(posted))
            assert set(acknowledged) <= set(posted)
            assert (await rebuild_state(l1)).root() == sequencer.head.state.root()
