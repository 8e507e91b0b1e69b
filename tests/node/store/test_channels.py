from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node.store import BuyerChannel, ChannelState, Store, StoreError
from wallet.vouchers import Voucher

DEPLOYMENT = "0x" + "ab" * 32
PROVIDER, BUYER = b"p" * 20, b"b" * 20
SIGNATURE = b"s" * 64
CALLS = ("sign", "accept", "charge", "redeem", "deposit")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with await Store.open(tmp_path / "node.db") as opened:
        assert await opened.bind_deployment(DEPLOYMENT)
        yield opened


async def open_buyer_channel(
    store: Store, channel_id: int = 1, *, deposit_nano: int = 1_000, at_ms: int = 1
) -> BuyerChannel:
    signer = channel_id.to_bytes(20, "big")
    await store.record_opening(
        provider=PROVIDER,
        signer=signer,
        salt=channel_id.to_bytes(8, "big"),
        deposit_nano=deposit_nano,
        expiry_s=2_000,
        opened_at_ms=at_ms,
    )
    return await store.confirm_opening(signer, channel_id)


async def open_provider_channel(store: Store, channel_id: int = 1, *, deposit_nano: int = 1_000) -> None:
    await store.record_provider_channel(
        channel_id=channel_id, payer=BUYER, signer=b"k" * 20, deposit_nano=deposit_nano, expiry_s=2_000, opened_at_ms=1
    )


def code_of(error: pytest.ExceptionInfo[StoreError]) -> str:
    return error.value.code


async def test_an_opening_is_known_before_the_chain_has_numbered_it(store: Store) -> None:
    written = await store.record_opening(
        provider=PROVIDER, signer=b"k" * 20, salt=b"salt", deposit_nano=5, expiry_s=2**64 - 1, opened_at_ms=1
    )
    assert written.channel_id is None
    assert written.state is ChannelState.OPENING
    assert await store.buyer_channels(live_only=True) == [written]
    assert await store.buyer_channel(1) is None
    confirmed = await store.confirm_opening(b"k" * 20, 9, deposit_nano=6, expiry_s=2**64 - 1)
    assert (confirmed.channel_id, confirmed.state, confirmed.deposit_nano) == (9, ChannelState.OPEN, 6)
    assert await store.confirm_opening(b"k" * 20, 9) == confirmed
    assert await store.buyer_channel(9) == confirmed


async def test_a_voucher_key_serves_one_channel(store: Store) -> None:
    channel = await open_buyer_channel(store)
    with pytest.raises(StoreError) as caught:
        await store.record_opening(
            provider=PROVIDER, signer=channel.signer, salt=b"", deposit_nano=5, expiry_s=1, opened_at_ms=1
        )
    assert code_of(caught) == "signer_in_use"
    with pytest.raises(StoreError) as caught:
        await store.confirm_opening(channel.signer, 2)
    assert code_of(caught) == "bad_record"
    with pytest.raises(StoreError) as caught:
        await store.confirm_opening(b"?" * 20, 2)
    assert code_of(caught) == "unknown_channel"


async def test_a_refused_opening_is_given_up_unless_the_chain_has_it_after_all(store: Store) -> None:
    await store.record_opening(
        provider=PROVIDER, signer=b"k" * 20, salt=b"", deposit_nano=5, expiry_s=1, opened_at_ms=1
    )
    await store.abandon_opening(b"k" * 20)
    assert await store.buyer_channels(live_only=True) == []
    assert [channel.state for channel in await store.buyer_channels()] == [ChannelState.ABANDONED]
    assert (await store.confirm_opening(b"k" * 20, 4)).state is ChannelState.OPEN
    await store.abandon_opening(b"k" * 20)
    assert (await store.buyer_channels())[0].state is ChannelState.OPEN


async def test_what_is_signed_rises_and_never_passes_the_deposit(store: Store) -> None:
    await open_buyer_channel(store)
    assert await store.raise_signed(1, 400)
    assert not await store.raise_signed(1, 400)
    assert not await store.raise_signed(1, 399)
    with pytest.raises(StoreError) as caught:
        await store.raise_signed(1, 1_001)
    assert code_of(caught) == "over_deposit"
    channel = await store.raise_deposit(1, 1_500)
    assert (channel.deposit_nano, channel.signed_nano, channel.unsigned_nano) == (1_500, 400, 1_100)
    assert (await store.raise_deposit(1, 10)).deposit_nano == 1_500
    assert await store.raise_signed(1, 1_500)


