"""Accounts that cost nothing and hold nothing don't fill memory for ever."""

from msgspec.structs import replace

from chain.txs import Transfer
from tests.chain.sequencer.conftest import fund
from tests.chain.sequencer.transfers import transfer, two_accounts
from tests.chain.support import owner, rebuild_state, signed


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


async def test_a_crowd_of_empty_accounts_goes_some_a_batch_and_never_one_that_was_just_created(start, l1, quick):
    clock = Clock()
    config = replace(quick, prune_after_s=100, prune_per_batch=4)
    async with start(config, monotonic=clock) as sequencer:
        await two_accounts(sequencer, l1)
        crowd = [await sequencer.create_account(owner(number)) for number in range(10, 16)]
        await sequencer.flush()
        clock.now_s += 101
        young = await sequencer.create_account(owner(20))
        await sequencer.flush()
        assert [sequencer.head.state.account(number) is None for number in crowd] == [True] * 4 + [False] * 2
        await sequencer.submit(transfer(0))
        await sequencer.flush()
        assert all(sequencer.head.state.account(number) is None for number in crowd)
        assert sequencer.head.state.account(young) is not None
        assert sequencer.queries.account(owner(10)) is None
        assert (await rebuild_state(l1)).root() == sequencer.head.state.root()
        assert await sequencer.create_account(owner(10)) > young


async def test_an_account_that_was_paid_or_used_meanwhile_stays(start, l1, quick):
    clock = Clock()
    config = replace(quick, prune_after_s=100)
    async with start(config, monotonic=clock) as sequencer:
        await two_accounts(sequencer, l1)
        paid = await sequencer.create_account(owner(10))
        await sequencer.flush()
        clock.now_s += 101
        await sequencer.submit(signed(Transfer(1, paid, 7, 0), 1, 0, bound=owner(10)))
        await sequencer.flush()
        account = sequencer.head.state.account(paid)
        assert account is not None
        assert account.balance_nano == 7


async def test_the_operators_own_account_stays(start, l1, quick):
    clock = Clock()
    config = replace(quick, prune_after_s=100, fee_owner=owner(9))
    async with start(config, monotonic=clock) as sequencer:
        await fund(sequencer, l1, 1)
        own = await sequencer.create_account(owner(9))
        for nonce in range(3):
            await sequencer.submit(signed(Transfer(1, 1, 1, 0), 1, nonce))
            await sequencer.flush()
            clock.now_s += 101
        assert sequencer.head.state.account(own) is not None
