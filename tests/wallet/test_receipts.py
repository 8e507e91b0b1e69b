import msgspec
import pytest
from eth_account.messages import encode_typed_data
from hypothesis import given
from hypothesis import strategies as st

from chain.signing import keccak256
from tests.wallet.keys import DOMAIN, OTHER_DOMAIN, account, receipt, voucher_key
from wallet.ethereum import eth_account
from wallet.receipts import Receipt, conflicts, receipt_facts, sign_receipt, verify_receipt
from wallet.wallet_error import WalletError

Account = eth_account()

CHANGES: dict[str, object] = {
    "channel_id": 4,
    "sequence": 1,
    "model_sha256": b"M" * 32,
    "engine_build": "another build",
    "prompt_hash": b"P" * 32,
    "output_hash": b"O" * 32,
    "input_tokens": 13,
    "output_tokens": 35,
    "cumulative_nano": 56_790,
    "seed": 1,
    "fingerprint_hash": b"F" * 32,
    "started_ms": 1,
    "finished_ms": 2,
}
CONTENT_FIELDS = [
    ("model", "bytes32"),
    ("engineBuild", "bytes32"),
    ("promptHash", "bytes32"),
    ("outputHash", "bytes32"),
    ("inputTokens", "uint32"),
    ("outputTokens", "uint32"),
    ("cumulative", "uint64"),
    ("seed", "uint64"),
    ("fingerprint", "bytes32"),
    ("startedMs", "uint64"),
    ("finishedMs", "uint64"),
]


def test_a_signed_receipt_verifies_for_its_provider_alone() -> None:
    signed = sign_receipt(account(), DOMAIN, receipt())
    assert verify_receipt(DOMAIN, signed, account().address)
    assert not verify_receipt(DOMAIN, signed, voucher_key().address)
    assert not verify_receipt(OTHER_DOMAIN, signed, account().address)
    assert not verify_receipt(DOMAIN, receipt(), account().address)


@pytest.mark.parametrize("field", sorted(CHANGES))
def test_changing_any_field_breaks_the_signature(field: str) -> None:
    signed = sign_receipt(account(), DOMAIN, receipt())
    assert not verify_receipt(DOMAIN, msgspec.structs.replace(signed, **{field: CHANGES[field]}), account().address)


def test_any_wallet_that_speaks_eip_712_signs_the_same_receipt() -> None:
    facts = receipt()
    values = [
        getattr(facts, name)
        for name in Receipt.__struct_fields__
        if name not in ("channel_id", "sequence", "engine_build", "signature", "provider")
    ]
    values.insert(1, keccak256(facts.engine_build.encode()))
    content = dict(zip((name for name, _ in CONTENT_FIELDS), values, strict=True))
    message = encode_typed_data(
        {
            "name": "Idlewatt",
            "version": "1",
            "chainId": 424242,
            "verifyingContract": "0x" + bytes(range(20)).hex(),
            "salt": bytes(range(32)),
        },
        {
            "Receipt": [
                {"name": "channel", "type": "uint32"},
                {"name": "sequence", "type": "uint32"},
                {"name": "provider", "type": "address"},
                {"name": "content", "type": "ReceiptContent"},
            ],
            "ReceiptContent": [{"name": name, "type": kind} for name, kind in CONTENT_FIELDS],
        },
        {
            "channel": facts.channel_id,
            "sequence": facts.sequence,
            "provider": "0x" + facts.provider.hex(),
            "content": content,
        },
    )
    signed = Account.sign_message(message, account().reveal())
    signature = sign_receipt(account(), DOMAIN, facts).signature
    assert int.from_bytes(signature[:32], "big") == signed.r
    assert int.from_bytes(signature[32:], "big") == signed.s | (signed.v - 27) << 255


def test_two_receipts_for_one_number_conflict_exactly_when_they_differ() -> None:
    first = sign_receipt(account(), DOMAIN, receipt())
    assert not conflicts(first, receipt())
    assert conflicts(first, receipt(output_hash=b"?" * 32))
    assert not conflicts(first, receipt(sequence=1, output_hash=b"?" * 32))
    assert not conflicts(first, receipt(channel_id=9, output_hash=b"?" * 32))


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 2**64},
        {"cumulative_nano": 2**64},
        {"started_ms": -1},
        {"model_sha256": b"short"},
        {"engine_build": "x" * 201},
        {"engine_build": "\ud800"},
        {"sequence": 2**32},
        {"channel_id": 2**32},
        {"provider": b"\1" * 20},
    ],
)
def test_a_receipt_that_no_contract_could_read_is_neither_signed_nor_believed(changes: dict[str, object]) -> None:
    with pytest.raises(WalletError) as caught:
        sign_receipt(account(), DOMAIN, receipt(**changes))
    assert caught.value.code == "bad_receipt"
    assert not verify_receipt(DOMAIN, receipt(**changes, signature=bytes(64)), account().address)


@given(st.binary(max_size=400))
def test_hostile_bytes_decode_to_a_bounded_receipt_or_not_at_all(data: bytes) -> None:
    try:
        decoded = msgspec.msgpack.decode(data, type=Receipt)
    except msgspec.MsgspecError:
        return
    assert verify_receipt(DOMAIN, decoded, account().address) in (True, False)


def test_a_receipt_survives_the_wire() -> None:
    signed = sign_receipt(account(), DOMAIN, receipt())
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(signed), type=Receipt) == signed


def test_the_facts_are_plain_json() -> None:
    facts = receipt_facts(sign_receipt(account(), DOMAIN, receipt()))
    assert facts["provider"] == account().address_hex
    assert facts["cumulative_nano"] == "56789"
    assert str(facts["signature"]).startswith("0x")
    assert len(str(facts["signature"])) == 130
    assert msgspec.json.decode(msgspec.json.encode(facts)) == facts
