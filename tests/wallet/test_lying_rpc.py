"""A sequencer's RPC that lies, before a real sequencer on a real L1: the wallet notices each lie, and says who lied."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from chain.client import RollupClient
from chain.errors import IdlewattError
from chain.l1.roots import RootsL1
from chain.signing import checksum_address
from chain.views import ChannelView
from tests.wallet.keys import voucher_key
from tests.wallet.network import Proxy
from tests.wallet.world import World
from wallet.l1 import open_roots
from wallet.service import WalletService
from wallet.trust import Trust
from wallet.verifier import StateVerifier, check_deployment
from wallet.wallet_error import WalletError

USD = 10**9
Change = Callable[[Any], Any]


class Place:
    """A world with money, channels and withdrawals in a batch, and a proxy that may lie about all of it."""

    def __init__(self, world: World, proxy: Proxy, client: RollupClient, roots: RootsL1) -> None:
        self.world, self.proxy, self.client, self.roots = world, proxy, client, roots
        self.verifier = StateVerifier(client, roots)
        self.payer, self.provider = world.people[0].address, world.people[1].address
        self.channel = 1

    def lie(self, **changes: Change) -> None:
        """From now on change the results of these methods."""

        def rewrite(method: str, answer: dict[str, Any]) -> dict[str, Any]:
            change = changes.get(method)
            return {**answer, "result": change(answer["result"])} if change and "result" in answer else answer

        self.proxy.rewrite = rewrite

    async def make_up(self, channel_id: int) -> ChannelView:
        """From now on show a channel that nobody opened, as if it were final."""
        self.lie()
        real = await self.client._call("rollup_channel", self.channel)
        self.lie(rollup_channel=lambda _: {**real, "channel_id": channel_id, "open_inclusion": "final"})
        made_up = await self.client.channel(channel_id)
        assert made_up is not None
        return made_up


@asynccontextmanager
async def place_in(folder: Path) -> AsyncIterator[Place]:
    async with World(folder) as world:
        payer = await world.funded(0, 20 * USD)
        await world.funded(1, 5 * USD)
        expiry_s = (await payer.info()).l2_time_s + 100_000
        await payer.open_channel(world.people[1].address, 2 * USD, voucher_key().address, expiry_s)
        await payer.withdraw(1 * USD)
        await world.client.flush()
        async with Proxy(world.client.url) as proxy, RollupClient(proxy.url) as client:
            roots = await open_roots(world.l1.url, await client.info())
            try:
                yield Place(world, proxy, client, roots)
            finally:
                await roots.aclose()


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with place_in(tmp_path) as place:
        yield place


def each(**fields: Any) -> Change:
    return lambda rows: [{**row, **fields} for row in rows]


def one(**fields: Any) -> Change:
    return lambda row: {**row, **fields}


async def refused(check: Any, what: str) -> WalletError:
    with pytest.raises(WalletError, match=what) as caught:
        await check
    assert caught.value.code == "contradicted"
    assert "force-withdraw" in caught.value.fix
    return caught.value


ACCOUNT_LIES = [
    ({"balance_nano": "0"}, "holds more on L1"),
    ({"balance_nano": "1", "nonce": 0}, "has sent more"),
    ({"index": 2}, "another owner's"),
]
CHANNEL_LIES = [
    ({"payee": "0x" + "11" * 20}, "another payee"),
    ({"payer": "0x" + "11" * 20}, "another payer"),
    ({"signer": "0x" + "11" * 20}, "another voucher key"),
    ({"deposit_nano": "1000"}, "further on L1"),
    ({"expiry_s": 2_000_000_000}, "another expiry"),
]
FORGED_PROOFS = [
    {"siblings": ["0x" + "00" * 32] * 32},
    {"leaf": "0x"},
    {"index": 2},
    {"state_root": "0x" + "11" * 32},
    {"batch_id": 0},
]
OTHER_DEPLOYMENTS = [
    {"l1_chain_id": 1},
    {"inbox_address": checksum_address(b"\x11" * 20)},
    {"asset_address": checksum_address(b"\x11" * 20)},
    {"deployment_salt": "0x" + "11" * 32},
    {"nano_per_unit": 1_000},
]


async def test_what_a_batch_holds_is_proven_and_what_came_after_is_soft(place: Place) -> None:
    [(account, judgement)] = await place.verifier.accounts(place.payer)
    found = await place.verifier.channel(place.channel)
    [withdrawal] = await place.client.withdrawals_of(place.payer)

    assert (judgement.trust, judgement.proven_nano) == (Trust.PROVEN, account.balance_nano)
    assert found is not None
    assert (found[1].trust, found[1].proven_nano) == (Trust.PROVEN, 2 * USD)
    assert (await place.verifier.withdrawal(withdrawal)).trust is Trust.PROVEN
    assert (await place.verifier.payee(account.index, place.payer)).trust is Trust.PROVEN

    place.lie(rollup_accountsOf=each(nonce=account.nonce + 1, balance_nano="7"))
    [(_, judgement)] = await place.verifier.accounts(place.payer)
    assert (judgement.trust, judgement.proven_nano) == (Trust.SOFT, 7)

    place.proxy.rewrite = lambda method, answer: (
        {"jsonrpc": "2.0", "id": answer["id"], "error": {"code": -32000, "message": "no"}}
        if method == "rollup_proof"
        else answer
    )
    [(_, judgement)] = await place.verifier.accounts(place.payer)
    assert judgement.trust is Trust.SOFT


async def test_each_lie_about_an_account_stops_the_wallet(place: Place) -> None:
    [(account, _)] = await place.verifier.accounts(place.payer)
    for lie, what in ACCOUNT_LIES:
        place.lie(rollup_accountsOf=each(**lie))
        error = await refused(place.verifier.accounts(place.payer), what)
        assert place.proxy.url.rstrip("/") in error.message

    place.lie(rollup_accountsOf=lambda _: [])
    await refused(place.verifier.accounts(place.payer, [account.index]), "keeps quiet")


async def test_each_lie_about_a_channel_or_a_withdrawal_is_noticed(place: Place) -> None:
    for lie, what in CHANNEL_LIES:
        place.lie(rollup_channel=one(**lie))
        await refused(place.verifier.channel(place.channel), what)
    place.lie(rollup_withdrawalsOf=each(amount_nano=str(9 * USD)))
    [withdrawal] = await place.client.withdrawals_of(place.payer)
    await refused(place.verifier.withdrawal(withdrawal), "another amount")

    place.lie(rollup_channel=one(deposit_nano=str(50 * USD)))
    found = await place.verifier.channel(place.channel)
    assert found is not None
    assert (found[1].trust, found[1].proven_nano) == (Trust.SOFT, 2 * USD)

    await place.make_up(77)
    found = await place.verifier.channel(77)
    assert found is not None
    assert (found[1].trust, found[1].proven_nano) == (Trust.SOFT, 0)


async def test_a_wallet_opens_a_channel_to_a_proven_number_alone(place: Place) -> None:
    async def find() -> StateVerifier:
        return place.verifier

    wallet = WalletService(place.world.people[0], place.client, verifier=find)
    [mine] = await place.client.accounts_of(place.payer)
    expiry_s = (await wallet.info()).l2_time_s + 100_000
    place.lie(rollup_account=lambda row: row and {**row, "index": mine.index})
    await refused(wallet.open_channel(place.provider, USD, voucher_key(5).address, expiry_s), "somebody else's")

    place.lie()
    channel, _ = await wallet.open_channel(place.provider, USD, voucher_key(5).address, expiry_s)
    assert channel == 2


async def test_forged_and_old_proofs_prove_nothing(place: Place) -> None:
    for lie in FORGED_PROOFS:
        place.lie(rollup_proof=one(**lie))
        await refused(place.verifier.accounts(place.payer), "proves nothing")

    place.lie()
    old = await place.client._call("rollup_proof", "account", 1, await newest(place))
    await place.world.wallet(0).withdraw(USD)
    await place.world.client.flush()
    place.lie(rollup_proof=lambda _: old)
    await refused(place.verifier.accounts(place.payer), "proves nothing")
    now = await newest(place)
    place.lie(rollup_proof=lambda _: {**old, "batch_id": now})
    await refused(place.verifier.accounts(place.payer), "another state")


async def test_another_rollup_than_l1_has_is_noticed(place: Place) -> None:
    for lie in OTHER_DEPLOYMENTS:
        place.lie(rollup_info=one(**lie))
        info = await place.client.info()
        with pytest.raises(WalletError, match="another one on L1") as caught:
            check_deployment(place.proxy.url, info, await place.roots.deployment())
        assert caught.value.code == "contradicted"

    place.lie(rollup_info=one(rollup_address=checksum_address(b"\x11" * 20)))
    with pytest.raises(IdlewattError) as refusal:
        await open_roots(place.world.l1.url, await place.client.info())
    assert refusal.value.code == "foreign_chain"


async def newest(place: Place) -> int:
    root = await place.roots.newest_root()
    assert root is not None
    return root.batch_id
