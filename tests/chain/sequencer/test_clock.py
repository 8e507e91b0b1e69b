"""An L1 whose clock was wrong for a while."""

import pytest

from chain.sequencer.clock import MAX_BACK_S, L1Clock
from tests.chain.sequencer.conftest import until
from tests.chain.sequencer.transfers import transfer, two_accounts
from tests.chain.support import MemoryL1, owner, rebuild_state

FAR_S = 10**9


@pytest.mark.parametrize("restarts", [False, True])
async def test_a_batch_that_a_wrong_clock_put_into_the_future_is_built_again(start, l1, restarts):
    """One answer of a broken node must not keep acknowledged transactions from L1 for years."""
    sequencer = start()
    await sequencer.start()
    try:
        await two_accounts(sequencer, l1)
        await sequencer.flush()
        l1.now_s += FAR_S
        await until(lambda: sequencer.ledger.clock.time_s > FAR_S)
        l1.refuses_batches = True
        await sequencer.submit(transfer(0))
        assert sequencer.head.open.l2_time_s > FAR_S
        if restarts:
            await sequencer.close()
        l1.now_s -= FAR_S
        l1.refuses_batches = False
        if restarts:
            sequencer = start()
            await sequencer.start()
        await sequencer.flush()
        await until(lambda: not sequencer.ledger.pending_txs)
        assert sequencer.queries.account(owner(2)).balance_nano == 1_000_005
        assert sequencer.head.state.meta.l2_time_s < FAR_S
        assert (await rebuild_state(l1)).root() == sequencer.head.state.root()
    finally:
        await sequencer.close()


async def test_a_clock_that_goes_back_a_little_is_not_followed_and_one_that_goes_back_far_is():
    l1 = MemoryL1()
    clock = L1Clock(l1, lambda: 0.0)
    for now_s, told_s in ((5_000, 5_000), (5_000 - MAX_BACK_S, 5_000), (4_999 - MAX_BACK_S, 4_999 - MAX_BACK_S)):
        l1.now_s = now_s
        await clock.look()
        assert clock.time_s == told_s
