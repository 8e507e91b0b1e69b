"""A sequencer and an L1 that shows something else than it remembers: others' batches, reorgs, frauds taken back."""

import asyncio

import pytest
from msgspec.structs import replace

from chain.codec import decode_batch, encode_batch
from chain.errors import ChainRejectedError, ChainUnavailableError
from chain.l1.protocol import InboxMessage
from chain.rpc.methods import Methods
from chain.sequencer.realign import DivergedError
from chain.signing import checksum_address, keccak256
from chain.txs import CreateAccount, FinishUnstake, OpenChannel, Stake, Transfer, Unstake
from chain.views import Inclusion
from tests.chain.sequencer.conftest import fund, until
from tests.chain.support import deposit, owner, rebuild_state, signed

OTHER = owner(90)


def transfer(nonce: int, amount: int = 5) -> bytes:
    return signed(Transfer(1, 2, amount, 0), 1, nonce)


async def two_accounts(sequencer, l1) -> None:
    await fund(sequencer, l1, 1)
    await fund(sequencer, l1, 2)
    await sequencer.flush()


async def status_of(sequencer, raw: bytes):
    return await sequencer.queries.transaction(keccak256(raw))


async def agrees_with_l1(sequencer, l1) -> None:
    """Everything is posted, and L1's data alone leads to the same state."""
    await sequencer.flush()
    await until(lambda: not sequencer.ledger.pending_txs)
    assert (await rebuild_state(l1)).root() == sequencer.head.state.root()


async def lead_and_post(other, l1):
    """The other sequencer takes the lead, and posts an account that ours knows nothing of."""
    l1.leads = None
    await until(lambda: other.leads)
    await other.submit(CreateAccount(owner(7)).encode())
    await other.flush()


class TestStandingBy:
    async def test_while_another_leads_it_takes_nothing_and_follows_what_that_one_posts(self, start, l1):
        async with start() as leader:
            await two_accounts(leader, l1)
            async with start(l1=l1.by(OTHER), name="other.db") as standby:
                with pytest.raises(ChainRejectedError) as caught:
                    await standby.submit(CreateAccount(owner(5)).encode())
                assert caught.value.code == "not_leading"
                await leader.submit(transfer(0))
                await leader.flush()
                await until(lambda: standby.ledger.posted_count == len(l1.posted))
                assert standby.head.state.root() == leader.head.state.root()
                assert {batch.submitter for batch in l1.posted} == {l1.sender}

    async def test_it_takes_over_once_the_leader_leaves_a_message_waiting(self, start, l1):
        async with start() as leader:
            await two_accounts(leader, l1)
        async with start(l1=l1.by(OTHER), name="other.db") as standby:
            assert not standby.leads
            l1.force(signed(Transfer(1, 2, 7, 0), 1, 0))
            l1.now_s += 41
            await until(lambda: standby.leads)
            await until(lambda: standby.head.state.account(1).nonce == 1)
            await agrees_with_l1(standby, l1)
            assert l1.posted[-1].submitter == OTHER
            async with start() as returned:
                assert not returned.leads
                assert returned.head.state.root() == standby.head.state.root()

    async def test_it_takes_over_from_a_leader_without_a_bond(self, start, l1):
        async with start() as leader:
            await two_accounts(leader, l1)
        async with start(l1=l1.by(OTHER), name="other.db") as standby:
            l1.bonds[l1.sender] = 0
            await until(lambda: standby.leads)
            await standby.submit(transfer(0))
            await agrees_with_l1(standby, l1)

    async def test_without_a_bond_or_a_key_it_stands_by(self, start, l1):
        l1.bonds[OTHER] = 0
        async with start(l1=l1.by(OTHER), name="other.db") as unbonded:
            assert not unbonded.leads
        async with start(l1=l1.by(None), name="reader.db") as reader:
            assert not reader.leads


