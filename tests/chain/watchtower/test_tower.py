"""The watchtower on real contracts: reorgs, rivals, restarts, and L1s that answer late, twice or not at all."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import msgspec
import pytest

from chain.errors import ChainRejectedError, ChainUnavailableError
from chain.l1.protocol import L1Head, PostedBatch
from chain.l1.rollup_l1 import JsonRpcRollupL1
from chain.signing import checksum_address, sign_digest
from chain.views import DisputeStage
from chain.villains import VILLAINS
from chain.villains.sequencer import VillainL1
from chain.watchtower import Prover, Watchtower, WatchtowerConfig
from chain.watchtower.core import CloseDispute, Follow, Freeze, Rest, RevealProof, Rewind, Wait
from chain.watchtower.derive import InconsistentL1Error
from tests.patience import PATIENCE_S
from tests.villains.arena import (
    ALICE,
    ALICE_NUMBER,
    NANO,
    PARAMS,
    PROVER,
    PROVER_KEY,
    SECOND,
    SECOND_KEY,
    Arena,
    arena,
    deposit,
    open_server,
    transfer,
)

QUICK = WatchtowerConfig(poll_s=0.01, retry_s=0.01, max_retry_s=0.02)


@pytest.fixture
async def where(template: Path, tmp_path: Path) -> AsyncIterator[Arena]:
    """A rollup with an honest sequencer and three batches."""
    async with arena(template, tmp_path / "arena") as opened:
        yield opened


@pytest.fixture
async def lied(template: Path, tmp_path: Path) -> AsyncIterator[Arena]:
    """A rollup whose fourth batch is a lie."""
    async with arena(template, tmp_path / "arena", VILLAINS["bad-signature"]) as opened:
        await opened.sequencer.post(transfer(opened.sequencer.state, opened.deployment))
        assert isinstance(opened.operator, VillainL1)
        assert opened.operator.lied_at == 3
        yield opened


def rival(where: Arena, key: bytes = SECOND_KEY, address: bytes = SECOND) -> Watchtower:
    """Another prover's watchtower."""
    return Watchtower(where.second, prover=Prover(address, partial(sign_digest, key)))


async def reach(where: Arena, block: int) -> None:
    await where.mine(max(0, block - await where.prover.block_number()))


class TestFollowing:
    async def test_a_wiped_and_restarted_watchtower_reproduces_every_root(self, where: Arena) -> None:
        first = where.tower()
        await first.settle()
        posted = await where.sequencer.post(transfer(where.sequencer.state, where.deployment))
        await first.settle()

        second = where.tower()
        await second.settle()

        assert first.view().state_root == second.view().state_root == "0x" + posted.post_root.hex()
        assert first.view().verified_batches == second.view().verified_batches == 4
        assert where.kinds() == ["verified"] * 8

    async def test_a_watchtower_without_a_key_finds_and_sends_nothing(self, lied: Arena) -> None:
        before = await lied.prover.block_number()
        tower = lied.tower(proves=False)

        assert await tower.settle() == Rest()

        assert await lied.prover.block_number() == before
        dispute = tower.view().disputes[0]
        assert (dispute.stage, dispute.batch_id, dispute.code) == (DisputeStage.FOUND, 3, 5)
        assert not tower.view().is_proving

    async def test_a_late_comer_reads_from_l1_who_proved_what(self, lied: Arena) -> None:
        step = await (tower := lied.tower()).settle()
        assert isinstance(step, Wait)
        await reach(lied, step.until_block)
        await tower.settle()
        lied.events.clear()

        late = lied.tower(proves=False)
        await late.settle()

        assert lied.kinds() == [*["verified"] * 3, "proven", "reverted"]
        dispute = late.view().disputes[0]
        assert (dispute.batch_id, dispute.code, dispute.prover) == (3, 5, checksum_address(PROVER))


