"""The rollup as its users meet it: a real EVM, real contracts, the real sequencer and RPC, and nothing replaced."""

import asyncio

import pytest

from chain.client import RollupClient
from chain.devnet import Devnet, DevnetConfig, DevnetParams
from chain.eip712 import SigningDomain
from chain.l1.bridge import Bridge
from chain.l1.rollup_l1 import JsonRpcRollupL1
from chain.replay import replay_l1
from chain.sequencer import SequencerConfig
from chain.signing import parse_address
from chain.txs import CloseTogether, Expire, OpenChannel, Redeem, StartClose, TopUp, Transfer, Withdraw
from chain.views import Inclusion
from tests.chain.support import Signed, owner, rebuild_state, signed, signed_once
from tests.patience import PATIENCE_S

FEE = 1_000
VOUCHER_KEY = 9


@pytest.fixture
async def devnet(tmp_path):
    params = DevnetParams.with_window(30)
    config = SequencerConfig(batch_interval_s=0.2, poll_s=0.05)
    async with Devnet(tmp_path / "net", params=params, config=DevnetConfig(sequencer=config)) as running:
        yield running


async def funded(client: RollupClient, number: int) -> int:
    grant = await client.faucet(owner(number))
    async with asyncio.timeout(PATIENCE_S):
        while (view := await client.account(owner(number))) is None or view.balance_nano < grant.l2_amount_nano:
            await asyncio.sleep(0.02)
    return view.index


class Person:
    """Signs with one key and counts its own nonces."""

    def __init__(self, client: RollupClient, domain: SigningDomain, number: int) -> None:
        self.client, self.domain, self.number, self.nonce = client, domain, number, 0

    async def send(self, tx: Signed):
        receipt = await self.client.submit(signed(tx, self.number, self.nonce, self.domain))
        self.nonce += 1
        return receipt

    async def balance(self) -> int:
        view = await self.client.account(owner(self.number))
        assert view is not None
        return view.balance_nano


async def test_money_goes_in_through_a_channel_and_out_again_to_the_last_nano(devnet):
    async with RollupClient(devnet.ready.l2_url) as client:
        buyer_index = await funded(client, 1)
        seller_index = (await client.create_account(owner(2))).index
        domain = await client.domain()
        buyer, seller = Person(client, domain, 1), Person(client, domain, 2)
        start_nano = await buyer.balance()
        expiry_s = (await client.info()).l2_time_s + 3_600
        opening = OpenChannel(buyer_index, seller_index, owner(VOUCHER_KEY), 10**9, expiry_s, FEE)
        channel = (await buyer.send(opening)).allocated_index
        await buyer.send(TopUp(channel, 5 * 10**8, FEE))
        await client.submit(signed_once(Redeem(channel, 123_456_789), VOUCHER_KEY, domain))
        await client.submit(signed_once(Redeem(channel, 1_200_000_000), VOUCHER_KEY, domain))
        closed = await client.submit(signed_once(CloseTogether(channel, 1_200_000_000), 2, domain))
        assert await client.channel(channel) is None
        assert await seller.balance() == 1_200_000_000
        assert await buyer.balance() == start_nano - 1_200_000_000 - 2 * FEE
        await client.wait_for(closed.l2_tx, Inclusion.BATCHED, timeout_s=PATIENCE_S)

        withdrawal = await seller.send(Withdraw(seller_index, 1_200_000_000 - FEE, FEE, owner(2)))
        assert await seller.balance() == 0
        await client.flush()
        await devnet.l1.advance_time(60)
        await client.wait_for(withdrawal.l2_tx, Inclusion.FINAL, timeout_s=PATIENCE_S)
        async with asyncio.timeout(PATIENCE_S):
            while not (await client.withdrawals_of(owner(2)))[0].claim_l1_tx:
                await asyncio.sleep(0.05)
        proof = await client.proof("withdrawal", withdrawal.allocated_index)
        assert await devnet.rollup.is_claimed(proof.index)
        # The faucet gave nothing to the seller, so all it has on L1 is what was claimed for it.
        assert await l1_balance(client, owner(2)) == 1_200_000_000 - FEE
        await assert_l1_agrees(devnet)


