"""The devnet as a whole: one home, real sockets, a real EVM, money in and money out."""

from __future__ import annotations

import asyncio
import socket
import stat
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from chain.client import RollupClient
from chain.devnet import Devnet, DevnetConfig, DevnetReady, run_devnet
from chain.devnet.config import DevnetParams, FaucetLimits
from chain.devnet.faucet import L1_GRANT_GAS_WEI, L1_GRANT_NANO, L2_GRANT_NANO, Faucet
from chain.devnet.home import DevnetHome
from chain.errors import ChainRejectedError, IdlewattError
from chain.l1.bridge import Bridge
from chain.sequencer.config import SequencerConfig
from chain.signing import address_of, keccak256, sign_digest
from chain.txs import Withdraw
from chain.views import AccountView, Inclusion
from tests.chain.support import rebuild_state
from tests.patience import PATIENCE_S

ALICE_KEY = keccak256(b"alice of the devnet tests")
ALICE, BOB = address_of(ALICE_KEY), b"\xbb" * 20
QUICK = SequencerConfig(batch_interval_s=0.05, poll_s=0.05, inbox_confirmations=0)
CONFIG = DevnetConfig(sequencer=QUICK)


@asynccontextmanager
async def running(
    home: Path, *, window_s: int = 3600, config: DevnetConfig = CONFIG
) -> AsyncIterator[tuple[Devnet, RollupClient]]:
    """A devnet on free ports, and a client of its rollup."""
    params = DevnetParams.with_window(window_s)
    async with Devnet(home, params=params, config=config) as devnet, RollupClient(devnet.ready.l2_url) as client:
        yield devnet, client


