import asyncio
import time
from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from chain.codec import decode_batch
from chain.errors import ChainRejectedError, ChainUnavailableError
from chain.replay import rebuild_state
from chain.sequencer import follower
from chain.sequencer.store import StoreError, set_fact
from chain.signing import sign_digest
from chain.txs import CreateAccount, OpenChannel, StartClose, Transfer, Withdraw
from chain.views import Inclusion
from tests.chain.sequencer.conftest import fund, until
from tests.chain.support import MemoryL1, key, owner, signed


def transfer(nonce: int, sender: int = 1, receiver: int = 2, amount: int = 5, fee: int = 0, signer: int = 1) -> bytes:
    return signed(Transfer(sender, receiver, amount, fee), signer, nonce)


async def two_accounts(sequencer, l1) -> None:
    await fund(sequencer, l1, 1)
    await fund(sequencer, l1, 2)


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
            async with sequencer.writing:
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
            await until(lambda: sequencer.pending_txs() == 0)
            await sequencer.submit(transfer(nonce))

    async def test_a_full_queue_is_busy(self, start, l1, quick):
        async with start(replace(quick, max_waiting_txs=1)) as sequencer:
            await two_accounts(sequencer, l1)
            async with sequencer.writing:
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
            await until(lambda: sequencer.poster.posted_count == 1)
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
            await until(lambda: sequencer.l1_time_s >= 5_000)
            expiry_s = 5_010
            opening = OpenChannel(1, 2, owner(9), 100, expiry_s, 0)
            await sequencer.submit(opening.encode(sign_digest(key(1), opening.digest(sequencer.rules.domain, 0))))
            opened_at_s = sequencer.head.open.l2_time_s
            l1.now_s = 6_000
            await until(lambda: sequencer.l1_time_s >= 6_000)
            late = OpenChannel(1, 2, owner(9), 100, expiry_s, 0)
            await sequencer.submit(late.encode(sign_digest(key(1), late.digest(sequencer.rules.domain, 1))))
            assert sequencer.head.open.l2_time_s == opened_at_s == sequencer.queries.l2_time_s()
            await sequencer.flush()
            with pytest.raises(ChainRejectedError):
                await sequencer.submit(late.encode(sign_digest(key(1), late.digest(sequencer.rules.domain, 2))))
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
            await until(lambda: sequencer.final.count == 1)
            assert sequencer.final.state.root() == sequencer.head.state.root()

    async def test_the_final_state_survives_a_restart(self, start, l1):
        async with start() as sequencer:
            await two_accounts(sequencer, l1)
            await sequencer.flush()
            l1.now_s += 10
            await until(lambda: sequencer.final.count == len(l1.posted))
            await sequencer.submit(transfer(0))
        async with start() as sequencer:
            assert sequencer.final.count == sequencer.poster.posted_count
            assert sequencer.queries.account(owner(1)).nonce == 1
            assert sequencer.queries.proof("account", 1).state_root == "0x" + l1.posted[-1].post_root.hex()


async def until_paid(sequencer, recipient: bytes) -> None:
    async with asyncio.timeout(60):
        while not (await sequencer.queries.withdrawals_of(recipient))[0].claim_l1_tx:
            await asyncio.sleep(0.005)