class TestOthersBatches:
    async def test_what_it_acknowledged_is_executed_again_on_what_another_posted(self, start, l1):
        async with start() as ours:
            await two_accounts(ours, l1)
            raw = transfer(0)
            await ours.submit(raw)
            async with start(l1=l1.by(OTHER), name="other.db") as other:
                await lead_and_post(other, l1)
                await until(lambda: ours.ledger.posted_count == len(l1.posted))
                await until(lambda: not ours.leads)
                status = await status_of(ours, raw)
                assert (status.inclusion, status.kind) == (Inclusion.SOFT, "transfer")
                l1.leads = None
                await until(lambda: ours.leads)
                await until(lambda: ours.head.state.account(1).nonce == 1)
                await agrees_with_l1(ours, l1)
                assert ours.queries.account(owner(7)) is not None
                assert (await status_of(ours, raw)).inclusion is Inclusion.BATCHED

    async def test_what_no_longer_executes_is_said(self, start, l1):
        async with start() as ours:
            await two_accounts(ours, l1)
            raw = transfer(0)
            await ours.submit(raw)
            async with start(l1=l1.by(OTHER), name="other.db") as other:
                l1.leads = None
                await until(lambda: other.leads)
                await other.submit(transfer(0, amount=6))
                await other.flush()
                await until(lambda: ours.ledger.posted_count == len(l1.posted))
            l1.leads = None
            await until(lambda: ours.leads and not ours.ledger.pending_txs)
            assert await status_of(ours, raw) is None
            assert "dropped" in {event.kind for event in await ours.queries.events(20)}

    async def test_a_number_that_names_somebody_else_by_then_is_not_paid(self, start, l1):
        async with start() as ours:
            await two_accounts(ours, l1)
            await ours.submit(CreateAccount(owner(5)).encode())
            assert ours.queries.account(owner(5)).index == 3
            paid = signed(Transfer(1, 3, 500, 0), 1, 0, bound=owner(5))
            opened = signed(OpenChannel(2, 3, owner(9), 400, 10**9, 0), 2, 0, bound=owner(5))
            for raw in (paid, opened):
                await ours.submit(raw)
            async with start(l1=l1.by(OTHER), name="other.db") as other:
                await lead_and_post(other, l1)
                await until(lambda: ours.ledger.posted_count == len(l1.posted))
            l1.leads = None
            await until(lambda: ours.leads and not ours.ledger.pending_txs)
            assert (ours.queries.account(owner(7)).index, ours.queries.account(owner(5)).index) == (3, 4)
            assert ours.queries.account(owner(7)).balance_nano == ours.queries.account(owner(5)).balance_nano == 0
            assert ours.head.state.channel(1) is None
            dropped = {event.reference for event in await ours.queries.events(20) if event.kind == "dropped"}
            assert dropped == {"0x" + keccak256(raw).hex() for raw in (paid, opened)}
            await agrees_with_l1(ours, l1)

    async def test_an_account_that_another_made_meanwhile_is_not_made_twice(self, start, l1):
        async with start() as ours:
            await two_accounts(ours, l1)
            await ours.create_account(owner(7))
            async with start(l1=l1.by(OTHER), name="other.db") as other:
                l1.leads = None
                await until(lambda: other.leads)
                await other.create_account(owner(7))
                await other.flush()
                await until(lambda: ours.ledger.posted_count == len(l1.posted))
            l1.leads = None
            await until(lambda: ours.leads and not ours.ledger.pending_txs)
            assert ours.head.state.meta.next_account == 4
            assert ours.queries.account(owner(7)).index == 3

    async def test_a_crash_while_transactions_are_set_aside_loses_none(self, start, l1):
        async with start() as ours:
            await two_accounts(ours, l1)
            raw = transfer(0)
            await ours.submit(raw)
        async with start(l1=l1.by(OTHER), name="other.db") as other:
            await lead_and_post(other, l1)
        async with start() as ours:
            assert (await status_of(ours, raw)).inclusion is Inclusion.SOFT
        l1.leads = None
        async with start() as ours:
            await until(lambda: ours.head.state.account(1).nonce == 1)
            await agrees_with_l1(ours, l1)

    async def test_a_wrong_batch_is_never_built_on_and_work_goes_on_once_it_was_taken_back(self, start, l1):
        async with start() as ours:
            await two_accounts(ours, l1)
            raw = transfer(0)
            await ours.submit(raw)
            batch = decode_batch(l1.posted[-1].blob)
            frame = replace(batch.frames[0], post_root=b"\1" * 32, body=CreateAccount(owner(9)).encode())
            blob = encode_batch(batch.header, [frame])
            l1.leads = OTHER
            wrong = len(l1.posted)
            await l1.by(OTHER).submit_batch(wrong, l1.posted[-1].post_root, l1.posted[-1].inbox_hash, blob)
            await until(lambda: ours.ledger.wrong_batch == wrong)
            await until(lambda: not ours.leads)
            with pytest.raises(ChainRejectedError) as caught:
                await ours.submit(CreateAccount(owner(5)).encode())
            assert caught.value.code == "not_leading"
            assert not ours.halted
            l1.take_back(wrong, slashed=OTHER)
            await until(lambda: ours.leads)
            await until(lambda: ours.head.state.account(1).nonce == 1)
            await agrees_with_l1(ours, l1)
            assert (await status_of(ours, raw)).inclusion is Inclusion.BATCHED


