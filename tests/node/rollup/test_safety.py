"""What a node knows of the rollup's safety without asking any sequencer, and what it does with evidence."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from chain.signing import flip_parity
from node.local.limits import NodeLimits
from node.local.node import LocalNode
from node.rollup.safety import alarm_of
from node.values import DisputeStage, IdlewattError, NodeSnapshot
from tests.node.conftest import PASSPHRASE, QUICK, RunNode
from tests.patience import PATIENCE_S
from tests.screens.fake_node import dispute, safety_view, waiting_message
from tests.wallet.censor import CensoredWorld
from tests.wallet.moves import transfer
from tests.wallet.test_stakes import USD, receipt, stakes
from tests.wallet.world import FREEZE_S, World
from wallet.exits import leave
from wallet.receipts import sign_receipt
from wallet.vouchers import sign_voucher


@pytest.fixture
def limits() -> NodeLimits:
    return NodeLimits(l1=QUICK)


async def seen(node: LocalNode, is_so: Callable[[NodeSnapshot], bool]) -> NodeSnapshot:
    """The first snapshot of which it is so."""
    async with asyncio.timeout(PATIENCE_S), node.subscribe() as events:
        while not is_so(node.snapshot()):
            await anext(events)
    return node.snapshot()


async def known(node: LocalNode) -> None:
    """Wait until L1 was read."""
    async with asyncio.timeout(PATIENCE_S), node.subscribe() as events:
        while (await node.chain()).safety is None:
            await anext(events)


class TestAlarms:
    def test_all_is_well(self) -> None:
        assert alarm_of(safety_view()) is None

    def test_a_freeze_says_how_to_leave(self) -> None:
        alarm = alarm_of(safety_view(frozen_at_s=5, disputes=(dispute(),)))
        assert alarm is not None
        assert (alarm.severity, alarm.way_out) == ("danger", "exit")

    @pytest.mark.parametrize("stage", [DisputeStage.FOUND, DisputeStage.COMMITTED, DisputeStage.REVERTED])
    def test_a_fraud_is_on_until_its_place_is_final(self, stage: DisputeStage) -> None:
        alarm = alarm_of(safety_view(disputes=(dispute(stage),), final_count=5))
        assert alarm is not None
        assert alarm.severity == "danger"
        assert "FRAUD: batch 5" in alarm.text
        assert alarm_of(safety_view(disputes=(dispute(stage),), final_count=6)) is None

    def test_what_vanished_is_no_alarm(self) -> None:
        assert alarm_of(safety_view(disputes=(dispute(DisputeStage.VANISHED),))) is None

    def test_an_announcement_alone_is_a_warning(self) -> None:
        alarm = alarm_of(safety_view(announced=1))
        assert alarm is not None
        assert (alarm.severity, alarm.way_out) == ("warning", "")

    def test_an_inbox_that_is_ignored_offers_to_force_and_then_to_leave(self) -> None:
        late = alarm_of(safety_view(is_overdue=True, waiting=(waiting_message(age_s=60),), waiting_count=1))
        assert late is not None
        assert (late.severity, late.way_out) == ("warning", "force")
        ended = alarm_of(safety_view(is_overdue=True, waiting=(waiting_message(age_s=121),), waiting_count=1))
        assert ended is not None
        assert (ended.severity, ended.way_out) == ("danger", "exit")


class TestRead:
    async def test_a_freeze_is_seen_with_the_sequencer_dead(self, tmp_path: Path, run_node: RunNode) -> None:
        async with World(tmp_path) as world, run_node("home", chain=world.client.url) as node:
            await known(node)
            before = await node.chain()
            assert before.safety is not None
            assert [one.is_leader for one in before.safety.sequencers] == [False]  # bonded, and nothing posted yet
            await world.stop_sequencer()
            await world.operator.force_tx(b"ignored")
            await world.later(FREEZE_S + 2)
            await seen(node, lambda snapshot: snapshot.alarm is not None and snapshot.alarm.way_out == "exit")

            await world.operator.freeze()

            found = await seen(node, lambda snapshot: "FROZEN" in (snapshot.alarm.text if snapshot.alarm else ""))
            assert found.alarm is not None
            safety = (await node.chain()).safety
            assert safety is not None
            assert safety.frozen_at_s is not None
            assert (safety.waiting_count, safety.waiting[0].kind) == (1, "forced")

    async def test_a_restarted_home_still_knows_which_rollup_to_look_at(
        self, tmp_path: Path, run_node: RunNode
    ) -> None:
        async with World(tmp_path) as world:
            url = world.client.url
            async with run_node("home", chain=url) as node:
                await known(node)
            await world.stop_sequencer()
            async with run_node("home", chain=url) as node:
                await known(node)
                assert node.snapshot().chain_reachable is False

    async def test_a_proven_fraud_is_on_every_screen(self, tmp_path: Path, run_node: RunNode) -> None:
        async with World(tmp_path) as world, run_node("home", chain=world.client.url) as node:
            await world.funded(0, USD)
            await known(node)
            await world.client.flush()
            await world.stop_sequencer()
            batch_id = await lie_and_prove(world)

            found = await seen(node, lambda snapshot: bool(snapshot.alarm and snapshot.alarm.severity == "danger"))

            assert found.alarm is not None
            assert f"FRAUD: batch {batch_id} was proven wrong" in found.alarm.text
            safety = (await node.chain()).safety
            assert safety is not None
            (told,) = safety.disputes
            assert (told.stage, told.code, told.reward_wei) == (DisputeStage.REVERTED, 8, 10**18 // 2)
            assert safety.announced == 0


async def lie_and_prove(world: World) -> int:
    """Post a batch with a root that nothing leads to, and have it taken back; returns its id."""
    proof = await world.lie()
    await world.prove(proof)
    return proof.batch_id


class TestGuard:
    async def test_a_payee_whose_node_runs_answers_an_exit_that_leaves_its_voucher_out(
        self, tmp_path: Path, run_node: RunNode
    ) -> None:
        async with World(tmp_path) as world, run_node("seller", chain=world.client.url) as node:
            await node.create_wallet("main", PASSPHRASE)
            buyer, alice = await world.funded(0, 9 * USD), world.people[0]
            seller = (await node._wallet.service()).address
            await world.give_ether(seller)
            key = alice.voucher_key_at((await buyer.info()).deployment, 0)
            channel, _ = await buyer.open_channel(seller, 5 * USD, key.address, int(time.time()) + 10_000)
            await node._store.record_provider_channel(
                channel_id=channel,
                payer=alice.address,
                signer=key.address,
                deposit_nano=5 * USD,
                expiry_s=int(time.time()) + 10_000,
                opened_at_ms=0,
            )
            voucher = sign_voucher(key, await buyer.domain(), channel, 3 * USD)
            await world.client.flush()
            await world.stop_sequencer()
            # The voucher comes when no sequencer can redeem it any more: its payee has nothing but its answer on L1.
            # A payer may send a voucher with either parity bit; it is brought with the one that L1 recovers its key by.
            await node._store.accept_voucher(replace(voucher, signature=flip_parity(voucher.signature)))
            await world.operator.force_tx(b"ignored")
            await world.later(FREEZE_S + 2)
            l1 = await world.rollup_for(alice)

            async for _ in leave(l1, alice.address, {}, freeze=True, wait=False):
                pass

            async with asyncio.timeout(PATIENCE_S):
                while (leaving := await l1.channel_exit(channel)) is None or not leaving.to_payee_nano:
                    await asyncio.sleep(0.05)
            assert (leaving.to_payer_nano, leaving.to_payee_nano) == (2 * USD, 3 * USD)


class TestEvidence:
    async def test_kept_receipts_that_contradict_each_other_take_the_stake(
        self, tmp_path: Path, run_node: RunNode
    ) -> None:
        async with World(tmp_path) as world, run_node("home", chain=world.client.url) as node:
            provider = await world.funded(0, 10 * USD)
            await provider.stake(4 * USD)
            await node.create_wallet("main", PASSPHRASE)
            with pytest.raises(IdlewattError) as refused:
                await node.slash("main")
            assert refused.value.code == "no_evidence"
            await (await node._wallet.service()).ensure_account()
            domain = await provider.domain()
            for text in (b"one", b"other"):
                await node._store.save_receipt(
                    "buyer", sign_receipt(provider.account, domain, receipt(provider.account, text))
                )

            (taken,) = await node.slash("main")

            assert (taken.reward_nano, taken.channel_id, taken.sequence) == (2 * USD, 7, 3)
            assert await stakes(provider) == (0, 0)
            assert await (await node._wallet.service()).balance() == 2 * USD
            with pytest.raises(IdlewattError) as refused:
                await node.slash("main")
            assert refused.value.code == "nothing_to_slash"

    async def test_a_slash_that_the_sequencer_refuses_is_forced(self, tmp_path: Path, run_node: RunNode) -> None:
        async with CensoredWorld(tmp_path) as world, run_node("home", chain=world.client.url) as node:
            provider = await world.funded(0, 10 * USD)
            await provider.stake(4 * USD)
            await node.create_wallet("main", PASSPHRASE)
            service = await node._wallet.service()
            await service.ensure_account()
            await world.client.flush()
            await world.give_ether(service.address)
            domain = await provider.domain()
            for text in (b"one", b"other"):
                await node._store.save_receipt(
                    "buyer", sign_receipt(provider.account, domain, receipt(provider.account, text))
                )
            with pytest.raises(IdlewattError) as refused:
                await node.slash("main")
            assert "--force" in refused.value.fix

            async with node.force_slash("main") as steps:
                last = [step async for step in steps][-1]

            assert (last.key, last.amount_nano) == ("executed", 2 * USD)
            assert await stakes(provider) == (0, 0)
            assert await service.balance() == 2 * USD

    async def test_a_stake_shows_in_the_wallet(self, tmp_path: Path, run_node: RunNode) -> None:
        async with World(tmp_path) as world, run_node("home", chain=world.client.url) as node:
            await node.create_wallet("main", PASSPHRASE)
            giver = await world.funded(0, 10 * USD)
            service = await node._wallet.service()
            await transfer(giver, world.client, service.address, 5 * USD)

            await node.stake("main", 3 * USD)
            await seen(node, lambda snapshot: snapshot.wallets[0].stake_nano == 3 * USD)
            await node.unstake("main", USD)

            found = await seen(node, lambda snapshot: snapshot.wallets[0].unlocking_nano == USD)
            assert found.wallets[0].stake_nano == 2 * USD
            with pytest.raises(IdlewattError) as refused:
                await node.finish_unstake("main")
            assert refused.value.code == "too_early"