class TestResuming:
    async def test_an_open_batch_goes_on_after_a_restart_with_its_time(self, start, l1):
        async with start() as sequencer:
            await two_accounts(sequencer, l1)
            await sequencer.submit(transfer(0))
            before, time_s = sequencer.head.state.root(), sequencer.head.open.l2_time_s
            count = sequencer.head.open.item_count
        l1.now_s += 500
        async with start() as sequencer:
            assert sequencer.head.state.root() == before
            assert sequencer.head.open.item_count == count
            await sequencer.submit(transfer(1))
            assert sequencer.head.open.l2_time_s == time_s
            await sequencer.flush()
            assert (await rebuild_state(l1)).root() == sequencer.head.state.root()

    async def test_a_sealed_batch_is_posted_after_a_restart_once(self, start, l1, quick):
        async with start(replace(quick, batch_interval_s=0.01)) as sequencer:
            await two_accounts(sequencer, l1)
            await sequencer.flush()
            l1.is_down = True
            await sequencer.submit(transfer(0))
            await until(lambda: sequencer.poster.unposted_items)
        l1.is_down = False
        posted = len(l1.posted)
        async with start() as sequencer:
            await sequencer.flush()
            await until(lambda: sequencer.poster.unposted_items == 0)
            assert len(l1.posted) == l1.submissions == posted + 1
            assert (await rebuild_state(l1)).root() == sequencer.head.state.root()

    async def test_a_lost_database_is_rebuilt_from_l1(self, start, l1):
        async with start() as sequencer:
            await two_accounts(sequencer, l1)
            await sequencer.submit(transfer(0))
            await sequencer.submit(signed(Withdraw(1, 500, 3, owner(1)), 1, 1))
            l1.force(CreateAccount(owner(1)).encode())
            await until(lambda: sequencer.head.state.meta.inbox_cursor == 3)
            await sequencer.flush()
            root, count = sequencer.head.state.root(), sequencer.head.next_sequence
        async with start(name="other.db") as sequencer:
            assert sequencer.head.state.root() == root
            assert sequencer.head.next_sequence == count
            assert sequencer.poster.posted_count == len(l1.posted)
            await sequencer.submit(transfer(2))
            await sequencer.flush()
            assert (await rebuild_state(l1)).root() == sequencer.head.state.root()
        assert l1.submissions == len(l1.posted)

    async def test_batches_that_l1_forgot_are_posted_again(self, start, l1):
        async with start() as sequencer:
            await two_accounts(sequencer, l1)
            await sequencer.flush()
            await sequencer.submit(transfer(0))
            await sequencer.flush()
        forgotten = l1.posted[1:]
        del l1.posted[1:]
        async with start() as sequencer:
            await until(lambda: len(l1.posted) == 1 + len(forgotten))
            assert [batch.blob for batch in l1.posted[1:]] == [batch.blob for batch in forgotten]
            del l1.posted[1:]
            await sequencer.submit(transfer(1))
            sequencer.poster.wake()
            await sequencer.flush()
            await until(lambda: sequencer.poster.unposted_items == 0)
            assert (await rebuild_state(l1)).root() == sequencer.head.state.root()

    async def test_another_chains_database_is_refused(self, start, l1):
        async with start():
            pass
        other = MemoryL1()
        other._deployment = replace(other._deployment, block_hash=b"\x77" * 32)
        with pytest.raises(ChainRejectedError) as caught:
            await start(l1=other).start()
        assert caught.value.code == "foreign_chain"

    async def test_another_genesis_is_refused(self, start):
        other = MemoryL1()
        other._deployment = replace(other._deployment, genesis_root=bytes(32))
        with pytest.raises(ChainRejectedError, match="genesis"):
            await start(l1=other).start()


async def submit_until_refused(sequencer) -> tuple[bytes, int, StoreError]:
    nonce = 0
    while True:
        root = sequencer.head.state.root()
        try:
            await sequencer.submit(transfer(nonce))
        except StoreError as error:
            return root, nonce, error
        nonce += 1


class TestTime:
    async def test_l2_time_moves_on_while_l1_does_not_answer(self, start, l1, monkeypatch):
        async with start() as sequencer:
            await sequencer.follower.look_at_clock()
            l1.is_down = True
            seen_s = sequencer.l1_time_s
            now = time.monotonic()
            monkeypatch.setattr(follower, "time", SimpleNamespace(monotonic=lambda: now + 30))
            assert sequencer.l1_time_s >= seen_s + 30

    async def test_an_l1_clock_that_goes_back_does_not_take_l2_time_with_it(self, start, l1):
        async with start() as sequencer:
            seen_s = sequencer.l1_time_s
            l1.now_s -= 500
            await sequencer.follower.look_at_clock()
            assert sequencer.l1_time_s >= seen_s