class TestReorgs:
    async def test_batches_that_vanish_while_it_runs_are_posted_again_as_they_were(self, start, l1):
        async with start() as sequencer:
            await two_accounts(sequencer, l1)
            await sequencer.submit(transfer(0))
            await sequencer.flush()
            before = list(l1.posted)
            del l1.posted[1:]
            l1.fork += 1
            await until(lambda: len(l1.posted) == len(before))
            assert [batch.blob for batch in l1.posted] == [batch.blob for batch in before]
            await agrees_with_l1(sequencer, l1)

    async def test_a_batch_that_was_mined_elsewhere_is_known_at_its_new_place(self, start, l1):
        async with start() as sequencer:
            await two_accounts(sequencer, l1)
            l1.posted[:] = [replace(batch, l1_tx=keccak256(batch.l1_tx), l1_block=99) for batch in l1.posted]
            l1.fork += 1
            newest = len(l1.posted) - 1
            await until(lambda: not sequencer.poster.must_compare)
            async with sequencer.ledger.writing:
                pass
            view = await sequencer.queries.batch(newest)
            while view.l1_block != 99:
                view = await sequencer.queries.batch(newest)
            assert view.l1_tx == "0x" + l1.posted[newest].l1_tx.hex()

    async def test_a_deposit_that_a_reorg_took_is_taken_back_and_the_rest_stands(self, start, l1):
        async with start() as sequencer:
            await two_accounts(sequencer, l1)
            l1.deposit(owner(3), 50)
            await until(lambda: sequencer.queries.account(owner(3)))
            await sequencer.submit(transfer(0))
            l1.messages.pop()
            l1.fork += 1
            await until(lambda: sequencer.queries.account(owner(3)) is None)
            await until(lambda: sequencer.head.state.account(1).nonce == 1)
            await agrees_with_l1(sequencer, l1)

    async def test_a_message_is_executed_once_it_is_as_deep_as_asked(self, start, l1, quick):
        async with start(replace(quick, inbox_confirmations=2)) as sequencer:
            l1.messages.append(replace(_deposit_of(l1), l1_block=2))
            await sequencer.follower.look()
            assert sequencer.queries.account(owner(3)) is None
            l1.messages.append(replace(_deposit_of(l1), l1_block=3))
            l1.messages.append(replace(_deposit_of(l1), l1_block=4))
            await until(lambda: sequencer.queries.account(owner(3)))
            assert sequencer.head.state.meta.inbox_cursor == 1

    async def test_a_message_that_l1_insists_on_is_executed_before_it_is_as_deep_as_asked(self, start, l1, quick):
        async with start(replace(quick, inbox_confirmations=100)) as sequencer:
            l1.deposit(owner(3), 50)
            await sequencer.follower.look()
            assert sequencer.queries.account(owner(3)) is None
            l1.now_s += 10  # half of the force delay
            await until(lambda: sequencer.queries.account(owner(3)))

    @pytest.mark.parametrize("is_seen", [True, False])
    async def test_a_batch_whose_message_a_reorg_swapped_is_built_again_and_costs_no_bond(self, start, l1, is_seen):
        async with start() as sequencer:
            await two_accounts(sequencer, l1)
            l1.refuses_batches = True
            l1.deposit(owner(1), 50, hint=1)
            await until(lambda: sequencer.head.state.account(1).balance_nano == 1_000_050)
            raw = transfer(0)
            await sequencer.submit(raw)
            before, sealed = len(l1.posted), asyncio.ensure_future(sequencer.flush())
            await until(lambda: l1.refused_batches)
            l1.messages[-1] = replace(l1.messages[-1], owner=owner(2), index_hint=2, amount_nano=70)
            l1.fork += is_seen
            l1.refuses_batches = False
            await sealed
            await until(lambda: sequencer.head.state.account(2).balance_nano == 1_000_075)
            assert sequencer.head.state.account(1).balance_nano == 999_995
            assert (await status_of(sequencer, raw)).kind == "transfer"
            await agrees_with_l1(sequencer, l1)
            assert len(l1.posted) > before
            assert l1.bonds == {}

    async def test_a_batch_whose_message_came_at_another_time_is_posted_as_it_is(self, start, l1):
        async with start() as sequencer:
            await two_accounts(sequencer, l1)
            l1.refuses_batches = True
            l1.deposit(owner(1), 50, hint=1)
            await until(lambda: sequencer.head.state.account(1).balance_nano == 1_000_050)
            sealed = asyncio.ensure_future(sequencer.flush())
            await until(lambda: l1.refused_batches)
            blob = l1.refused_batches[-1]
            l1.messages[-1] = replace(l1.messages[-1], at_s=l1.now_s + 1, l1_block=99)
            l1.fork += 1
            l1.refuses_batches = False
            await sealed
            assert l1.posted[-1].blob == blob
            await agrees_with_l1(sequencer, l1)

    async def test_an_l1_behind_what_was_final_is_waited_for(self, start, l1):
        async with start() as sequencer:
            await two_accounts(sequencer, l1)
            l1.now_s += 10
            await until(lambda: sequencer.ledger.final.count == len(l1.posted))
            kept = list(l1.posted)
            l1.posted.clear()
            await sequencer.create_account(owner(4))
            await until(lambda: sequencer.poster.must_compare)
            assert not sequencer.halted
            l1.posted[:] = kept
            await agrees_with_l1(sequencer, l1)

    async def test_an_l1_that_contradicts_a_final_batch_stops_it(self, start, l1):
        async with start() as sequencer:
            await two_accounts(sequencer, l1)
            l1.now_s += 10
            await until(lambda: sequencer.ledger.final.count == len(l1.posted))
        l1.posted[-1] = replace(l1.posted[-1], post_root=b"\1" * 32)
        with pytest.raises(DivergedError):
            await start().start()