async def test_nothing_is_signed_on_a_channel_that_is_closing_or_unknown(store: Store) -> None:
    await open_buyer_channel(store)
    await store.set_buyer_channel_state(1, ChannelState.CLOSING)
    with pytest.raises(StoreError) as caught:
        await store.raise_signed(1, 5)
    assert code_of(caught) == "channel_not_open"
    for attempt in (
        store.raise_signed(2, 5),
        store.raise_deposit(2, 5),
        store.set_buyer_channel_state(2, ChannelState.CLOSED),
    ):
        with pytest.raises(StoreError) as caught:
            await attempt
        assert code_of(caught) == "unknown_channel"


async def test_a_channels_state_only_moves_on(store: Store) -> None:
    await open_buyer_channel(store)
    await open_provider_channel(store)
    for state, expected in [
        (ChannelState.CLOSED, ChannelState.CLOSED),
        (ChannelState.OPEN, ChannelState.CLOSED),
        (ChannelState.CLOSING, ChannelState.CLOSED),
    ]:
        assert (await store.set_buyer_channel_state(1, state)).state is expected
        assert (await store.set_provider_channel_state(1, state)).state is expected


async def test_what_is_left_of_a_channel_falls_with_what_was_signed(store: Store) -> None:
    await open_buyer_channel(store, 1, deposit_nano=100)
    await open_buyer_channel(store, 2, deposit_nano=300)
    await open_buyer_channel(store, 3, deposit_nano=200)
    await store.raise_signed(2, 150)
    left_nano = {channel.channel_id: channel.unsigned_nano for channel in await store.buyer_channels()}
    assert left_nano == {1: 100, 2: 150, 3: 200}


async def test_channels_are_listed_newest_first(store: Store) -> None:
    for channel_id, at_ms in ((1, 10), (2, 30), (3, 20)):
        await open_buyer_channel(store, channel_id, at_ms=at_ms)
    assert [channel.channel_id for channel in await store.buyer_channels()] == [2, 3, 1]


async def test_voucher_key_counters_go_on_after_the_highest(store: Store) -> None:
    assert await store.next_voucher_index() == 0
    await open_buyer_channel(store, 5)
    assert await store.next_voucher_index() == 6


async def test_only_higher_vouchers_replace_lower_ones(store: Store) -> None:
    await open_provider_channel(store)
    assert await store.accept_voucher(Voucher(1, 300, SIGNATURE))
    assert not await store.accept_voucher(Voucher(1, 300, b"x" * 64))
    assert not await store.accept_voucher(Voucher(1, 200, b"x" * 64))
    channel = await store.provider_channel(1)
    assert channel is not None
    assert (channel.voucher_nano, channel.voucher_signature, channel.claimable_nano) == (300, SIGNATURE, 300)
    with pytest.raises(StoreError) as caught:
        await store.accept_voucher(Voucher(1, 1_001, SIGNATURE))
    assert code_of(caught) == "over_deposit"
    with pytest.raises(StoreError) as caught:
        await store.accept_voucher(Voucher(1, 2**64 - 1, SIGNATURE))
    assert code_of(caught) == "bad_record"
    with pytest.raises(StoreError) as caught:
        await store.accept_voucher(Voucher(2, 1, SIGNATURE))
    assert code_of(caught) == "unknown_channel"


async def test_a_closing_channel_still_takes_vouchers_and_a_closed_one_does_not(store: Store) -> None:
    await open_provider_channel(store)
    await store.set_provider_channel_state(1, ChannelState.CLOSING)
    assert await store.accept_voucher(Voucher(1, 1, SIGNATURE))
    await store.set_provider_channel_state(1, ChannelState.CLOSED)
    with pytest.raises(StoreError) as caught:
        await store.accept_voucher(Voucher(1, 2, SIGNATURE))
    assert code_of(caught) == "channel_not_open"


async def test_meeting_a_channel_again_keeps_what_was_paid(store: Store) -> None:
    await open_provider_channel(store)
    await store.accept_voucher(Voucher(1, 300, SIGNATURE))
    await open_provider_channel(store, deposit_nano=2_000)
    await open_provider_channel(store, deposit_nano=500)
    channel = await store.provider_channel(1)
    assert channel is not None
    assert (channel.deposit_nano, channel.voucher_nano) == (2_000, 300)
    with pytest.raises(StoreError) as caught:
        await store.record_provider_channel(
            channel_id=1, payer=b"?" * 20, signer=b"k" * 20, deposit_nano=9, expiry_s=1, opened_at_ms=1
        )
    assert code_of(caught) == "bad_record"
    again = await store.provider_channel(1)
    assert again == channel


