import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from msgspec.structs import replace

from chain.client import RollupClient
from chain.devnet import Devnet, DevnetConfig, DevnetParams
from chain.errors import ChainRejectedError, ChainUnavailableError
from chain.money import NANO_PER_USD
from chain.sequencer import SequencerConfig
from chain.signing import flip_parity
from chain.views import Inclusion
from tests.patience import PATIENCE_S
from tests.wallet.moves import claimed, timeline_of, transfer
from tests.wallet.network import Proxy, fresh_account
from wallet.service import WalletService
from wallet.vouchers import sign_voucher
from wallet.wallet_error import WalletError

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOUR_S = 3_600
GRANT_NANO = 10 * NANO_PER_USD


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def devnet(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Devnet]:
    home = tmp_path_factory.mktemp("devnet") / "net"
    quick = SequencerConfig(batch_interval_s=0.1, poll_s=0.05)
    params = DevnetParams.with_window(2)
    async with Devnet(home, params=params, config=DevnetConfig(sequencer=quick)) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def client(devnet: Devnet) -> AsyncIterator[RollupClient]:
    async with RollupClient(devnet.ready.l2_url) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def proxy(devnet: Devnet) -> AsyncIterator[Proxy]:
    async with Proxy(devnet.ready.l2_url) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def proxied(proxy: Proxy) -> AsyncIterator[RollupClient]:
    async with RollupClient(proxy.url) as opened:
        yield opened


async def funded(client: RollupClient) -> WalletService:
    wallet = WalletService(fresh_account(), client)
    await wallet.faucet()
    return wallet


async def fee_nano(wallet: WalletService) -> int:
    return (await wallet.info()).params.min_fee_nano


def in_an_hour_s() -> int:
    return int(time.time()) + HOUR_S


async def signer_of(buyer: WalletService) -> bytes:
    """The voucher address of the buyer's channel."""
    return buyer.account.voucher_key_at((await buyer.info()).deployment, 0).address


async def open_channel(buyer: WalletService, seller: WalletService, deposit_nano: int = NANO_PER_USD) -> int:
    key = buyer.account.voucher_key_at((await buyer.info()).deployment, 0)
    channel_id, receipt = await buyer.open_channel(seller.address, deposit_nano, key.address, in_an_hour_s())
    assert receipt.allocated_index == channel_id
    return channel_id


async def voucher_of(buyer: WalletService, channel_id: int, cumulative_nano: int) -> Any:
    info = await buyer.info()
    return sign_voucher(
        buyer.account.voucher_key_at(info.deployment, 0), await buyer.domain(), channel_id, cumulative_nano
    )


async def test_money_goes_from_the_faucet_through_a_channel_to_l1_to_the_last_nano(client: RollupClient) -> None:
    buyer, seller = await funded(client), WalletService(fresh_account(), client)
    fee = await fee_nano(buyer)
    assert await buyer.balance() == GRANT_NANO
    assert await seller.balance() == 0
    channel_id = await open_channel(buyer, seller)
    assert await buyer.balance() == GRANT_NANO - NANO_PER_USD - fee

    await buyer.top_up(channel_id, await signer_of(buyer), 5)
    voucher = await voucher_of(buyer, channel_id, 123_456_789)
    before = await timeline_of(seller, client, vouchers_nano={channel_id: 123_456_789})
    assert before.amount_nano("claimable") == 123_456_789
    with pytest.raises(WalletError) as caught:
        await seller.redeem(replace(voucher, signature=b"\1" * 64))
    assert caught.value.code == "bad_voucher"
    # Whatever parity bit the payer sent: it is redeemed with the right one.
    await seller.redeem(replace(voucher, signature=flip_parity(voucher.signature)))
    assert await seller.balance() == 123_456_789
    with pytest.raises(WalletError) as caught:
        await seller.redeem(voucher)
    assert caught.value.code == "nothing_to_redeem"

    agreement = await seller.sign_close(channel_id, await signer_of(buyer), 123_456_789)
    await buyer.close_together(channel_id, 123_456_789, agreement)
    assert await buyer.balance() == GRANT_NANO - 123_456_789 - 2 * fee

    receipt = await seller.withdraw(None)
    moving = await timeline_of(seller, client)
    assert (moving.amount_nano("withdrawing"), moving.amount_nano("wallet")) == (123_456_789 - fee, 0)
    assert [entry.l2_tx for entry in moving.entries if entry.place == "withdrawing"] == [receipt.l2_tx]
    assert (await claimed(client, seller.address, receipt.l2_tx)).inclusion is Inclusion.FINAL
    done = await timeline_of(seller, client)
    assert (done.amount_nano("l1"), done.total_nano) == (123_456_789 - fee, 123_456_789 - fee)


