import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from chain.errors import UsageError
from chain.tx_format import TxType
from chain.txs import (
    TX_SIZES,
    CloseTogether,
    CreateAccount,
    Expire,
    FinishUnstake,
    OpenChannel,
    ReceiptEvidence,
    Redeem,
    Slash,
    Stake,
    StartClose,
    TopUp,
    Transfer,
    TxFormatError,
    Unstake,
    Withdraw,
    decode,
    inbox_tx_id,
    is_signed,
    tx_id,
)
from tests.chain.support import DOMAIN

u32, u64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
address = st.binary(min_size=20, max_size=20)
signature = st.binary(min_size=64, max_size=64)
hash32 = st.binary(min_size=32, max_size=32)
EVIDENCE = st.builds(ReceiptEvidence, hash32, signature)
SIGNED = st.one_of(
    st.builds(Transfer, u32, u32, u64, u32),
    st.builds(Withdraw, u32, u64, u32, address),
    st.builds(OpenChannel, u32, u32, address, u64, u64, u32),
    st.builds(TopUp, u32, u64, u32),
    st.builds(Redeem, u32, u64),
    st.builds(CloseTogether, u32, u64),
    st.builds(StartClose, u32),
    st.builds(Stake, u32, u64, u32),
    st.builds(Unstake, u32, u64, u32),
    st.builds(Slash, u32, u32, u32, u32, EVIDENCE, EVIDENCE),
)
UNSIGNED = st.one_of(
    st.builds(CreateAccount, address),
    st.builds(Expire, u32),
    st.builds(FinishUnstake, u32),
)


@settings(max_examples=80)
@given(SIGNED, signature)
def test_a_signed_transaction_reads_back(tx, sig):
    raw = tx.encode(sig)
    assert decode(raw) == (tx, sig)
    assert len(raw) == tx.SIZE == TX_SIZES[raw[0]]
    assert is_signed(raw[0])


@settings(max_examples=50)
@given(UNSIGNED)
def test_an_unsigned_transaction_reads_back(tx):
    raw = tx.encode()
    assert decode(raw) == (tx, b"")
    assert not is_signed(raw[0])


def evidence(**changes) -> ReceiptEvidence:
    return replace(ReceiptEvidence(bytes(32), bytes(64)), **changes)


ANY_BYTES = st.one_of(
    st.binary(max_size=300),
    st.builds(lambda kind, rest: bytes([kind]) + rest, st.integers(0, 15), st.binary(max_size=120)),
)


@settings(max_examples=100)
@given(ANY_BYTES)
def test_bytes_are_a_transaction_or_refused(raw):
    if raw and len(raw) == TX_SIZES.get(raw[0]):
        tx, sig = decode(raw)
        assert (tx.encode(sig) if is_signed(raw[0]) else tx.encode()) == raw
        return
    with pytest.raises(TxFormatError) as caught:
        decode(raw)
    assert caught.value.is_unknown_type == (bool(raw) and raw[0] not in TX_SIZES)


def test_sizes_are_the_documented_ones():
    sizes = {
        CreateAccount: 21,
        Transfer: 85,
        Withdraw: 101,
        OpenChannel: 113,
        TopUp: 81,
        Redeem: 77,
        CloseTogether: 77,
        StartClose: 69,
        Expire: 5,
        Stake: 81,
        Unstake: 81,
        FinishUnstake: 5,
        Slash: 273,
    }
    assert {tx: tx.SIZE for tx in sizes} == sizes


def test_every_type_has_a_body_and_no_other_byte_has():
    assert set(TX_SIZES) == set(TxType)
    for kind in sorted(set(range(256)) - set(TxType)):
        with pytest.raises(TxFormatError) as caught:
            decode(bytes([kind]) + bytes(80))
        assert caught.value.is_unknown_type


@pytest.mark.parametrize(
    "build",
    [
        lambda: Transfer(2**32, 1, 1, 1).encode(bytes(64)),
        lambda: Transfer(1, 1, 2**64, 1).encode(bytes(64)),
        lambda: Transfer(1, 1, -1, 1).encode(bytes(64)),
        lambda: Transfer(1, 1, 1, 1).encode(bytes(65)),
        lambda: Withdraw(1, 1, 1, bytes(19)).encode(bytes(64)),
        lambda: CreateAccount(bytes(21)).encode(),
        lambda: Transfer(2**32, 1, 1, 1).digest(DOMAIN, 0, bytes(20)),
        lambda: CloseTogether(1, 2**64).digest(DOMAIN, bytes(20)),
        lambda: Slash(1, 2, 3, 4, evidence(content_hash=bytes(31)), evidence()).encode(bytes(64)),
        lambda: Slash(1, 2, 3, 4, evidence(), evidence(signature=bytes(63))).encode(bytes(64)),
        lambda: Slash(1, 2, 3, 2**32, evidence(), evidence()).encode(bytes(64)),
        lambda: Slash(1, 2, 3, 4, evidence(), evidence()).digest(DOMAIN),
    ],
)
def test_what_does_not_fit_is_refused_before_it_is_sent(build):
    with pytest.raises(UsageError):
        build()


def test_a_transaction_is_known_by_its_hash_and_a_message_by_its_place():
    raw = Expire(1).encode()
    assert tx_id(raw) != tx_id(Expire(2).encode())
    assert inbox_tx_id(0) != inbox_tx_id(1)
