import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.types import (
    META_KEY,
    Account,
    Channel,
    Meta,
    Region,
    Withdrawal,
    account_key,
    channel_key,
    decode_leaf,
    withdrawal_key,
)

u32, u64, u128 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1), st.integers(0, 2**128 - 1)
address = st.binary(min_size=20, max_size=20)
ACCOUNTS = st.builds(
    Account,
    owner=address,
    balance_nano=u128,
    nonce=u64,
    stake_nano=u128,
    unlocking_nano=u128,
    unlock_at_s=u64,
    channels=u32,
    slash_from=u32,
)
CHANNELS = st.builds(
    Channel,
    payer=u32,
    payee=u32,
    signer=address,
    deposit_nano=u128,
    redeemed_nano=u128,
    expiry_s=u64,
    closing_at_s=u64,
)
WITHDRAWALS = st.builds(Withdrawal, recipient=address, amount_nano=u128, account=u32, nonce=u64)
METAS = st.builds(
    Meta,
    next_account=u32,
    next_channel=u32,
    next_withdrawal=u32,
    inbox_cursor=u64,
    l2_time_s=u64,
    fee_pool_nano=u128,
    supply_nano=u128,
)
LEAVES = st.one_of(ACCOUNTS, CHANNELS, WITHDRAWALS, METAS)


@settings(max_examples=50)
@given(LEAVES)
def test_a_leaf_reads_back_and_is_never_as_long_as_two_nodes(leaf):
    data = leaf.encode()
    assert decode_leaf(data) == leaf
    assert len(data) != 64


@settings(max_examples=50)
@given(LEAVES, LEAVES)
def test_different_leaves_have_different_bytes(one, other):
    assert (one.encode() == other.encode()) == (one == other)


@settings(max_examples=50)
@given(st.binary(max_size=100))
def test_bytes_are_a_leaf_or_refused(data):
    try:
        leaf = decode_leaf(data)
    except ValueError:
        return
    assert leaf.encode() == data


@given(st.integers(0, 2**30 - 1))
def test_regions_never_meet(number):
    keys = [account_key(number), channel_key(number), withdrawal_key(number), META_KEY]
    assert [key >> 30 for key in keys] == [Region.ACCOUNT, Region.CHANNEL, Region.WITHDRAWAL, Region.META]


def test_the_encodings_are_the_documented_bytes():
    account = Account(
        owner=b"\xaa" * 20,
        balance_nano=1,
        nonce=2,
        stake_nano=3,
        unlocking_nano=4,
        unlock_at_s=5,
        channels=6,
        slash_from=7,
    )
    expected = "01" + "aa" * 20 + f"{1:032x}{2:016x}{3:032x}{4:032x}{5:016x}{6:08x}{7:08x}"
    assert account.encode().hex() == expected
    channel = Channel(
        payer=1, payee=2, signer=b"\xbb" * 20, deposit_nano=3, redeemed_nano=4, expiry_s=5, closing_at_s=6
    )
    assert channel.encode().hex() == "02" + f"{1:08x}{2:08x}" + "bb" * 20 + f"{3:032x}{4:032x}{5:016x}{6:016x}"
    withdrawal = Withdrawal(recipient=b"\xcc" * 20, amount_nano=7, account=8, nonce=9)
    assert withdrawal.encode().hex() == "03" + "cc" * 20 + f"{7:032x}{8:08x}{9:016x}"
    meta = Meta(
        next_account=1,
        next_channel=2,
        next_withdrawal=3,
        inbox_cursor=4,
        l2_time_s=5,
        fee_pool_nano=6,
        supply_nano=7,
    )
    assert meta.encode().hex() == "04" + f"{1:08x}{2:08x}{3:08x}{4:016x}{5:016x}{6:032x}{7:032x}"


@pytest.mark.parametrize(
    ("channel", "now_s", "over"),
    [((100, 0), 99, False), ((100, 0), 100, True), ((100, 50), 49, False), ((100, 50), 50, True), ((100, 0), 0, False)],
)
def test_a_channel_is_over_at_its_expiry_or_when_a_lone_close_has_waited(channel, now_s, over):
    expiry_s, closing_at_s = channel
    leaf = Channel(payer=1, payee=2, signer=bytes(20), deposit_nano=1, expiry_s=expiry_s, closing_at_s=closing_at_s)
    assert leaf.is_over(now_s) is over
