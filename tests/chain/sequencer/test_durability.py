import asyncio
import time

import pytest
from msgspec.structs import replace

from chain.errors import ChainRejectedError
from chain.sequencer.store import SequencerStoreError, set_metadata
from chain.txs import CreateAccount, Withdraw
from tests.chain.sequencer.conftest import until
from tests.chain.sequencer.transfers import transfer, two_accounts
from tests.chain.support import MemoryL1, owner, rebuild_state, signed


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
            await until(lambda: sequencer.ledger.unposted_items)
        l1.is_down = False
        posted = len(l1.posted)
        async with start() as sequencer:
            await sequencer.flush()
            await until(lambda: sequencer.ledger.unposted_items == 0)
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
            assert sequencer.ledger.posted_count == len(l1.posted)
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
            sequencer.ledger.due.set()
            await sequencer.flush()
            await until(lambda: sequencer.ledger.unposted_items == 0)
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


async def submit_until_refused(sequencer) -> tuple[bytes, int, SequencerStoreError]:
    nonce = 0
    while True:
        root = sequencer.head.state.root()
        try:
            await sequencer.submit(transfer(nonce))
        except SequencerStoreError as error:
            return root, nonce, error
        nonce += 1


class TestTime:
    async def test_l2_time_moves_on_while_l1_does_not_answer(self, start, l1):
        passed_s = 0.0
        async with start(monotonic=lambda: time.monotonic() + passed_s) as sequencer:
            await sequencer.ledger.clock.look()
            l1.is_down = True
            seen_s = sequencer.ledger.clock.time_s
            passed_s = 30.0
            assert sequencer.ledger.clock.time_s >= seen_s + 30

    async def test_an_l1_clock_that_goes_back_does_not_take_l2_time_with_it(self, start, l1):
        async with start() as sequencer:
            seen_s = sequencer.ledger.clock.time_s
            l1.now_s -= 500
            await sequencer.ledger.clock.look()
            assert sequencer.ledger.clock.time_s >= seen_s


class TestDisk:
    async def test_what_the_disk_refuses_is_not_acknowledged_and_leaves_no_trace(self, start, l1, monkeypatch):
        async with start() as sequencer:
            await two_accounts(sequencer, l1)
            root, count = sequencer.head.state.root(), sequencer.head.open.item_count
            commit = sequencer.ledger.store.commit

            async def full(_change):
                raise SequencerStoreError("The disk is full.")

            monkeypatch.setattr(sequencer.ledger.store, "commit", full)
            with pytest.raises(SequencerStoreError):
                await sequencer.submit(transfer(0))
            assert sequencer.head.state.root() == root
            assert sequencer.head.open.item_count == count
            l1.deposit(owner(2), 3, hint=2)
            await until(lambda: not sequencer.follower.poked.is_set())
            monkeypatch.setattr(sequencer.ledger.store, "commit", commit)
            await sequencer.submit(transfer(0))
            await until(lambda: sequencer.queries.account(owner(2)).balance_nano == 1_000_008)
            await sequencer.flush()
            assert (await rebuild_state(l1)).root() == sequencer.head.state.root()

    async def test_a_full_disk_refuses_and_is_recovered_from(self, start, l1):
        async with start() as sequencer:
            await two_accounts(sequencer, l1)
            [(pages,)] = await sequencer.ledger.store._all("PRAGMA page_count")
            await sequencer.ledger.store._all(f"PRAGMA max_page_count = {pages}")
            root, nonce, error = await submit_until_refused(sequencer)
            assert "disk" in error.line()
            assert sequencer.head.state.root() == root
            assert sequencer.queries.account(owner(1)).nonce == nonce
            await sequencer.ledger.store._all("PRAGMA max_page_count = 1000000")
            await sequencer.submit(transfer(nonce))
            await sequencer.flush()
            assert (await rebuild_state(l1)).root() == sequencer.head.state.root()

    async def test_kept_leaves_that_contradict_a_posted_root_stop_the_sequencer(self, start, l1):
        async with start() as sequencer:
            await two_accounts(sequencer, l1)
            await sequencer.flush()
            await sequencer.ledger.store.commit([("UPDATE batch_leaf SET data = NULL WHERE key = ?", (1,))])
            l1.now_s += 60
            await until(lambda: sequencer.halted)
            assert "don't lead to its root" in sequencer.halted
            assert sequencer.ledger.final.state.root() != l1.posted[0].post_root

    async def test_a_value_that_sqlite_cannot_hold_is_a_refused_change(self, start):
        async with start() as sequencer:
            for statement in (("INSERT INTO fact VALUES (?, ?)", ("x", 2**70)), ("NO SQL", ())):
                with pytest.raises(SequencerStoreError):
                    await sequencer.ledger.store.commit([set_metadata("before", b"1"), statement])
            assert await sequencer.ledger.store.metadata("before") is None
            with pytest.raises(SequencerStoreError):
                await sequencer.ledger.store._all("NO SQL")
            await sequencer.ledger.store.commit([set_metadata("after", b"1")])
            assert await sequencer.ledger.store.metadata("after") == b"1"

    async def test_a_cancelled_change_is_whole_and_blocks_nobody(self, start):
        async with start() as sequencer:
            task = asyncio.ensure_future(
                sequencer.ledger.store.commit([set_metadata("a", b"1"), set_metadata("b", b"2")])
            )
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            await sequencer.ledger.store.commit([set_metadata("c", b"3")])
            facts = [await sequencer.ledger.store.metadata(name) for name in "abc"]
            assert facts in ([b"1", b"2", b"3"], [None, None, b"3"])

    async def test_a_file_that_is_no_database_is_said_plainly(self, start, tmp_path):
        (tmp_path / "l2.db").write_bytes(b"not a database, but long enough to be looked at" * 100)
        with pytest.raises(SequencerStoreError) as caught:
            await start().start()
        assert "\n" not in caught.value.line()

    async def test_a_newer_database_is_left_alone(self, start, tmp_path):
        import sqlite3

        with sqlite3.connect(tmp_path / "l2.db") as db:
            db.execute("PRAGMA user_version = 99")
        db.close()
        with pytest.raises(SequencerStoreError, match="newer"):
            await start().start()

    async def test_leaves_of_another_version_are_said_plainly(self, start, tmp_path):
        import sqlite3

        async with start():
            pass
        with sqlite3.connect(tmp_path / "l2.db") as db:
            db.execute("INSERT INTO final_leaf (key, data) VALUES (1, ?)", (b"\1" + bytes(68),))
        db.close()
        with pytest.raises(SequencerStoreError, match="another version") as caught:
            await start().start()
        assert "Move it away" in caught.value.fix


async def test_closing_twice_and_closing_while_submitting_is_clean(start, l1):
    sequencer = start()
    async with sequencer:
        await two_accounts(sequencer, l1)
        async with sequencer.ledger.writing:
            waiting = asyncio.ensure_future(sequencer.submit(transfer(0)))
            await until(lambda: sequencer._executing)
            await sequencer.close()
        with pytest.raises(ChainRejectedError) as caught:
            await waiting
        assert caught.value.code == "sequencer_halted"
    await sequencer.close()