async def test_a_withdrawal_may_go_to_another_address(client: RollupClient) -> None:
    wallet, elsewhere = await funded(client), fresh_account().address
    receipt = await wallet.withdraw(NANO_PER_USD, elsewhere)
    view = await claimed(client, elsewhere, receipt.l2_tx)
    assert (view.amount_nano, view.withdrawal_index) == (NANO_PER_USD, receipt.allocated_index)
    assert (await timeline_of(wallet, client)).amount_nano("withdrawing") == 0


async def test_a_deposit_from_l1_arrives_on_l2(client: RollupClient) -> None:
    wallet = await funded(client)
    l1_tx = await wallet.deposit(7 * NANO_PER_USD, credit_timeout_s=PATIENCE_S)
    assert l1_tx.startswith("0x")
    assert await wallet.balance() == GRANT_NANO + 7 * NANO_PER_USD
    again = await wallet.deposit(1)
    assert again != l1_tx


async def test_a_deposit_without_money_on_l1_is_refused(client: RollupClient) -> None:
    with pytest.raises(ChainRejectedError) as caught:
        await WalletService(fresh_account(), client).deposit(1)
    assert caught.value.code == "insufficient_funds"


async def test_a_payer_alone_gets_the_rest_back_after_the_delay(devnet: Devnet, client: RollupClient) -> None:
    buyer, seller = await funded(client), WalletService(fresh_account(), client)
    channel_id = await open_channel(buyer, seller)
    with pytest.raises(WalletError) as caught:
        await buyer.expire(channel_id)
    assert caught.value.code == "too_early"
    await buyer.start_close(channel_id, await signer_of(buyer))
    with pytest.raises(WalletError, match="closing already"):
        await buyer.start_close(channel_id, await signer_of(buyer))
    (channel,) = await client.channels_of(buyer.address)
    timeline = await timeline_of(buyer, client, signed_nano={channel_id: 400})
    (entry,) = [entry for entry in timeline.entries if entry.place == "channel"]
    assert (entry.ready_at_s, entry.amount_nano) == (channel.closing_at_s, NANO_PER_USD - 400)

    await devnet.l1.advance_time((await client.info()).params.close_delay_s)
    async with asyncio.timeout(PATIENCE_S):
        while await client.channels_of(buyer.address):
            try:
                await buyer.expire(channel_id)
            except (WalletError, ChainRejectedError) as error:
                assert error.code == "too_early"  # noqa: PT017 - retried until the chain's clock has passed the delay
                # L2 time is L1 time, and the devnet's L1 makes a block for each transaction.
                await transfer(buyer, client, seller.address, 1)
    assert await buyer.balance() > GRANT_NANO - NANO_PER_USD // 2


async def test_transactions_sent_at_once_take_their_nonces_in_turn(client: RollupClient) -> None:
    wallet = await funded(client)
    await asyncio.gather(*(wallet.withdraw(10_000) for _ in range(8)))
    assert await wallet.balance() == GRANT_NANO - 8 * (10_000 + await fee_nano(wallet))


async def test_two_programs_may_sign_with_one_wallet(client: RollupClient) -> None:
    wallet = await funded(client)
    rival = WalletService(wallet.account, client)
    await asyncio.gather(wallet.withdraw(10_000), rival.withdraw(11_000))
    assert await wallet.balance() == GRANT_NANO - 21_000 - 2 * await fee_nano(wallet)