class TestDisk:
    async def test_what_the_disk_refuses_is_not_acknowledged_and_leaves_no_trace(self, start, l1, monkeypatch):
        async with start() as sequencer:
            await two_accounts(sequencer, l1)
            root, count = sequencer.head.state.root(), sequencer.head.open.item_count
            commit = sequencer.store.commit

            async def full(_change):
                raise StoreError("The disk is full.")

            monkeypatch.setattr(sequencer.store, "commit", full)
            with pytest.raises(StoreError):
                await sequencer.submit(transfer(0))
            assert sequencer.head.state.root() == root
            assert sequencer.head.open.item_count == count
            l1.deposit(owner(2), 3, hint=2)
            await until(lambda: not sequencer.follower._poked.is_set())
            monkeypatch.setattr(sequencer.store, "commit", commit)
            await sequencer.submit(transfer(0))
            await until(lambda: sequencer.queries.account(owner(2)).balance_nano == 1_000_008)
            await sequencer.flush()
            assert (await rebuild_state(l1)).root() == sequencer.head.state.root()

    async def test_a_full_disk_refuses_and_is_recovered_from(self, start, l1):
        async with start() as sequencer:
            await two_accounts(sequencer, l1)
            [(pages,)] = await sequencer.store._all("PRAGMA page_count")
            await sequencer.store._all(f"PRAGMA max_page_count = {pages}")
            root, nonce, error = await submit_until_refused(sequencer)
            assert "disk" in error.line()
            assert sequencer.head.state.root() == root
            assert sequencer.queries.account(owner(1)).nonce == nonce
            await sequencer.store._all("PRAGMA max_page_count = 1000000")
            await sequencer.submit(transfer(nonce))
            await sequencer.flush()
            assert (await rebuild_state(l1)).root() == sequencer.head.state.root()

    async def test_kept_leaves_that_contradict_a_posted_root_stop_the_sequencer(self, start, l1):
        async with start() as sequencer:
            await two_accounts(sequencer, l1)
            await sequencer.flush()
            await sequencer.store.commit([("UPDATE batch_leaf SET data = NULL WHERE key = ?", (1,))])
            l1.now_s += 60
            await until(lambda: sequencer.halted)
            assert "don't lead to its root" in sequencer.halted
            assert sequencer.final.state.root() != l1.posted[0].post_root

    async def test_a_value_that_sqlite_cannot_hold_is_a_refused_change(self, start):
        async with start() as sequencer:
            for statement in (("INSERT INTO fact VALUES (?, ?)", ("x", 2**70)), ("NO SQL", ())):
                with pytest.raises(StoreError):
                    await sequencer.store.commit([set_fact("before", b"1"), statement])
            assert await sequencer.store.fact("before") is None
            with pytest.raises(StoreError):
                await sequencer.store._all("NO SQL")
            await sequencer.store.commit([set_fact("after", b"1")])
            assert await sequencer.store.fact("after") == b"1"

    async def test_a_cancelled_change_is_whole_and_blocks_nobody(self, start):
        async with start() as sequencer:
            task = asyncio.ensure_future(sequencer.store.commit([set_fact("a", b"1"), set_fact("b", b"2")]))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            await sequencer.store.commit([set_fact("c", b"3")])
            facts = [await sequencer.store.fact(name) for name in "abc"]
            assert facts in ([b"1", b"2", b"3"], [None, None, b"3"])

    async def test_a_file_that_is_no_database_is_said_plainly(self, start, tmp_path):
        (tmp_path / "l2.db").write_bytes(b"not a database, but long enough to be looked at" * 100)
        with pytest.raises(StoreError) as caught:
            await start().start()
        assert "\n" not in caught.value.line()

    async def test_a_newer_database_is_left_alone(self, start, tmp_path):
        import sqlite3

        with sqlite3.connect(tmp_path / "l2.db") as db:
            db.execute("PRAGMA user_version = 99")
        db.close()
        with pytest.raises(StoreError, match="newer"):
            await start().start()

    async def test_leaves_of_another_version_are_said_plainly(self, start, tmp_path):
        import sqlite3

        async with start():
            pass
        with sqlite3.connect(tmp_path / "l2.db") as db:
            db.execute("INSERT INTO final_leaf (key, data) VALUES (1, ?)", (b"\1" + bytes(68),))
        db.close()
        with pytest.raises(StoreError, match="another version") as caught:
            await start().start()
        assert "Move it away" in caught.value.fix


async def test_closing_twice_and_closing_while_submitting_is_clean(start, l1):
    sequencer = start()
    async with sequencer:
        await two_accounts(sequencer, l1)
        async with sequencer.writing:
            waiting = asyncio.ensure_future(sequencer.submit(transfer(0)))
            await until(lambda: sequencer._executing)
            await sequencer.close()
        with pytest.raises(ChainRejectedError) as caught:
            await waiting
        assert caught.value.code == "sequencer_halted"
    await sequencer.close()
