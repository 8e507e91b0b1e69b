import asyncio

import pytest
from msgspec.structs import replace

from chain.codec import decode_batch
from chain.errors import ChainRejectedError, ChainUnavailableError
from chain.txs import CreateAccount, OpenChannel, StartClose, Withdraw
from chain.views import Inclusion
from tests.chain.sequencer.conftest import until
from tests.chain.sequencer.transfers import transfer, two_accounts
from tests.chain.support import owner, rebuild_state, signed


class TestSoftReceipts:
    async def test_a_transaction_is_answered_with_its_place_and_once_batched_with_its_root(self, start, l1):
        async with start() as sequencer:
            await two_accounts(sequencer, l1)
            receipt = await sequencer.submit(transfer(0))
            assert receipt.sequence == sequencer.head.next_sequence - 1
            status = await sequencer.queries.transaction(bytes.fromhex(receipt.l2_tx[2:]))
            assert (status.kind, status.inclusion, status.batch_id) == ("transfer", Inclusion.SOFT, None)
            assert status.state_root is None
            await sequencer.flush()
            status = await sequencer.queries.transaction(bytes.fromhex(receipt.l2_tx[2:]))
            assert (status.inclusion, status.batch_id) == (Inclusion.BATCHED, len(l1.posted) - 1)
            assert status.state_root == "0x" + sequencer.head.state.root().hex()

    async def test_the_same_transaction_gets_the_same_receipt(self, start, l1):
        async with start() as sequencer:
            await two_accounts(sequencer, l1)
            raw = transfer(0)
            receipts = await asyncio.gather(*(sequencer.submit(raw) for _ in range(5)))
            receipts.append(await sequencer.submit(raw))
            assert len({receipt.sequence for receipt in receipts}) == 1
            assert sequencer.queries.account(owner(1)).nonce == 1

    async def test_a_submitter_that_goes_away_takes_nothing_from_the_others(self, start, l1):
        async with start() as sequencer:
            await two_accounts(sequencer, l1)
            raw = transfer(0)
            async with sequencer.ledger.writing:
                leaver = asyncio.ensure_future(sequencer.submit(raw))
                await until(lambda: sequencer._executing)
                stayer = asyncio.ensure_future(sequencer.submit(raw))
                leaver.cancel()
                await asyncio.wait([leaver])
            assert (await stayer).l2_tx.startswith("0x")

    @pytest.mark.parametrize(
        ("raw", "code"),
        [
            (b"", "malformed"),
            (b"\x63" * 10, "malformed"),
            (transfer(0)[:-1], "malformed"),
            (transfer(1), "bad_signature"),
            (transfer(0, sender=77), "missing_sender"),
            (transfer(0, receiver=77), "missing_receiver"),
            (transfer(0, amount=2**60), "overdraft"),
            (signed(StartClose(5), 1, 0), "channel_unavailable"),
            (CreateAccount(bytes(20)).encode(), "missing_receiver"),
        ],
    )
    async def test_a_refusal_has_a_code_and_changes_nothing(self, start, l1, raw, code):
        async with start() as sequencer:
            await two_accounts(sequencer, l1)
            root = sequencer.head.state.root()
            with pytest.raises(ChainRejectedError) as caught:
                await sequencer.submit(raw)
            assert caught.value.code == code
            assert sequencer.head.state.root() == root

    async def test_a_refused_first_transaction_opens_no_batch(self, start, l1):
        async with start() as sequencer:
            with pytest.raises(ChainRejectedError):
                await sequencer.submit(transfer(0))
            assert sequencer.head.open is None
            assert sequencer.head.state.meta.l2_time_s == 0


class TestLimits:
    async def test_a_low_fee_is_refused_with_the_fee_to_offer(self, start, l1, quick):
        async with start(replace(quick, min_fee_nano=50)) as sequencer:
            await two_accounts(sequencer, l1)
            with pytest.raises(ChainRejectedError, match="fee") as caught:
                await sequencer.submit(transfer(0, fee=49))
            assert "50" in caught.value.fix
            await sequencer.submit(transfer(0, fee=50))

    async def test_accounts_are_created_at_a_limited_rate_and_once(self, start, quick):
        async with start(replace(quick, accounts_per_minute=2)) as sequencer:
            first = await sequencer.create_account(owner(1))
            assert await sequencer.create_account(owner(1)) == first
            assert await sequencer.create_account(owner(2)) == first + 1
            with pytest.raises(ChainRejectedError) as caught:
                await sequencer.create_account(owner(3))
            assert caught.value.code == "rate_limited"

    async def test_an_account_made_by_a_deposit_is_not_made_again(self, start, l1):
        async with start() as sequencer:
            l1.deposit(owner(4), 10)
            await until(lambda: sequencer.queries.account(owner(4)))
            with pytest.raises(ChainRejectedError) as caught:
                await sequencer.submit(CreateAccount(owner(4)).encode())
            assert caught.value.code == "account_exists"
            assert await sequencer.create_account(owner(4)) == 1

    async def test_it_is_busy_while_too_much_waits_for_l1_and_recovers(self, start, l1, quick):
        async with start(replace(quick, max_pending_txs=6, batch_interval_s=0.01)) as sequencer:
            await two_accounts(sequencer, l1)
            await sequencer.flush()
            l1.is_down = True
            for nonce in range(6):
                await sequencer.submit(transfer(nonce))
            nonce = 6
            with pytest.raises(ChainRejectedError) as caught:
                await sequencer.submit(transfer(nonce))
            assert caught.value.code == "busy"
            l1.is_down = False
            await until(lambda: sequencer.ledger.pending_txs == 0)
            await sequencer.submit(transfer(nonce))

    async def test_a_full_queue_is_busy(self, start, l1, quick):
        async with start(replace(quick, max_waiting_txs=1)) as sequencer:
            await two_accounts(sequencer, l1)
            async with sequencer.ledger.writing:
                tasks = [asyncio.ensure_future(sequencer.submit(transfer(nonce))) for nonce in range(3)]
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert done
            assert any(isinstance(result, ChainRejectedError) and result.code == "busy" for result in results)
            assert any(not isinstance(result, Exception) for result in results)