async def test_without_money_the_wallet_says_how_much_is_missing_and_where_to_get_it(client: RollupClient) -> None:
    poor, other = WalletService(fresh_account(), client), fresh_account().address
    for attempt in (
        poor.withdraw(NANO_PER_USD),
        poor.withdraw(None),
        poor.open_channel(other, NANO_PER_USD, other, in_an_hour_s()),
    ):
        with pytest.raises(WalletError) as caught:
            await attempt
        assert caught.value.code == "no_funds"
        assert "$0.00" in caught.value.message
        assert "faucet" in caught.value.fix
    rich = await funded(client)
    with pytest.raises(WalletError, match=r"holds \$10\.00 and this needs \$10\.000001, \$0\.000001 more"):
        await rich.withdraw(GRANT_NANO)


async def test_amounts_and_addresses_that_make_no_sense_are_refused_before_signing(client: RollupClient) -> None:
    wallet, other = WalletService(fresh_account(), client), fresh_account().address
    for amount_nano in (0, -1, 2**64):
        for attempt in (
            wallet.withdraw(amount_nano),
            wallet.deposit(amount_nano),
            wallet.top_up(1, bytes(20), amount_nano),
            wallet.open_channel(other, amount_nano, other, in_an_hour_s()),
        ):
            with pytest.raises(WalletError) as caught:
                await attempt
            assert caught.value.code == "bad_amount"
    for address in (b"", b"short", bytes(20)):
        with pytest.raises(WalletError) as caught:
            await wallet.withdraw(1, address)
        assert caught.value.code == "bad_address"
    for expiry_s in (0, 2**64):
        with pytest.raises(WalletError) as caught:
            await wallet.open_channel(other, 1, other, expiry_s)
        assert caught.value.code == "bad_channel"


async def test_channels_of_others_and_closed_ones_are_told_apart(client: RollupClient) -> None:
    buyer, seller = await funded(client), WalletService(fresh_account(), client)
    channel_id = await open_channel(buyer, seller)
    with pytest.raises(WalletError, match="paid by another wallet"):
        await seller.start_close(channel_id, await signer_of(buyer))
    with pytest.raises(WalletError, match="another amount"):
        await buyer.close_together(channel_id, 5, await seller.sign_close(channel_id, await signer_of(buyer), 5))
    await buyer.close_together(channel_id, 0, await seller.sign_close(channel_id, await signer_of(buyer), 0))
    voucher = await voucher_of(buyer, channel_id, 5)
    for attempt in (
        seller.redeem(voucher),
        buyer.expire(channel_id),
        buyer.start_close(channel_id, await signer_of(buyer)),
    ):
        with pytest.raises(WalletError, match="closed, or never was"):
            await attempt


async def test_a_channel_of_another_voucher_key_is_not_taken_for_the_one_that_was_written_down(
    client: RollupClient,
) -> None:
    buyer, seller = await funded(client), WalletService(fresh_account(), client)
    channel_id = await open_channel(buyer, seller)
    before_nano = await buyer.balance()
    for attempt in (buyer.top_up(channel_id, b"k" * 20, 5), buyer.start_close(channel_id, b"k" * 20)):
        with pytest.raises(WalletError, match="another channel") as caught:
            await attempt
        assert caught.value.code == "bad_channel"
    assert await buyer.balance() == before_nano
    signature = await seller.sign_close(channel_id, b"k" * 20, 0)
    with pytest.raises(ChainRejectedError) as refused:
        await buyer.close_together(channel_id, 0, signature)
    assert refused.value.code == "bad_signature"


async def test_a_chain_that_names_another_account_as_the_payee_moves_no_money(
    client: RollupClient, proxy: Proxy, proxied: RollupClient
) -> None:
    payer, thief, payee = await funded(client), fresh_account().address, fresh_account().address
    number, before_nano = (await client.create_account(thief)).index, await payer.balance()

    def lie(method: str, answer: dict[str, Any]) -> dict[str, Any]:
        view = answer.get("result")
        if (
            method in ("rollup_account", "rollup_createAccount")
            and view
            and view["address"] != payer.account.address_hex
        ):
            view["index"] = number
        return answer

    proxy.rewrite = lie
    misled = WalletService(payer.account, proxied)
    for attempt in (
        transfer(misled, proxied, payee, 5),
        misled.open_channel(payee, 50, b"k" * 20, in_an_hour_s()),
    ):
        with pytest.raises(WalletError) as caught:
            await attempt
        assert caught.value.code == "foreign_chain"
    assert await payer.balance() == before_nano
    robbed = await client.account(thief)
    assert robbed is not None
    assert robbed.balance_nano == 0
    assert await client.channels_of(thief) == []


