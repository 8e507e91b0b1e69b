"""Two operators on one rollup, each with its own home, on a real EVM: the second takes over when the first is gone."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from msgspec.structs import replace

from chain.client import RollupClient
from chain.devnet import Devnet, DevnetConfig, DevnetParams, OtherL1
from chain.devnet.home import DevnetHome
from chain.errors import ChainRejectedError
from chain.signing import address_of, sign_digest
from chain.txs import Transfer, Withdraw
from tests.chain.sequencer.conftest import until
from tests.chain.support import rebuild_state
from tests.chain.test_devnet import ALICE, ALICE_KEY, BOB, QUICK, funded
from tests.patience import PATIENCE_S

ETHER = 10**18


async def give_ether(devnet: Devnet, home: Path) -> None:
    """Pay the operator of another home what its bond and gas cost."""
    other = DevnetHome(home)
    operator = address_of(other.operator_key())
    other.release()
    assert devnet.rollup.signer is not None
    await devnet.rollup.signer.send_ether(operator, 2 * ETHER)


def joining(devnet: Devnet) -> OtherL1:
    return OtherL1(url=devnet.ready.l1_url, rollup_address=bytes.fromhex(devnet.ready.rollup_address[2:]))


async def pass_time(devnet: Devnet, seconds: int) -> None:
    provider = devnet.rollup.connection.web3.provider
    await provider.make_request("evm_increaseTime", [seconds])
    await provider.make_request("evm_mine", [])


async def test_a_second_operator_follows_the_first_and_takes_over_when_it_leaves_a_message_waiting(
    tmp_path: Path,
) -> None:
    async with Devnet(tmp_path / "first", config=DevnetConfig(sequencer=QUICK)) as first:
        await give_ether(first, tmp_path / "second")
        async with RollupClient(first.ready.l2_url) as client:
            await client.faucet(ALICE)
            account = await funded(client, ALICE)
            await client.flush()
            domain = await client.domain()
        async with Devnet(tmp_path / "second", config=DevnetConfig(sequencer=QUICK), other_l1=joining(first)) as second:
            assert not second.ready.is_new
            assert second.ready.deployment == first.ready.deployment
            assert not second.sequencer.leads
            transfer = Transfer(account.index, account.index, 5, 1_000)
            raw = transfer.encode(sign_digest(ALICE_KEY, transfer.digest(domain, account.nonce, ALICE)))
            async with RollupClient(second.ready.l2_url) as client:
                with pytest.raises(ChainRejectedError) as caught:
                    await client.submit(raw)
                assert caught.value.code == "not_leading"
                seen = await client.account(ALICE)
                assert seen is not None
                assert seen.balance_nano == account.balance_nano
            await first.sequencer.close()
            forced = Withdraw(account.index, 7, 0, BOB)
            await second.rollup.force_tx(forced.encode(sign_digest(ALICE_KEY, forced.digest(domain, account.nonce))))
            await pass_time(first, 41)
            await until(lambda: second.sequencer.leads)
            await until(lambda: second.sequencer.queries.account(ALICE).nonce == account.nonce + 1)
            await second.sequencer.flush()
            posted = (await second.rollup.batches(await second.rollup.batch_count() - 1, 1))[0]
            assert posted.submitter == second.rollup.sender == await second.rollup.leader()
            async with RollupClient(second.ready.l2_url) as client:
                transfer = Transfer(account.index, account.index, 5, 1_000)
                raw = transfer.encode(sign_digest(ALICE_KEY, transfer.digest(domain, account.nonce + 1, ALICE)))
                await client.submit(raw)
                await client.flush()
            head = second.sequencer.head.state.root()
            assert (await rebuild_state(second.rollup)).root() == head
    async with asyncio.timeout(PATIENCE_S), Devnet(tmp_path / "first", config=DevnetConfig(sequencer=QUICK)) as first:
        assert not first.sequencer.leads
        assert first.sequencer.head.state.root() == head


async def test_a_home_sequences_one_rollup_of_an_l1(tmp_path: Path) -> None:
    async with Devnet(tmp_path / "first", config=DevnetConfig(sequencer=QUICK)) as first:
        await give_ether(first, tmp_path / "second")
        async with Devnet(tmp_path / "second", config=DevnetConfig(sequencer=QUICK), other_l1=joining(first)):
            pass
        async with Devnet(tmp_path / "second", config=DevnetConfig(sequencer=QUICK), other_l1=joining(first)) as second:
            assert second.ready.deployment == first.ready.deployment
            bond = await second.rollup.bond(second.rollup.sender or b"")
            assert bond.amount_wei == ETHER
        elsewhere = OtherL1(url=first.ready.l1_url, rollup_address=bytes(19) + b"\1")
        with pytest.raises(ChainRejectedError) as caught:
            await Devnet(tmp_path / "second", config=DevnetConfig(sequencer=QUICK), other_l1=elsewhere).__aenter__()
        assert caught.value.code == "foreign_chain"
        await give_ether(first, tmp_path / "third")
        with pytest.raises(ChainRejectedError, match="no rollup"):
            await Devnet(tmp_path / "third", config=DevnetConfig(sequencer=QUICK), other_l1=elsewhere).__aenter__()


async def test_a_live_leader_that_censors_is_replaced_when_its_turn_ends(tmp_path: Path) -> None:
    """It answers and posts as ever; at its turn's end it stops taking transactions, and the next one leads by rule."""
    params = replace(DevnetParams(), turn_s=900)
    config = DevnetConfig(sequencer=QUICK)
    async with Devnet(tmp_path / "first", params=params, config=config) as first:
        await give_ether(first, tmp_path / "second")
        async with RollupClient(first.ready.l2_url) as client:
            await client.faucet(ALICE)
            account = await funded(client, ALICE)
            await client.flush()
            domain = await client.domain()
        async with Devnet(tmp_path / "second", config=config, other_l1=joining(first)) as second:
            turn = await first.rollup.turn()
            assert turn.leader == first.rollup.sender
            assert turn.following == second.rollup.sender
            assert first.sequencer.leads
            assert not second.sequencer.leads

            await pass_time(first, turn.ends_at_s - await first.rollup.time_s())
            await until(lambda: second.sequencer.leads)
            await until(lambda: not first.sequencer.leads)

            transfer = Transfer(account.index, account.index, 5, 1_000)
            raw = transfer.encode(sign_digest(ALICE_KEY, transfer.digest(domain, account.nonce, ALICE)))
            async with RollupClient(first.ready.l2_url) as client:
                with pytest.raises(ChainRejectedError) as caught:
                    await client.submit(raw)
                assert caught.value.code == "not_leading"
            async with RollupClient(second.ready.l2_url) as client:
                await client.submit(raw)
                await client.flush()
            assert await second.rollup.leader() == second.rollup.sender
            root = second.sequencer.head.state.root()
            await until(lambda: first.sequencer.head.state.root() == root)
            assert (await rebuild_state(first.rollup)).root() == root


async def test_a_leader_takes_nothing_more_shortly_before_its_turn_ends(tmp_path: Path) -> None:
    """What it acknowledged is on L1 by then."""
    config = DevnetConfig(sequencer=replace(QUICK, handover_s=100))
    async with Devnet(tmp_path / "first", config=config) as first:
        await give_ether(first, tmp_path / "second")
        async with RollupClient(first.ready.l2_url) as client:
            await client.create_account(ALICE)
            await client.flush()
            async with Devnet(tmp_path / "second", config=config, other_l1=joining(first)) as second:
                turn = await first.rollup.turn()
                await pass_time(first, turn.ends_at_s - await first.rollup.time_s() - 60)
                await until(lambda: first.sequencer.ledger.turn is not None and not first.sequencer.ledger.accepts)

                with pytest.raises(ChainRejectedError) as caught:
                    await client.create_account(BOB)

                assert caught.value.code == "not_leading"
                assert first.sequencer.leads
                assert not second.sequencer.leads