async def funded(client: RollupClient, address: bytes, at_least_nano: int = L2_GRANT_NANO) -> AccountView:
    """Wait for a grant to be credited on L2."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            account = await client.account(address)
            if account is not None and account.balance_nano >= at_least_nano:
                return account
            await asyncio.sleep(0.02)


def bridge_of(devnet: Devnet) -> Bridge:
    ready = devnet.ready
    return Bridge(
        ready.l1_url,
        inbox_address=bytes.fromhex(ready.inbox_address[2:]),
        asset_address=bytes.fromhex(ready.asset_address[2:]),
    )


class TestFaucet:
    async def test_it_gives_money_on_both_layers_and_gas(self, tmp_path: Path) -> None:
        async with running(tmp_path) as (devnet, client):
            grant = await client.faucet(ALICE)
            account = await funded(client, ALICE)
            bridge = bridge_of(devnet)

            assert (grant.l2_amount_nano, grant.l1_amount_nano) == (L2_GRANT_NANO, L1_GRANT_NANO)
            assert account.balance_nano == L2_GRANT_NANO
            assert await bridge.asset_balance_nano(ALICE) == L1_GRANT_NANO
            assert await bridge.ether_balance_wei(ALICE) == L1_GRANT_GAS_WEI
            await bridge.aclose()

    async def test_an_address_waits_for_its_next_grant_which_goes_to_the_same_account(self, tmp_path: Path) -> None:
        async with running(tmp_path) as (devnet, client):
            now_s = 0.0
            faucet = Faucet(devnet.rollup, devnet.sequencer.head.account_number, lambda: None, clock=lambda: now_s)
            await faucet.prepare()
            await faucet.grant(ALICE)
            first = await funded(client, ALICE)
            now_s = FaucetLimits().pause_s - 1
            with pytest.raises(ChainRejectedError) as refused:
                await faucet.grant(ALICE)
            assert (refused.value.code, refused.value.fix) == ("faucet_limit", "Try again in 2 seconds.")

            now_s = FaucetLimits().pause_s
            await faucet.grant(ALICE)

            second = await funded(client, ALICE, 2 * L2_GRANT_NANO)
            assert second.index == first.index

    async def test_everybody_together_has_a_limit(self, tmp_path: Path) -> None:
        config = DevnetConfig(sequencer=QUICK, faucet=FaucetLimits(max_grants=1))
        async with running(tmp_path, config=config) as (_, client):
            await client.faucet(ALICE)

            with pytest.raises(ChainRejectedError) as refused:
                await client.faucet(BOB)

        assert refused.value.code == "faucet_limit"

    async def test_a_grant_that_failed_may_be_asked_for_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with running(tmp_path) as (devnet, client):
            assert devnet.rollup.signer is not None
            send_ether = devnet.rollup.signer.send_ether

            async def refuse(*_: object) -> None:
                raise ChainRejectedError("not now")

            monkeypatch.setattr(devnet.rollup.signer, "send_ether", refuse)
            with pytest.raises(ChainRejectedError, match="not now"):
                await client.faucet(ALICE)
            monkeypatch.setattr(devnet.rollup.signer, "send_ether", send_ether)

            await client.faucet(ALICE)

    @pytest.mark.parametrize("address", [bytes(20), b"short", b"\x01" * 21])
    async def test_only_addresses_are_given_money(self, tmp_path: Path, address: bytes) -> None:
        async with running(tmp_path) as (devnet, _):
            faucet = Faucet(devnet.rollup, lambda _: None, lambda: None)
            with pytest.raises(ChainRejectedError) as refused:
                await faucet.grant(address)

        assert refused.value.code == "bad_address"


class TestMoney:
    async def test_a_withdrawal_is_paid_on_l1_without_its_owner_doing_anything(self, tmp_path: Path) -> None:
        async with running(tmp_path, window_s=2) as (devnet, client):
            await client.faucet(ALICE)
            account = await funded(client, ALICE)
            withdraw = Withdraw(account.index, 3_000_000_000, 1_000, BOB)
            digest = withdraw.digest(await client.domain(), account.nonce)
            receipt = await client.submit(withdraw.encode(sign_digest(ALICE_KEY, digest)))

            status = await client.wait_for(receipt.l2_tx, Inclusion.FINAL, timeout_s=PATIENCE_S)

            bridge = bridge_of(devnet)
            async with asyncio.timeout(PATIENCE_S):
                while await bridge.asset_balance_nano(BOB) == 0:
                    await asyncio.sleep(0.02)
            assert await bridge.asset_balance_nano(BOB) == 3_000_000_000
            assert await bridge.ether_balance_wei(BOB) == 0
            await bridge.aclose()
            assert status.l1_tx is not None
            rebuilt = await rebuild_state(devnet.rollup)
            assert "0x" + rebuilt.root().hex() == (await client.info()).head_state_root

    async def test_the_contract_holds_what_l2_owes(self, tmp_path: Path) -> None:
        async with running(tmp_path) as (devnet, client):
            for address in (ALICE, BOB):
                await client.faucet(address)
                await funded(client, address)
            bridge = bridge_of(devnet)

            held = await bridge.asset_balance_nano(bytes.fromhex(devnet.ready.rollup_address[2:]))
            await bridge.aclose()

            assert held == 2 * L2_GRANT_NANO


class TestHome:
    async def test_the_same_home_resumes_the_same_chain(self, tmp_path: Path) -> None:
        async with running(tmp_path, window_s=77) as (devnet, client):
            await client.faucet(ALICE)
            await funded(client, ALICE)
            await client.flush()
            first, batches = devnet.ready, await client.batches()
        assert first.is_new

        async with running(tmp_path, window_s=5) as (devnet, client):
            account = await client.account(ALICE)
            assert account is not None
            assert account.balance_nano == L2_GRANT_NANO
            assert not devnet.ready.is_new
            assert devnet.ready.deployment == first.deployment
            assert (await client.info()).params.challenge_window_s == 77
            assert [batch.l1_tx for batch in await client.batches()] == [batch.l1_tx for batch in batches]

    async def test_a_reset_l1_is_another_deployment_and_the_old_one_is_kept(self, tmp_path: Path) -> None:
        async with running(tmp_path) as (devnet, client):
            await client.faucet(ALICE)
            await funded(client, ALICE)
            first = devnet.ready
        for file in tmp_path.glob("l1.db*"):
            file.unlink()

        async with running(tmp_path) as (devnet, client):
            assert devnet.ready.is_new
            assert devnet.ready.deployment != first.deployment
            assert await client.account(ALICE) is None

        assert len(list(tmp_path.glob("deployment-*.json"))) == 1
        assert len(list(tmp_path.glob("l2-*.db"))) == 2

    async def test_two_homes_never_meet(self, tmp_path: Path) -> None:
        async with running(tmp_path / "a") as (one, _), running(tmp_path / "b") as (other, _):
            assert one.ready.deployment != other.ready.deployment
            assert one.ready.rollup_address != other.ready.rollup_address

    async def test_a_second_devnet_on_a_home_is_refused(self, tmp_path: Path) -> None:
        held = DevnetHome(tmp_path)

        with pytest.raises(IdlewattError) as refused:
            async with Devnet(tmp_path):
                pytest.fail("started twice")
        held.release()

        assert refused.value.code == "devnet_running"
        assert refused.value.fix

    async def test_what_it_holds_is_private(self, tmp_path: Path) -> None:
        async with running(tmp_path / "devnet") as _:
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "devnet").iterdir()}

        assert stat.S_IMODE((tmp_path / "devnet").stat().st_mode) == 0o700
        assert modes["operator.key"] == modes["deployment.json"] == 0o600

    @pytest.mark.parametrize("content", ["", "xyz", "00" * 32, "11" * 31, "ff" * 32])
    def test_a_damaged_key_is_told_without_being_shown(self, tmp_path: Path, content: str) -> None:
        (tmp_path / "operator.key").write_text(content)
        home = DevnetHome(tmp_path)

        with pytest.raises(IdlewattError) as refused:
            home.operator_key()
        home.release()

        assert refused.value.code == "devnet_damaged"
        assert not content or content not in refused.value.line()

    @pytest.mark.parametrize("content", [b'{"l1_chain_id": 1}', b'{"\xff": 1}', b'{"x": ' + b"[" * 9_000])
    def test_a_damaged_deployment_is_told(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "deployment.json").write_bytes(content)
        home = DevnetHome(tmp_path)

        with pytest.raises(IdlewattError) as refused:
            home.deployment()
        home.release()

        assert refused.value.code == "devnet_damaged"

    @pytest.mark.parametrize(
        "use",
        [
            lambda home: home.deployment(),
            lambda home: home.operator_key(),
        ],
    )
    def test_files_that_cannot_be_read_are_told(self, tmp_path: Path, use: Callable[[DevnetHome], object]) -> None:
        for name in ("deployment.json", "operator.key"):
            (tmp_path / name).mkdir()
        home = DevnetHome(tmp_path)

        with pytest.raises(IdlewattError) as refused:
            use(home)
        home.release()

        assert refused.value.code == "home_unusable"

    def test_a_home_that_is_a_file_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")

        with pytest.raises(IdlewattError) as refused:
            DevnetHome(tmp_path / "file")

        assert refused.value.code == "home_unusable"

    async def test_a_deployment_that_cannot_be_written_is_told(self, tmp_path: Path) -> None:
        async with running(tmp_path / "a"):
            pass
        home = DevnetHome(tmp_path / "a")
        deployment = home.deployment()
        assert deployment is not None
        (home.path / "deployment.json").unlink()
        (home.path / "deployment.json").mkdir()

        with pytest.raises(IdlewattError) as refused:
            home.keep_deployment(deployment)
        home.release()

        assert refused.value.code == "home_unusable"
        assert not list(home.path.glob(".deployment*"))


def _evm_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("l1-evm")}


class TestRunning:
    async def test_it_runs_until_it_is_told_to_stop_and_leaves_nothing(self, tmp_path: Path) -> None:
        before = _evm_threads()
        stop, seen = asyncio.Event(), asyncio.get_running_loop().create_future()
        service = asyncio.create_task(run_devnet(tmp_path, l1_port=0, l2_port=0, on_ready=seen.set_result, stop=stop))
        ready: DevnetReady = await seen
        async with RollupClient(ready.l2_url) as client:
            assert (await client.info()).l1_rpc_url == ready.l1_url
            assert (await client.info()).params.challenge_window_s == 60

        stop.set()
        await service

        assert _evm_threads() <= before
        for url in (ready.l1_url, ready.l2_url):
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1]))).close()
        DevnetHome(tmp_path).release()

    @pytest.mark.parametrize("which", ["l1_port", "l2_port"])
    async def test_a_port_in_use_is_one_clear_line_and_lets_go_of_everything(self, tmp_path: Path, which: str) -> None:
        before = _evm_threads()
        with socket.create_server(("127.0.0.1", 0)) as taken:
            ports = {"l1_port": 0, "l2_port": 0, which: taken.getsockname()[1]}

            with pytest.raises(IdlewattError) as refused:
                await run_devnet(tmp_path, **ports, on_ready=lambda _: pytest.fail("ready"), stop=asyncio.Event())

        assert refused.value.code == "port_in_use"
        assert _evm_threads() <= before
        DevnetHome(tmp_path).release()

    async def test_cancelling_it_is_a_clean_stop(self, tmp_path: Path) -> None:
        seen = asyncio.get_running_loop().create_future()
        service = asyncio.create_task(
            run_devnet(tmp_path, l1_port=0, l2_port=0, on_ready=seen.set_result, stop=asyncio.Event())
        )
        await seen
        service.cancel()

        with pytest.raises(asyncio.CancelledError):
            await service
        DevnetHome(tmp_path).release()


class TestReveals:
    async def test_blocks_come_by_themselves_while_a_commitment_waits_and_stop_then(self, tmp_path: Path) -> None:
        async with running(tmp_path, config=DevnetConfig(sequencer=QUICK, reveal_block_s=0.01)) as (devnet, _):
            rollup = devnet.rollup
            assert rollup.signer is not None
            await rollup.commit_fraud(b"\x01" * 32)
            committed = await rollup.fraud_committed_at(rollup.signer.address, b"\x01" * 32)
            assert committed is not None
            last = committed + (await rollup.deployment()).reveal_delay_blocks - 1

            async with asyncio.timeout(PATIENCE_S):
                while await rollup.block_number() < last:
                    await asyncio.sleep(0.01)

            assert not await devnet.l1.mine_for_reveal((await rollup.deployment()).rollup_address, 10)
            assert await rollup.block_number() == last

    async def test_a_quiet_chain_stays_quiet(self, tmp_path: Path) -> None:
        async with running(tmp_path) as (devnet, _):
            before = await devnet.rollup.block_number()

            mined = await devnet.l1.mine_for_reveal((await devnet.rollup.deployment()).rollup_address, 10)

            assert not mined
            assert await devnet.rollup.block_number() == before