async def test_a_payer_alone_gets_the_rest_back_after_the_delay(devnet):
    async with RollupClient(devnet.ready.l2_url) as client:
        buyer_index = await funded(client, 1)
        seller_index = (await client.create_account(owner(2))).index
        buyer = Person(client, await client.domain(), 1)
        expiry_s = (await client.info()).l2_time_s + 3_600
        opening = OpenChannel(buyer_index, seller_index, owner(VOUCHER_KEY), 10**9, expiry_s, FEE)
        channel = (await buyer.send(opening)).allocated_index
        before = await buyer.balance()
        info = await client.info()
        earliest_s = info.l2_time_s + info.params.close_delay_s
        await buyer.send(StartClose(channel))
        view = await client.channel(channel)
        assert earliest_s <= view.closing_at_s <= (await client.info()).l2_time_s + info.params.close_delay_s
        await client.flush()
        await devnet.l1.advance_time(info.params.close_delay_s)
        async with asyncio.timeout(PATIENCE_S):
            while (await client.info()).l2_time_s < view.closing_at_s:
                await asyncio.sleep(0.02)
        await client.submit(Expire(channel).encode())
        assert await buyer.balance() == before + 10**9
        await client.flush()
        await assert_l1_agrees(devnet)


async def test_many_at_once_end_in_the_state_that_l1_replays_to(devnet):
    async with RollupClient(devnet.ready.l2_url) as client:
        sender = await funded(client, 1)
        receiver = (await client.create_account(owner(2))).index
        domain = await client.domain()
        raws = [signed(Transfer(sender, receiver, 1, FEE), 1, nonce, domain) for nonce in range(100)]
        await asyncio.gather(*map(client.submit, raws))
        await client.flush()
        assert (await client.account(owner(2))).balance_nano == 100
        await assert_l1_agrees(devnet)


async def test_the_same_home_goes_on_where_it_stopped(tmp_path):
    config = SequencerConfig(batch_interval_s=60, poll_s=0.05)
    async with (
        Devnet(tmp_path / "net", config=DevnetConfig(sequencer=config)) as devnet,
        RollupClient(devnet.ready.l2_url) as client,
    ):
        sender = await funded(client, 1)
        info = await client.info()
        receipt = await client.submit(signed(Transfer(sender, sender, 1, FEE), 1, 0, await client.domain()))
    async with (
        Devnet(tmp_path / "net", config=DevnetConfig(sequencer=config)) as devnet,
        RollupClient(devnet.ready.l2_url) as client,
    ):
        assert (await client.info()).deployment == info.deployment
        assert (await client.transaction(receipt.l2_tx)).inclusion is Inclusion.SOFT
        await client.flush()
        assert (await client.transaction(receipt.l2_tx)).inclusion is Inclusion.BATCHED
        await assert_l1_agrees(devnet)


async def l1_balance(client: RollupClient, address: bytes) -> int:
    info = await client.info()
    bridge = Bridge(
        info.l1_rpc_url,
        inbox_address=parse_address(info.inbox_address),
        asset_address=parse_address(info.asset_address),
    )
    try:
        return await bridge.asset_balance_nano(address)
    finally:
        await bridge.aclose()


async def assert_l1_agrees(devnet: Devnet) -> None:
    """A reader with no key, and nothing but L1, comes to the sequencer's state."""
    reader = JsonRpcRollupL1(devnet.l1.url, await devnet.rollup.deployment())
    try:
        state = await rebuild_state(reader)
        assert state.root() == devnet.sequencer.head.state.root()
        posted = [verified.posted.batch_id async for verified in replay_l1(reader)]
        assert posted == list(range(await reader.batch_count()))
    finally:
        await reader.aclose()