async def test_a_wallet_notices_another_chain(client: RollupClient, proxy: Proxy, proxied: RollupClient) -> None:
    stranger = WalletService(fresh_account(), client, expected_deployment="0x" + "00" * 32)
    with pytest.raises(WalletError) as caught:
        await stranger.balance()
    assert caught.value.code == "foreign_chain"

    wallet = WalletService(fresh_account(), proxied)
    assert await wallet.balance() == 0
    proxy.rewrite = told("rollup_info", lambda result: result | {"deployment": "0x" + "11" * 32})
    with pytest.raises(WalletError) as caught:
        await wallet.withdraw(1)
    assert caught.value.code == "foreign_chain"


async def test_a_lost_answer_never_pays_twice(client: RollupClient, proxy: Proxy, proxied: RollupClient) -> None:
    payer = await funded(client)
    wallet = WalletService(payer.account, proxied)
    losses = iter([True, True])

    def lose_two(method: str, answer: dict[str, Any]) -> dict[str, Any] | None:
        return None if method == "rollup_submit" and next(losses, False) else answer

    proxy.rewrite = lose_two
    await wallet.withdraw(77_000)
    assert [view.amount_nano for view in await client.withdrawals_of(payer.address)] == [77_000]
    assert await payer.balance() == GRANT_NANO - 77_000 - await fee_nano(payer)


async def test_a_chain_that_stops_answering_leaves_the_transaction_to_look_for(
    client: RollupClient, proxy: Proxy, proxied: RollupClient
) -> None:
    payer = await funded(client)
    wallet = WalletService(payer.account, proxied)
    proxy.rewrite = lambda method, answer: None if method == "rollup_submit" else answer
    with pytest.raises(WalletError) as caught:
        await wallet.withdraw(5_000)
    assert caught.value.code == "unconfirmed"
    l2_tx = caught.value.fix.split()[-1].rstrip(".")
    assert (await client.transaction(l2_tx)).kind == "withdraw"


async def test_an_opening_whose_answer_was_lost_is_found_by_its_voucher_key(
    client: RollupClient, proxy: Proxy, proxied: RollupClient
) -> None:
    payer, seller = await funded(client), fresh_account().address
    wallet = WalletService(payer.account, proxied)
    key = payer.account.voucher_key_at((await payer.info()).deployment, 4)
    proxy.rewrite = lambda method, answer: None if method == "rollup_submit" else answer
    with pytest.raises(WalletError):
        await wallet.open_channel(seller, 50, key.address, in_an_hour_s())
    (channel,) = await client.channels_of(payer.address)
    assert channel.signer == key.address_hex


async def test_a_chain_that_hides_the_channel_it_took_is_not_believed(
    client: RollupClient, proxy: Proxy, proxied: RollupClient
) -> None:
    wallet = WalletService((await funded(client)).account, proxied)
    proxy.rewrite = told("rollup_channel", lambda _: None)
    with pytest.raises(WalletError) as caught:
        await wallet.open_channel(fresh_account().address, 50, b"k" * 20, in_an_hour_s())
    assert caught.value.code == "unconfirmed"


async def test_a_chain_that_refuses_a_right_signature_is_not_signed_for_again(
    client: RollupClient, proxy: Proxy, proxied: RollupClient
) -> None:
    payer = await funded(client)
    submitted: list[str] = []

    def refuse(method: str, answer: dict[str, Any]) -> dict[str, Any]:
        if method != "rollup_submit":
            return answer
        submitted.append(method)
        error = {"code": -32000, "message": "no", "data": {"code": "bad_signature"}}
        return {"jsonrpc": "2.0", "id": answer["id"], "error": error}

    proxy.rewrite = refuse
    proxy.forwards = lambda method: method != "rollup_submit"
    with pytest.raises(WalletError) as caught:
        await WalletService(payer.account, proxied).withdraw(5_000)
    assert caught.value.code == "foreign_chain"
    assert len(submitted) == 1