class TestReorgs:
    async def swap(self, where: Arena, folder: Path, keep: Path) -> None:
        """Put the L1 of another folder in the place of the running one."""
        port = int(where.server.url.rsplit(":", 1)[1])
        await where.server.aclose()
        for file in keep.glob("l1.db*"):
            shutil.copy(file, folder / file.name)
        where.server = open_server(folder, where.clock)
        await where.server.start("127.0.0.1", port)

    async def test_batches_that_a_reorg_took_are_read_again(self, template: Path, tmp_path: Path, where: Arena) -> None:
        tower = where.tower()
        await where.sequencer.post(transfer(where.sequencer.state, where.deployment, 1))
        await where.sequencer.post(transfer(where.sequencer.state, where.deployment, 2))
        await tower.settle()
        assert tower.view().verified_batches == 5

        await self.swap(where, tmp_path / "arena", template)
        await where.sequencer.sync()
        posted = await where.sequencer.post(transfer(where.sequencer.state, where.deployment, 99))
        await where.sequencer.post(transfer(where.sequencer.state, where.deployment, 98))
        await where.sequencer.post(transfer(where.sequencer.state, where.deployment, 97))

        assert await tower.step() == Rewind()
        assert tower.view().verified_batches == 3
        await tower.settle()
        assert tower.view().verified_batches == 6
        assert tower.view().state_root == "0x" + where.sequencer.state.root().hex()
        assert posted.batch_id == 3
        assert where.kinds().count("rewound") == 1
        await where.server.aclose()

    async def test_after_many_writes_a_reorg_is_answered_by_deriving_anew(
        self, template: Path, tmp_path: Path, where: Arena
    ) -> None:
        tower = where.tower(config=WatchtowerConfig(max_undo_writes=3))
        await where.sequencer.post(transfer(where.sequencer.state, where.deployment, 1))
        await tower.settle()

        await self.swap(where, tmp_path / "arena", template)
        await tower.settle()

        assert tower.view().verified_batches == 3
        fresh = where.tower()
        await fresh.settle()
        assert tower.view().state_root == fresh.view().state_root
        await where.server.aclose()

    async def test_a_wrong_batch_that_a_reorg_took_is_no_dispute_any_more(
        self, template: Path, tmp_path: Path, lied: Arena
    ) -> None:
        tower = lied.tower()
        assert isinstance(await tower.settle(), Wait)

        await self.swap(lied, tmp_path / "arena", template)

        assert await tower.step() == CloseDispute()
        assert tower.view().disputes[-1].stage is DisputeStage.VANISHED
        assert await tower.settle() == Rest()
        await lied.server.aclose()