class TestBatches:
    async def test_a_batch_is_posted_when_its_time_is_up(self, start, l1, quick):
        async with start(replace(quick, batch_interval_s=0.02)) as sequencer:
            await sequencer.create_account(owner(1))
            await until(lambda: sequencer.ledger.posted_count == 1)
            assert (await rebuild_state(l1)).root() == sequencer.head.state.root()

    async def test_a_batch_is_posted_when_it_is_full(self, start, l1, quick):
        async with start(replace(quick, max_batch_txs=10)) as sequencer:
            await two_accounts(sequencer, l1)
            await asyncio.gather(*(sequencer.submit(transfer(nonce)) for nonce in range(30)))
            await sequencer.flush()
            counts = [sum(len(frame.body) for frame in decode_batch(b.blob).frames) for b in l1.posted]
            assert len(l1.posted) >= 4
            assert max(counts) <= 10 * 113
            assert (await rebuild_state(l1)).root() == sequencer.head.state.root()

    async def test_a_batch_never_outgrows_its_bytes(self, start, l1, quick):
        async with start(replace(quick, max_batch_bytes=1_000)) as sequencer:
            await two_accounts(sequencer, l1)
            await asyncio.gather(*(sequencer.submit(transfer(nonce)) for nonce in range(40)))
            await sequencer.flush()
            assert max(len(batch.blob) for batch in l1.posted) <= 1_000
            assert (await rebuild_state(l1)).root() == sequencer.head.state.root()

    async def test_frames_hold_at_most_eight_and_inbox_messages_come_first(self, start, l1):
        for number in range(1, 12):
            l1.deposit(owner(number), 1_000)
        async with start() as sequencer:
            await asyncio.gather(*(sequencer.submit(transfer(nonce)) for nonce in range(9)))
            await sequencer.flush()
            frames = decode_batch(l1.posted[0].blob).frames
            assert [frame.body[0] == 0 for frame in frames] == [True, True, False, False]
            assert [len(frame.body) // 85 for frame in frames] == [0, 0, 8, 1]
            assert (await rebuild_state(l1)).root() == sequencer.head.state.root()

    async def test_flushing_nothing_returns_and_flushing_into_a_dead_l1_says_so(self, start, l1):
        async with start() as sequencer:
            await sequencer.flush()
            await sequencer.create_account(owner(1))
            l1.is_down = True
            with pytest.raises(ChainUnavailableError) as caught:
                await sequencer.flush(timeout_s=0.05)
            assert caught.value.code == "l1_slow"
            l1.is_down = False
            await sequencer.flush()

    async def test_an_l1_whose_answer_is_lost_gets_the_batch_once(self, start, l1):
        async with start() as sequencer:
            await sequencer.create_account(owner(1))
            l1.loses_answers = True
            await sequencer.flush()
            assert (l1.submissions, len(l1.posted)) == (1, 1)

    async def test_time_moves_with_l1_and_holds_for_a_batch(self, start, l1):
        async with start() as sequencer:
            await two_accounts(sequencer, l1)
            await sequencer.flush()
            l1.now_s = 5_000
            await until(lambda: sequencer.ledger.clock.time_s >= 5_000)
            expiry_s = 5_010
            opening = OpenChannel(1, 2, owner(9), 100, expiry_s, 0)
            await sequencer.submit(signed(opening, 1, 0, sequencer.ledger.rules.domain))
            opened_at_s = sequencer.head.open.l2_time_s
            l1.now_s = 6_000
            await until(lambda: sequencer.ledger.clock.time_s >= 6_000)
            late = OpenChannel(1, 2, owner(9), 100, expiry_s, 0)
            await sequencer.submit(signed(late, 1, 1, sequencer.ledger.rules.domain))
            assert sequencer.head.open.l2_time_s == opened_at_s == sequencer.queries.l2_time_s()
            await sequencer.flush()
            with pytest.raises(ChainRejectedError):
                await sequencer.submit(signed(late, 1, 2, sequencer.ledger.rules.domain))
            assert (await rebuild_state(l1)).root() == sequencer.head.state.root()


class TestInbox:
    async def test_a_deposit_seals_the_open_batch_and_opens_the_next(self, start, l1):
        async with start() as sequencer:
            await two_accounts(sequencer, l1)
            await sequencer.submit(transfer(0))
            l1.deposit(owner(2), 77, hint=2)
            await until(lambda: sequencer.queries.account(owner(2)).balance_nano == 1_000_005 + 77)
            await sequencer.flush()
            assert (await rebuild_state(l1)).root() == sequencer.head.state.root()

    async def test_forced_transactions_execute_and_forced_rubbish_does_not_stop_anything(self, start, l1):
        async with start() as sequencer:
            await two_accounts(sequencer, l1)
            l1.force(b"rubbish")
            l1.force(signed(Withdraw(1, 500, 0, owner(1)), 1, 0))
            await until(lambda: sequencer.queries.account(owner(1)).nonce == 1)
            await sequencer.flush()
            [withdrawal] = await sequencer.queries.withdrawals_of(owner(1))
            assert (withdrawal.amount_nano, withdrawal.inclusion) == (500, Inclusion.BATCHED)
            status = await sequencer.queries.transaction(bytes.fromhex(withdrawal.l2_tx[2:]))
            assert status.kind == "withdraw"
            assert (await rebuild_state(l1)).root() == sequencer.head.state.root()
