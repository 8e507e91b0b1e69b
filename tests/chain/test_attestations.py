"""Who vouches for what: signatures, hashes and bonds, put together without any chain."""

from __future__ import annotations

from eth_account import Account
from eth_account.messages import encode_typed_data
from msgspec.structs import replace

from chain.attestations import Attestation, attestation_digest, vouching
from chain.eip712 import SigningDomain
from chain.l1.attested import AttesterBond
from chain.orders import SignedOrder, WithdrawalOrder, claim_key
from chain.signing import address_of, checksum_address, keccak256, sign_digest
from chain.types import Withdrawal

DOMAIN = SigningDomain(l1_chain_id=424242, rollup_address=bytes(range(20)), salt=bytes(range(32)))
KEYS = [keccak256(b"attester %d" % number) for number in range(3)]
HASHES = {number: keccak256(b"batch %d" % number) for number in (4, 5)}
BOND = AttesterBond(amount_wei=7, leaves_at_s=0)
ORDER = WithdrawalOrder(
    withdrawal=Withdrawal(recipient=address_of(KEYS[0]), amount_nano=1_000, account=3, nonce=9),
    max_fee_nano=100,
    start_s=50,
    deadline_s=90,
)
DOMAIN_FIELDS = {
    "name": "Idlewatt",
    "version": "1",
    "chainId": DOMAIN.l1_chain_id,
    "verifyingContract": checksum_address(DOMAIN.rollup_address),
    "salt": DOMAIN.salt,
}


def word(key: bytes, batch_id: int, name: bytes | None = None, domain: SigningDomain = DOMAIN) -> Attestation:
    name = HASHES[batch_id] if name is None else name
    digest = attestation_digest(domain, batch_id, name)
    return Attestation(batch_id=batch_id, batch_hash=name, signature=sign_digest(key, digest))


def vouchers(words: list[Attestation], **bonds: AttesterBond) -> dict[bytes, int]:
    held = {address_of(key): BOND for key in KEYS} | {bytes.fromhex(who): bond for who, bond in bonds.items()}
    return vouching(DOMAIN, HASHES, words, held)


def test_who_signed_every_batch_vouches_with_its_bond() -> None:
    words = [word(KEYS[0], 4), word(KEYS[0], 5), word(KEYS[1], 4)]
    assert vouchers(words) == {address_of(KEYS[0]): 7}


def test_a_word_about_another_batch_another_deployment_or_the_same_batch_twice_counts_for_nothing() -> None:
    foreign = SigningDomain(l1_chain_id=1, rollup_address=bytes(range(20)), salt=bytes(range(32)))
    for second in (word(KEYS[0], 5, HASHES[4]), word(KEYS[0], 5, domain=foreign), word(KEYS[0], 4)):
        assert vouchers([word(KEYS[0], 4), second]) == {}


def test_a_bond_that_is_gone_or_on_its_way_out_stands_behind_nothing() -> None:
    words = [word(KEYS[0], 4), word(KEYS[0], 5)]
    who = address_of(KEYS[0]).hex()
    for bond in (AttesterBond(amount_wei=0, leaves_at_s=0), AttesterBond(amount_wei=7, leaves_at_s=1)):
        assert vouchers(words, **{who: bond}) == {}
    assert vouching(DOMAIN, HASHES, words, {}) == {}


def test_a_signature_that_nobody_made_is_nobodys() -> None:
    assert replace(word(KEYS[0], 4), signature=bytes(64)).attester(DOMAIN) is None
    assert replace(word(KEYS[0], 4), signature=b"").attester(DOMAIN) is None


def test_orders_and_attestations_hash_as_other_programs_hash_them() -> None:
    sold = ORDER.withdrawal
    order = encode_typed_data(
        DOMAIN_FIELDS,
        {
            "WithdrawalOrder": [
                {"name": "account", "type": "uint32"},
                {"name": "nonce", "type": "uint64"},
                {"name": "amount", "type": "uint64"},
                {"name": "recipient", "type": "address"},
                {"name": "maxFee", "type": "uint64"},
                {"name": "start", "type": "uint64"},
                {"name": "deadline", "type": "uint64"},
            ]
        },
        {
            "account": sold.account,
            "nonce": sold.nonce,
            "amount": sold.amount_nano,
            "recipient": checksum_address(sold.recipient),
            "maxFee": ORDER.max_fee_nano,
            "start": ORDER.start_s,
            "deadline": ORDER.deadline_s,
        },
    )
    vouched = encode_typed_data(
        DOMAIN_FIELDS,
        {"Attestation": [{"name": "batch", "type": "uint64"}, {"name": "batchHash", "type": "bytes32"}]},
        {"batch": 4, "batchHash": HASHES[4]},
    )
    for message, digest in ((order, ORDER.digest(DOMAIN)), (vouched, attestation_digest(DOMAIN, 4, HASHES[4]))):
        signed = Account.sign_message(message, KEYS[0])
        assert keccak256(b"\x19" + message.version + message.header + message.body) == digest
        assert bytes(signed.message_hash) == digest


def test_an_order_is_its_recipients_alone() -> None:
    mine = SignedOrder(order=ORDER, signature=sign_digest(KEYS[0], ORDER.digest(DOMAIN)))
    assert mine.is_signed(DOMAIN)
    assert not replace(mine, order=replace(ORDER, max_fee_nano=101)).is_signed(DOMAIN)
    assert not replace(mine, signature=sign_digest(KEYS[1], ORDER.digest(DOMAIN))).is_signed(DOMAIN)


def test_a_claim_goes_by_its_leaf() -> None:
    sold = ORDER.withdrawal
    others = [replace(sold, account=4), replace(sold, nonce=8), replace(sold, amount_nano=999)]
    assert len({claim_key(one) for one in [sold, *others]}) == 4
