import asyncio

import pytest
from msgspec.structs import replace

from chain.errors import ChainRejectedError, ChainUnavailableError
from chain.sequencer.operator import REFUSED_FOR_S
from chain.txs import Withdraw
from chain.views import Inclusion
from tests.chain.sequencer.conftest import until
from tests.chain.sequencer.transfers import transfer, two_accounts
from tests.chain.support import owner, signed
from tests.patience import PATIENCE_S


async def until_paid(sequencer, recipient: bytes) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not (await sequencer.queries.withdrawals_of(recipient))[0].claim_l1_tx:
            await asyncio.sleep(0.005)


class TestFinality:
    async def test_withdrawals_are_paid_once_final_and_proven(self, start, l1):
        async with start() as sequencer:
            await two_accounts(sequencer, l1)
            await sequencer.submit(signed(Withdraw(1, 500, 0, owner(1)), 1, 0))
            await sequencer.flush()
            with pytest.raises(ChainRejectedError) as caught:
                sequencer.queries.proof("withdrawal", 1)
            assert caught.value.code == "not_final"
            l1.now_s += 10
            await until(lambda: l1.claims)
            await until_paid(sequencer, owner(1))
            [view] = await sequencer.queries.withdrawals_of(owner(1))
            assert view.inclusion is Inclusion.FINAL
            assert sequencer.queries.proof("withdrawal", 1).batch_id == len(l1.posted) - 1
            kinds = {event.kind for event in await sequencer.queries.events(100)}
            assert kinds == {"deposit", "batch", "final", "withdrawal", "claim"}

    async def test_a_claim_that_l1_refuses_does_not_hold_up_the_others(self, start, l1):
        l1.refuses_claims_of = {2 << 30 | 1}
        async with start() as sequencer:
            await two_accounts(sequencer, l1)
            await sequencer.submit(signed(Withdraw(1, 500, 0, owner(1)), 1, 0))
            await sequencer.submit(signed(Withdraw(1, 600, 0, owner(2)), 1, 1))
            await sequencer.flush()
            l1.now_s += 10
            await until_paid(sequencer, owner(2))
            assert set(l1.claims) == {2 << 30 | 2}

    async def test_a_claim_that_l1_refused_is_tried_again_much_later(self, start, l1):
        l1.refuses_claims_of = {2 << 30 | 1}
        async with start() as sequencer:
            await two_accounts(sequencer, l1)
            await sequencer.submit(signed(Withdraw(1, 500, 0, owner(1)), 1, 0))
            await sequencer.flush()
            l1.now_s += 10
            await until(lambda: sequencer.operator._refused)
            l1.refuses_claims_of = set()
            l1.now_s += REFUSED_FOR_S + 10
            await until_paid(sequencer, owner(1))

    async def test_an_operator_without_ether_pays_once_it_has_some(self, start, l1, caplog):
        l1.has_no_gas = True
        async with start() as sequencer:
            await two_accounts(sequencer, l1)
            await sequencer.submit(signed(Withdraw(1, 500, 0, owner(1)), 1, 0))
            await sequencer.flush()
            l1.now_s += 10
            await until(lambda: "operator_step_failed" in caplog.text)
            assert not sequencer.operator._refused
            l1.has_no_gas = False
            await until_paid(sequencer, owner(1))

    async def test_an_outage_of_l1_only_delays_finality_and_claims(self, start, l1):
        async with start() as sequencer:
            await two_accounts(sequencer, l1)
            await sequencer.submit(signed(Withdraw(1, 500, 0, owner(1)), 1, 0))
            await sequencer.flush()
            l1.is_down = True
            with pytest.raises(ChainUnavailableError):
                await sequencer.follower.look()
            await sequencer.submit(transfer(1))
            l1.now_s += 10
            l1.is_down = False
            await until_paid(sequencer, owner(1))

    async def test_a_sequencer_that_does_not_operate_follows_another_finalizer(self, start, l1, quick):
        async with start(replace(quick, operate=False)) as sequencer:
            await sequencer.create_account(owner(1))
            await sequencer.flush()
            l1.now_s += 10
            await l1.finalize()
            await until(lambda: sequencer.ledger.final.count == 1)
            assert sequencer.ledger.final.state.root() == sequencer.head.state.root()

    async def test_the_final_state_survives_a_restart(self, start, l1):
        async with start() as sequencer:
            await two_accounts(sequencer, l1)
            await sequencer.flush()
            l1.now_s += 10
            await until(lambda: sequencer.ledger.final.count == len(l1.posted))
            await sequencer.submit(transfer(0))
        async with start() as sequencer:
            assert sequencer.ledger.final.count == sequencer.ledger.posted_count
            assert sequencer.queries.account(owner(1)).nonce == 1
            assert sequencer.queries.proof("account", 1).state_root == "0x" + l1.posted[-1].post_root.hex()
