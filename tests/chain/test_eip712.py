import pytest
from eth_account.messages import encode_typed_data
from eth_utils import keccak
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.eip712 import SigningDomain, voucher_digest, word
from chain.signing import checksum_address
from chain.txs import CloseTogether, OpenChannel, ReceiptEvidence, Redeem, Slash, StartClose, TopUp, Transfer, Withdraw

u32, u64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
word32 = st.binary(min_size=32, max_size=32)
address = st.binary(min_size=20, max_size=20)
domain = st.builds(SigningDomain, st.integers(1, 2**256 - 1), address, st.binary(min_size=32, max_size=32))

FIELDS = {
    "Transfer": "uint32 from,uint32 to,address recipient,uint64 amount,uint32 fee,uint64 nonce",
    "Withdraw": "uint32 from,uint64 amount,uint32 fee,address to,uint64 nonce",
    "OpenChannel": (
        "uint32 from,uint32 payee,address payeeOwner,address signer,uint64 amount,uint64 expiry,uint32 fee,uint64 nonce"
    ),
    "TopUp": "uint32 channel,address signer,uint64 amount,uint32 fee,uint64 nonce",
    "CloseTogether": "uint32 channel,address signer,uint64 cumulative",
    "StartClose": "uint32 channel,address signer,uint64 nonce",
    "Slash": (
        "uint32 provider,address owner,uint32 reporter,uint32 channel,uint32 sequence,bytes32 first,bytes32 second"
    ),
    "Voucher": "uint32 channel,uint64 cumulative",
}


def eth_account_digest(signing_domain: SigningDomain, name: str, *values: int | bytes) -> bytes:
    types = [field.split() for field in FIELDS[name].split(",")]
    message = {
        field: checksum_address(value) if isinstance(value, bytes) and len(value) == 20 else value
        for (_, field), value in zip(types, values, strict=True)
    }
    encoded = encode_typed_data(
        {
            "name": "Idlewatt",
            "version": "1",
            "chainId": signing_domain.l1_chain_id,
            "verifyingContract": checksum_address(signing_domain.rollup_address),
            "salt": signing_domain.salt,
        },
        {name: [{"name": field, "type": kind} for kind, field in types]},
        message,
    )
    return keccak(b"\x19" + encoded.version + encoded.header + encoded.body)


@settings(max_examples=25)
@given(domain, u32, u32, address, u64, u32, u64)
def test_a_transfers_digest_is_eth_accounts(d, sender, receiver, recipient, amount, fee, nonce):
    ours = Transfer(sender, receiver, amount, fee).digest(d, nonce, recipient)
    assert ours == eth_account_digest(d, "Transfer", sender, receiver, recipient, amount, fee, nonce)


@settings(max_examples=25)
@given(domain, u32, u64, u32, address, u64)
def test_a_withdrawals_digest_is_eth_accounts(d, sender, amount, fee, to, nonce):
    ours = Withdraw(sender, amount, fee, to).digest(d, nonce)
    assert ours == eth_account_digest(d, "Withdraw", sender, amount, fee, to, nonce)


@settings(max_examples=25)
@given(domain, u32, u32, address, address, u64, u64, u32, u64)
def test_an_openings_digest_is_eth_accounts(d, sender, payee, payees_owner, signer, amount, expiry, fee, nonce):
    ours = OpenChannel(sender, payee, signer, amount, expiry, fee).digest(d, nonce, payees_owner)
    values = sender, payee, payees_owner, signer, amount, expiry, fee, nonce
    assert ours == eth_account_digest(d, "OpenChannel", *values)


@settings(max_examples=25)
@given(domain, u32, address, u64, u32, u64)
def test_the_channel_digests_are_eth_accounts(d, channel, signer, amount, fee, nonce):
    topped_up = eth_account_digest(d, "TopUp", channel, signer, amount, fee, nonce)
    assert TopUp(channel, amount, fee).digest(d, nonce, signer) == topped_up
    closing = eth_account_digest(d, "StartClose", channel, signer, nonce)
    assert StartClose(channel).digest(d, nonce, signer) == closing
    closed = eth_account_digest(d, "CloseTogether", channel, signer, amount)
    assert CloseTogether(channel, amount).digest(d, signer) == closed
    assert Redeem(channel, amount).digest(d) == eth_account_digest(d, "Voucher", channel, amount)
    assert voucher_digest(d, channel, amount) == Redeem(channel, amount).digest(d)


@settings(max_examples=25)
@given(domain, u32, address, u32, u32, u32, word32, word32)
def test_a_slashs_digest_is_eth_accounts(d, provider, owner, reporter, channel, sequence, first, second):
    receipts = (ReceiptEvidence(content_hash, bytes(64)) for content_hash in (first, second))
    ours = Slash(provider, reporter, channel, sequence, *receipts).digest(d, owner)
    assert ours == eth_account_digest(d, "Slash", provider, owner, reporter, channel, sequence, first, second)


def test_a_deployment_binds_its_signatures():
    here = SigningDomain(1, b"\1" * 20, b"\3" * 32)
    elsewhere = (
        SigningDomain(1, b"\2" * 20, b"\3" * 32),
        SigningDomain(2, b"\1" * 20, b"\3" * 32),
        SigningDomain(1, b"\1" * 20, b"\4" * 32),
    )
    assert len({voucher_digest(domain, 1, 1) for domain in (here, *elsewhere)}) == 4


@pytest.mark.parametrize("salt", ["", "0x", "0x" + "3" * 63, "3" * 64, "0x" + "G" * 64, "0x" + "3" * 64 + "\n"])
def test_a_domain_isnt_read_from_what_is_no_salt(salt):
    with pytest.raises(ValueError, match="salt"):
        SigningDomain.of_texts(1, "0x" + "1" * 40, salt)


def test_a_domain_is_read_as_an_rpc_answer_has_it():
    domain = SigningDomain.of_texts(5, "0x" + "1" * 40, "0x" + "3" * 64)
    assert domain == SigningDomain(5, b"\x11" * 20, b"\x33" * 32)


def test_what_is_wider_than_a_word_is_refused():
    with pytest.raises(ValueError, match="32 bytes"):
        word(bytes(33))
    with pytest.raises(OverflowError):
        word(2**256)
    with pytest.raises(OverflowError):
        word(-1)