class TestDisputes:
    async def test_a_restarted_prover_finds_its_commitment_again(self, lied: Arena) -> None:
        step = await lied.tower().settle()
        assert isinstance(step, Wait)
        again = lied.tower()

        assert await again.settle() == step

        await reach(lied, step.until_block)
        await again.settle()
        assert await lied.prover.batch_count() == 3
        assert lied.kinds().count("committed") == 1

    async def test_somebody_elses_proof_may_win(self, lied: Arena) -> None:
        ours, theirs = lied.tower(), rival(lied)
        await theirs.settle()
        step = await ours.settle()
        assert isinstance(step, Wait)
        await reach(lied, step.until_block - 1)

        await theirs.settle()
        await ours.settle()

        dispute = ours.view().disputes[-1]
        assert (dispute.stage, dispute.prover) == (DisputeStage.REVERTED, checksum_address(SECOND))
        assert await ours.settle() == Rest()
        assert ours.view().verified_batches == 3

    async def test_losing_the_race_by_a_block_costs_nothing_but_gas(
        self, lied: Arena, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ours, theirs = lied.tower(), rival(lied)
        await theirs.settle()
        step = await ours.settle()
        assert isinstance(step, Wait)
        await reach(lied, step.until_block)
        prove = lied.prover.prove_fraud

        async def too_slow(proof):
            await theirs.settle()
            return await prove(proof)

        monkeypatch.setattr(lied.prover, "prove_fraud", too_slow)

        assert isinstance(await ours.step(), Wait)
        monkeypatch.undo()
        await ours.settle()

        assert ours.view().disputes[-1].stage is DisputeStage.REVERTED

    async def test_a_new_batch_under_the_number_of_a_wrong_one_is_followed(self, lied: Arena) -> None:
        ours, theirs = lied.tower(), rival(lied)
        step = await ours.settle()
        await theirs.settle()
        assert isinstance(step, Wait)
        await reach(lied, step.until_block + 1)
        await theirs.settle()
        honest = await lied.takeover()
        await honest.post(transfer(honest.state, lied.deployment, 77))

        await ours.settle()

        assert ours.view().verified_batches == 4
        assert ours.view().disputes[-1].stage is DisputeStage.REVERTED

    async def test_a_wrong_batch_that_is_final_is_told_as_missed(self, lied: Arena) -> None:
        await lied.pass_time(PARAMS.challenge_window_s + 1)
        await lied.second.finalize()
        tower = lied.tower()

        assert await tower.settle() == Rest()

        assert tower.view().disputes[-1].stage is DisputeStage.MISSED
        assert lied.kinds()[-2:] == ["found", "missed"]

    async def test_a_contract_that_refuses_the_proof_ends_the_dispute_loudly(
        self, lied: Arena, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tower = lied.tower()
        step = await tower.settle()
        assert isinstance(step, Wait)
        await reach(lied, step.until_block)

        async def refuse(_):
            raise ChainRejectedError("The L1 contract refused: not fraud.", code="not_fraud")

        monkeypatch.setattr(lied.prover, "prove_fraud", refuse)
        while isinstance(step := await tower.step(), Wait | RevealProof):
            pass

        assert step == Rest()
        assert tower.view().disputes[-1].stage is DisputeStage.REFUSED

    async def test_a_lost_answer_is_no_second_transaction(self, lied: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
        tower = lied.tower()
        for name in ("commit_fraud", "prove_fraud"):
            send = getattr(lied.prover, name)

            async def lost(argument, send=send):
                await send(argument)
                monkeypatch.undo()
                raise ChainUnavailableError("the answer was lost")

            monkeypatch.setattr(lied.prover, name, lost)
            with pytest.raises(ChainUnavailableError):
                await tower.settle()
            if name == "commit_fraud":
                step = await tower.settle()
                assert isinstance(step, Wait)
                await reach(lied, step.until_block)

        await tower.settle()

        assert tower.view().disputes[-1].stage is DisputeStage.REVERTED
        assert lied.kinds().count("proven") == 1


class TestInbox:
    async def test_an_overdue_inbox_is_told_and_then_frozen_where_that_is_allowed(self, where: Arena) -> None:
        tower = where.tower(config=WatchtowerConfig(freezes=True))
        await deposit(where.operator, ALICE, NANO, ALICE_NUMBER)
        await where.pass_time(PARAMS.takeover_delay_s + 1)
        assert await tower.settle() == Rest()
        assert where.kinds().count("overdue") == 1
        assert tower.view().pending_since_s is not None

        await where.pass_time(PARAMS.freeze_delay_s)
        while not isinstance(await tower.step(), Freeze):
            pass
        await tower.settle()

        assert await where.prover.frozen_at_s() is not None
        assert where.kinds()[-2:] == ["freezable", "frozen"]
        assert tower.view().frozen_at_s is not None

    async def test_a_freeze_that_came_too_early_for_l1_is_tried_again(
        self, where: Arena, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tower = where.tower(config=WatchtowerConfig(freezes=True))
        await deposit(where.operator, ALICE, NANO, ALICE_NUMBER)
        await where.pass_time(PARAMS.freeze_delay_s + 1)

        async def refuse():
            raise ChainRejectedError("not yet", code="not_overdue")

        monkeypatch.setattr(where.prover, "freeze", refuse)

        assert isinstance(await tower.settle(), Wait)


class TestHostileL1:
    async def test_an_l1_that_is_silent_is_asked_again(self, where: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
        tower = where.tower(config=QUICK)
        monkeypatch.setattr(where.prover, "batch_count", _fail)

        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(tower.run())
            await _until(lambda: "trouble" in where.kinds())
            assert "silent" in tower.view().trouble
            monkeypatch.undo()
            await _until(lambda: tower.view().verified_batches == 3)
            await _until(lambda: "recovered" in where.kinds())
            running.cancel()

        assert where.kinds().count("trouble") == 1

    async def test_an_l1_that_never_answers_ends_a_step(self, where: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
        tower = where.tower(config=WatchtowerConfig(step_timeout_s=0.05))
        monkeypatch.setattr(where.prover, "final_count", asyncio.Event().wait)

        with pytest.raises(ChainUnavailableError) as late:
            await tower.step()

        assert late.value.code == "l1_slow"

    async def test_a_prover_without_ether_says_so_and_goes_on(
        self, lied: Arena, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tower = lied.tower(config=QUICK)

        async def poor(_):
            raise ChainRejectedError("The L1 refused: insufficient funds", code="no_gas")

        monkeypatch.setattr(lied.prover, "commit_fraud", poor)
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(tower.run())
            await _until(lambda: "trouble" in lied.kinds())
            monkeypatch.undo()
            await _until(lambda: "committed" in lied.kinds())
            running.cancel()

        told = next(event for event in lied.events if event.kind == "trouble")
        assert (told.code, "too little ether" in told.text) == ("no_gas", True)

    @pytest.mark.parametrize(
        "change",
        [
            {"blob": b"\x00"},
            {"blob": b"\x01" + (2_000_000_000).to_bytes(8, "big") + (99).to_bytes(8, "big") + bytes(34)},
            {"prev_root": b"\x07" * 32},
            {"post_root": b"\x07" * 32},
        ],
        ids=["no batch", "messages from nowhere", "another past", "another root than its last frame"],
    )
    async def test_a_batch_that_the_contract_would_refuse_is_not_believed(
        self, where: Arena, monkeypatch: pytest.MonkeyPatch, change: dict[str, bytes]
    ) -> None:
        read = where.prover.batches

        async def lie(start: int, limit: int) -> list[PostedBatch]:
            return [msgspec.structs.replace(posted, **change) for posted in await read(start, limit)]

        monkeypatch.setattr(where.prover, "batches", lie)
        tower = where.tower()
        with pytest.raises(InconsistentL1Error):
            await tower.settle()

        monkeypatch.undo()
        await tower.settle()
        assert tower.view().verified_batches == 3

    async def test_an_l1_that_moves_while_it_is_read_is_read_again(
        self, where: Arena, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tower, read, calls = where.tower(), where.prover.block_hash, []

        async def moving(number: int) -> bytes | None:
            calls.append(number)
            return bytes([len(calls)]) * 32 if len(calls) in {2, 5} else await read(number)

        monkeypatch.setattr(where.prover, "block_hash", moving)
        with pytest.raises(InconsistentL1Error):
            await tower.step()
        monkeypatch.undo()

        await tower.settle()
        assert tower.view().verified_batches == 3

    async def test_an_l1_that_lacks_a_block_is_not_believed(
        self, where: Arena, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def nothing(_):
            return None

        monkeypatch.setattr(where.prover, "block_hash", nothing)
        with pytest.raises(InconsistentL1Error):
            await where.tower().step()

    async def test_batches_newer_than_the_look_wait_for_the_next_one(
        self, where: Arena, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tower, head = where.tower(), (await where.prover.batches(1, 1))[0].l1_block

        async def older():
            found = await where.prover.block_hash(head)
            assert found is not None
            return L1Head(head, found)

        monkeypatch.setattr(where.prover, "head", older)
        assert isinstance(await tower.step(), Follow)

        assert tower.view().verified_batches == 2


def test_a_prover_shows_no_secret():
    prover = Prover(PROVER, partial(sign_digest, PROVER_KEY))

    assert repr(prover) == f"<Prover {checksum_address(PROVER)}>"
    assert prover.salt(b"r" * 20, b"i" * 32, 1) != prover.salt(b"r" * 20, b"i" * 32, 2)


async def test_another_genesis_is_refused(where: Arena) -> None:
    foreign = msgspec.structs.replace(where.deployment, genesis_root=b"\x09" * 32)
    l1 = JsonRpcRollupL1(where.server.url, foreign)
    try:
        with pytest.raises(Exception, match="another genesis"):
            await Watchtower(l1).step()
    finally:
        await l1.aclose()


async def _fail():
    raise ChainUnavailableError("The L1 is silent.")


async def _until(condition) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.005)
