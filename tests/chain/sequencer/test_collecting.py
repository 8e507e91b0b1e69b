"""Fees go to whoever posts the batch."""

import pytest
from msgspec.structs import replace

from chain.codec import decode_batch
from chain.errors import ChainRejectedError
from chain.txs import CollectFees, Prune, Transfer, Withdraw
from chain.types import MAX_U128, account_key
from tests.chain.sequencer.conftest import fund, until
from tests.chain.sequencer.transfers import two_accounts
from tests.chain.support import owner, rebuild_state, signed


@pytest.fixture
def collecting(quick):
    return replace(quick, fee_owner=owner(9), collect_fees_from_nano=300)


async def test_a_batch_ends_with_the_collection_once_the_pool_is_worth_it(start, l1, collecting):
    async with start(collecting) as sequencer:
        await two_accounts(sequencer, l1)
        await sequencer.flush()
        await sequencer.submit(signed(Transfer(1, 2, 5, 299), 1, 0))
        await sequencer.flush()
        assert sequencer.queries.account(owner(9)) is None
        assert sequencer.head.state.meta.fee_pool_nano == 299

        await sequencer.submit(signed(Transfer(1, 2, 5, 1), 1, 1))
        await sequencer.flush()

        assert sequencer.queries.account(owner(9)).balance_nano == 300
        assert sequencer.head.state.meta.fee_pool_nano == 0
        assert decode_batch(l1.posted[-1].blob).frames[-1].body.endswith(CollectFees(3).encode())
        assert (await rebuild_state(l1)).root() == sequencer.head.state.root()

        await sequencer.submit(signed(Transfer(1, 2, 5, 400), 1, 2))
        await sequencer.flush()
        assert sequencer.queries.account(owner(9)).balance_nano == 700


async def test_each_fee_counts_as_earned_also_where_a_full_batch_ends_with_its_collection(start, l1, collecting):
    async with start(replace(collecting, max_batch_txs=4)) as sequencer:
        await two_accounts(sequencer, l1)
        for nonce in range(9):
            await sequencer.submit(signed(Transfer(1, 2, 5, 350), 1, nonce))
        await sequencer.flush()

        assert sequencer.ledger.books.earned_nano == 9 * 350
        assert sequencer.queries.account(owner(9)).balance_nano == 9 * 350
        assert (await rebuild_state(l1)).root() == sequencer.head.state.root()


async def test_fees_that_no_account_can_take_stay_in_the_pool(start, l1, collecting):
    async with start(collecting) as sequencer:
        await two_accounts(sequencer, l1)
        await fund(sequencer, l1, 9, 1)
        full = sequencer.head.state.account(3)
        async with sequencer.ledger.writing:
            sequencer.head.state.write(account_key(3), replace(full, balance_nano=MAX_U128))
            sequencer.head.execute(signed(Transfer(1, 2, 5, 350), 1, 0), 0)
            sequencer.ledger.seal()
        assert sequencer.head.state.meta.fee_pool_nano == 350


@pytest.mark.parametrize("raw", [CollectFees(1).encode(), Prune(1).encode()])
async def test_nobody_hands_in_what_the_sequencer_says_itself(start, l1, quick, raw):
    async with start() as sequencer:
        await two_accounts(sequencer, l1)
        with pytest.raises(ChainRejectedError) as refused:
            await sequencer.submit(raw)
        assert refused.value.code == "malformed"


async def test_a_pruned_owner_has_no_account_until_the_next_deposit_makes_one(start, l1):
    async with start() as sequencer:
        await two_accounts(sequencer, l1)
        await sequencer.submit(signed(Withdraw(1, 1_000_000, 0, owner(1)), 1, 0))
        l1.force(Prune(1).encode())
        sequencer.poke()
        await until(lambda: sequencer.queries.account(owner(1)) is None)

        l1.deposit(owner(1), 77, hint=1)
        sequencer.poke()
        await until(lambda: sequencer.queries.account(owner(1)))

        account = sequencer.queries.account(owner(1))
        assert (account.index, account.balance_nano, account.nonce) == (3, 77, 0)
        await sequencer.flush()
        assert (await rebuild_state(l1)).root() == sequencer.head.state.root()
    async with start() as sequencer:
        assert sequencer.queries.account(owner(1)).index == 3