class TestHostileL1:
    async def test_an_answer_about_another_batch_than_was_given_is_not_believed(self, start, l1, monkeypatch):
        async with start() as sequencer:
            await two_accounts(sequencer, l1)
            count, submit, lies = sequencer.ledger.posted_count, l1.submit_batch, []

            async def lying(*batch):
                posted = await submit(*batch)
                if not lies:
                    lies.append(posted)
                    return replace(posted, post_root=b"\1" * 32)
                return posted

            monkeypatch.setattr(l1, "submit_batch", lying)
            await sequencer.submit(transfer(0))
            await agrees_with_l1(sequencer, l1)
            assert lies
            assert sequencer.ledger.posted_count == count + 1 == len(l1.posted) == l1.submissions

    async def test_answers_that_come_late_and_twice_change_nothing(self, start, l1, monkeypatch):
        async with start() as sequencer:
            await two_accounts(sequencer, l1)
            messages = l1.inbox_messages

            async def doubled(first, limit):
                found = list(await messages(first, limit))
                return [message for message in found for _ in range(2)]

            monkeypatch.setattr(l1, "inbox_messages", doubled)
            l1.deposit(owner(3), 50)
            l1.deposit(owner(4), 60)
            await until(lambda: sequencer.queries.account(owner(4)))
            monkeypatch.setattr(l1, "inbox_messages", messages)
            await agrees_with_l1(sequencer, l1)
            assert sequencer.queries.account(owner(3)).balance_nano == 50


