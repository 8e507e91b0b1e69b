"""Small withdrawals to somebody else's address hide none of that person's money."""

from msgspec.structs import replace

from chain.sequencer.store import mark_claimed
from chain.txs import Withdraw
from tests.chain.sequencer.transfers import two_accounts
from tests.chain.support import owner, signed


async def test_those_that_wait_come_before_those_that_are_paid_and_great_ones_before_small_ones(start, l1, quick):
    async with start(quick) as sequencer:
        await two_accounts(sequencer, l1)
        great = await sequencer.submit(signed(Withdraw(1, 900_000, 0, owner(1)), 1, 0))
        dust = [await sequencer.submit(signed(Withdraw(2, 1, 0, owner(1)), 2, nonce)) for nonce in range(3)]
        store = sequencer.ledger.store

        async def told(limit: int) -> list[int]:
            return [row.number for row in await store.withdrawals_of(owner(1), limit)]

        first, *small = (receipt.allocated_index for receipt in (great, *dust))
        assert await told(4) == [*reversed(small), first]
        assert await told(2) == [small[2], first]
        await store.commit([mark_claimed(first, bytes(32))])
        assert await told(3) == [*reversed(small)]

        (row,) = [row for row in await store.withdrawals_of(owner(1), 4) if row.number == first]
        assert await store.withdrawal_like(row.leaf) == row
        assert await store.withdrawal_like(replace(row.leaf, nonce=9)) is None