async def test_charges_and_redemptions_only_rise(store: Store) -> None:
    await open_provider_channel(store)
    for charged_nano in (70, 60):
        await store.next_receipt_sequence(1, charged_nano)
        channel = await store.provider_channel(1)
        assert channel is not None
        assert channel.charged_nano == 70
    await store.accept_voucher(Voucher(1, 300, SIGNATURE))
    assert [channel.channel_id for channel in await store.provider_channels(claimable_only=True)] == [1]
    assert (await store.record_redeemed(1, 300)).claimable_nano == 0
    assert (await store.record_redeemed(1, 10)).redeemed_nano == 300
    assert await store.provider_channels(claimable_only=True) == []
    assert len(await store.provider_channels(live_only=True)) == 1
    with pytest.raises(StoreError):
        await store.next_receipt_sequence(2, 1)
    with pytest.raises(StoreError):
        await store.next_receipt_sequence(1, -1)


async def test_a_provider_that_lost_its_database_counts_on_from_what_was_redeemed(store: Store) -> None:
    channel = await store.record_provider_channel(
        channel_id=1, payer=BUYER, signer=b"k" * 20, deposit_nano=9, expiry_s=1, opened_at_ms=1, redeemed_nano=4
    )
    assert (channel.charged_nano, channel.redeemed_nano) == (4, 4)


async def test_receipt_numbers_are_given_once(store: Store, tmp_path: Path) -> None:
    await open_provider_channel(store)
    assert [await store.next_receipt_sequence(1) for _ in range(3)] == [0, 1, 2]
    await store.close()
    async with await Store.open(tmp_path / "node.db") as again:
        assert await again.next_receipt_sequence(1) == 3
        with pytest.raises(StoreError):
            await again.next_receipt_sequence(2)


async def test_numbers_no_database_can_hold_are_refused(store: Store) -> None:
    for attempt in (
        store.record_opening(
            provider=PROVIDER, signer=b"k" * 20, salt=b"", deposit_nano=2**63, expiry_s=1, opened_at_ms=1
        ),
        store.record_provider_channel(
            channel_id=1, payer=BUYER, signer=b"k" * 20, deposit_nano=2**64, expiry_s=1, opened_at_ms=1
        ),
        store.record_opening(provider=b"short", signer=b"k" * 20, salt=b"", deposit_nano=1, expiry_s=1, opened_at_ms=1),
    ):
        with pytest.raises(StoreError) as caught:
            await attempt
        assert code_of(caught) == "bad_record"
    assert await store.buyer_channels() == []


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["sign", "accept", "charge", "redeem", "deposit"]), st.integers(-5, 1_200))
    )
)
async def test_money_is_monotonic_whatever_is_asked(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    async with await Store.open(tmp_path_factory.mktemp("store") / "node.db") as store:
        await store.bind_deployment(DEPLOYMENT)
        await open_buyer_channel(store)
        await open_provider_channel(store)
        calls = {
            "sign": lambda amount: store.raise_signed(1, amount),
            "accept": lambda amount: store.accept_voucher(Voucher(1, amount, SIGNATURE)),
            "charge": lambda amount: store.next_receipt_sequence(1, amount),
            "redeem": lambda amount: store.record_redeemed(1, amount),
            "deposit": lambda amount: store.raise_deposit(1, amount),
        }
        refusals: set[str] = set()
        before = await money(store)
        for name, amount_nano in steps:
            try:
                await calls[name](amount_nano)
            except StoreError as error:
                refusals.add(error.code)
            after = await money(store)
            assert all(new >= old for new, old in zip(after, before, strict=True))
            signed_nano, buyer_deposit_nano, voucher_nano, provider_deposit_nano, *_ = after
            assert signed_nano <= buyer_deposit_nano
            assert voucher_nano <= provider_deposit_nano
            before = after
        assert refusals <= {"over_deposit", "bad_record"}


async def money(store: Store) -> tuple[int, ...]:
    bought, provided = await store.buyer_channel(1), await store.provider_channel(1)
    assert bought is not None
    assert provided is not None
    return (
        bought.signed_nano,
        bought.deposit_nano,
        provided.voucher_nano,
        provided.deposit_nano,
        provided.charged_nano,
        provided.redeemed_nano,
    )


async def test_what_was_paid_out_of_a_channel_we_pay_through_never_falls(store: Store) -> None:
    await open_buyer_channel(store)
    assert (await store.record_paid_out(1, 60)).redeemed_nano == 60
    assert (await store.record_paid_out(1, 40)).redeemed_nano == 60
    with pytest.raises(StoreError) as caught:
        await store.record_paid_out(2, 40)
    assert caught.value.code == "unknown_channel"
    with pytest.raises(StoreError):
        await store._database.rows("UPDATE buyer_channels SET redeemed_nano = 1")