class TestTheForceDelay:
    async def test_a_batch_sealed_before_an_outage_is_built_anew_with_the_messages_that_waited(self, start, l1):
        async with start() as sequencer:
            await two_accounts(sequencer, l1)
            l1.is_down = True
            raw = transfer(0)
            await sequencer.submit(raw)
            async with sequencer.ledger.writing:
                sequencer.ledger.seal()
                await sequencer.ledger.commit_head()
            l1.force(signed(Transfer(2, 1, 3, 0), 2, 0))
            l1.now_s += 30
            l1.is_down = False
            await agrees_with_l1(sequencer, l1)
            assert sequencer.head.state.account(2).nonce == 1
            assert (await status_of(sequencer, raw)).inclusion is Inclusion.BATCHED
            assert len(l1.posted) == l1.submissions


async def test_the_same_bytes_end_a_second_unstaking(start, l1):
    async with start() as sequencer:
        await two_accounts(sequencer, l1)
        finish = FinishUnstake(1).encode()
        sequences = []
        for nonce in (0, 2):
            await sequencer.submit(signed(Stake(1, 100, 0), 1, nonce))
            await sequencer.submit(signed(Unstake(1, 100, 0), 1, nonce + 1))
            await sequencer.flush()
            l1.now_s += 61
            await until(lambda: sequencer.ledger.clock.time_s >= l1.now_s)
            sequences.append((await sequencer.submit(finish)).sequence)
            assert sequencer.head.state.account(1).unlocking_nano == 0
        assert sequences[0] < sequences[1]
        assert (await sequencer.submit(finish)).sequence == sequences[1]


def _deposit_of(l1) -> InboxMessage:
    return deposit(len(l1.messages), owner(3), 50, at_s=l1.now_s)


class TestWhileItAgreesWithL1:
    """Between the moment the head goes back and the moment everything acknowledged is in it again."""

    @pytest.fixture
    async def halfway(self, start, quick, l1, monkeypatch, request):
        """A sequencer whose batch has to be built anew, on an L1 that shows no inbox until it is told to.

        The parameter is how long readers wait for it, in seconds.
        """
        asked, goes_on = asyncio.Event(), asyncio.Event()
        messages = l1.inbox_messages

        async def slow(first, limit):
            asked.set()
            if not goes_on.is_set():
                raise ChainUnavailableError("the inbox can't be read now")
            return await messages(first, limit)

        config = replace(quick, settle_timeout_s=getattr(request, "param", quick.settle_timeout_s))
        async with start(config) as sequencer:
            await two_accounts(sequencer, l1)
            l1.is_down = True
            await sequencer.submit(transfer(0))
            async with sequencer.ledger.writing:
                sequencer.ledger.seal()
                await sequencer.ledger.commit_head()
            l1.deposit(owner(1), 50, hint=1)
            l1.now_s += 21
            monkeypatch.setattr(l1, "inbox_messages", slow)
            l1.is_down = False
            await until(lambda: not sequencer.realigner.is_settled)
            await asked.wait()
            yield sequencer, goes_on

    async def test_nobody_sees_a_head_without_what_was_acknowledged(self, halfway, l1):
        sequencer, goes_on = halfway
        methods = Methods(sequencer, l1_rpc_url="")
        address = checksum_address(owner(1))
        await until(lambda: sequencer.head.state.account(1).nonce == 0)  # the transfer is set aside
        asking = [
            asyncio.create_task(methods.call(method, [address])) for method in ("rollup_account", "eth_getBalance")
        ]
        submitting = asyncio.create_task(sequencer.submit(transfer(1)))
        goes_on.set()
        account, balance = await asyncio.gather(*asking)
        assert account["nonce"] in (1, 2)
        assert int(balance, 16) > 0
        await submitting
        await agrees_with_l1(sequencer, l1)
        assert sequencer.head.state.account(1).nonce == 2

    @pytest.mark.parametrize("halfway", [0.0], indirect=True)
    async def test_who_can_not_wait_is_told_to_come_back(self, halfway, l1):
        sequencer, goes_on = halfway
        with pytest.raises(ChainUnavailableError) as caught:
            await Methods(sequencer, l1_rpc_url="").call("rollup_account", [checksum_address(owner(1))])
        assert caught.value.code == "realigning"
        goes_on.set()
        await until(lambda: sequencer.realigner.is_settled)
        await agrees_with_l1(sequencer, l1)