async def test_other_refusals_travel_on_with_their_code(
    proxy: Proxy, proxied: RollupClient, client: RollupClient
) -> None:
    payer = await funded(client)
    proxy.forwards = lambda method: method != "rollup_submit"

    def refuse(method: str, answer: dict[str, Any]) -> dict[str, Any]:
        error = {"code": -32000, "message": "too many", "data": {"code": "busy"}}
        return {"jsonrpc": "2.0", "id": answer["id"], "error": error} if method == "rollup_submit" else answer

    proxy.rewrite = refuse
    with pytest.raises(ChainRejectedError) as caught:
        await WalletService(payer.account, proxied).withdraw(5_000)
    assert caught.value.code == "busy"


@pytest.mark.parametrize("fee", [2**32 - 1, 2**40])
async def test_an_absurd_fee_is_not_paid(proxy: Proxy, proxied: RollupClient, fee: int) -> None:
    proxy.rewrite = told("rollup_info", lambda result: result | {"fees": result["fees"] | {"withdraw_nano": str(fee)}})
    with pytest.raises(WalletError) as caught:
        await WalletService(fresh_account(), proxied).withdraw(5_000)
    assert caught.value.code == "absurd_fee"


async def test_a_fee_of_four_dollars_is_paid_only_where_a_person_allows_it(
    client: RollupClient, proxy: Proxy, proxied: RollupClient
) -> None:
    payer = await funded(client)
    wallet = WalletService(payer.account, proxied)
    dear_nano = 4 * NANO_PER_USD
    proxy.rewrite = told(
        "rollup_info", lambda result: result | {"fees": result["fees"] | {"withdraw_nano": str(dear_nano)}}
    )
    with pytest.raises(WalletError, match="more than the limit") as caught:
        await wallet.withdraw(NANO_PER_USD)
    assert (caught.value.code, "--max-fee" in caught.value.fix) == ("absurd_fee", True)
    assert await payer.balance() == GRANT_NANO
    receipt = await wallet.withdraw(NANO_PER_USD, max_fee_nano=dear_nano)
    assert receipt.fee_nano == dear_nano
    assert await payer.balance() == GRANT_NANO - NANO_PER_USD - dear_nano


async def test_a_fee_that_rose_since_it_was_asked_is_paid_within_the_limit_and_not_beyond(
    client: RollupClient, proxy: Proxy, proxied: RollupClient
) -> None:
    payer = await funded(client)
    wallet = WalletService(payer.account, proxied)
    proxy.rewrite = told("rollup_info", lambda result: result | {"fees": result["fees"] | {"withdraw_nano": "999"}})
    assert (await wallet.withdraw(NANO_PER_USD)).fee_nano == 1_000
    with pytest.raises(WalletError, match="more than the limit"):
        await wallet.withdraw(NANO_PER_USD, max_fee_nano=999)
    assert await payer.balance() == GRANT_NANO - NANO_PER_USD - 1_000


async def test_a_chain_without_a_faucet_says_so(proxy: Proxy, proxied: RollupClient) -> None:
    proxy.rewrite = told("rollup_info", lambda result: result | {"has_faucet": False})
    wallet = WalletService(fresh_account(), proxied)
    with pytest.raises(WalletError) as caught:
        await wallet.faucet()
    assert caught.value.code == "no_faucet"
    with pytest.raises(WalletError) as caught:
        await wallet.withdraw(5_000)
    assert "deposit" in caught.value.fix


async def test_waiting_ends_at_its_deadline(proxy: Proxy, proxied: RollupClient) -> None:
    wallet = WalletService(fresh_account(), proxied)
    proxy.rewrite = told("rollup_accountsOf", lambda _: [])
    with pytest.raises(ChainUnavailableError) as caught:
        await wallet.faucet(timeout_s=0.3)
    assert caught.value.code == "not_included"


def told(wanted: str, change: Any) -> Any:
    """A rewrite of one method's results."""

    def rewrite(method: str, answer: dict[str, Any]) -> dict[str, Any]:
        return answer | {"result": change(answer["result"])} if method == wanted else answer

    return rewrite
