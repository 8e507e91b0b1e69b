"""Keys and values that wallet tests share; none of them ever held money."""

from __future__ import annotations

from chain.eip712 import SigningDomain
from wallet.account import UnlockedAccount, VoucherKey
from wallet.receipts import Receipt

PRIVATE_KEY = bytes.fromhex("4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318")
ADDRESS_HEX = "0x2c7536E3605D9C16a7a3D7b1898e529396a65c23"
"""The pair that eth-account's own documentation signs with."""

JUNK_MNEMONIC = "test test test test test test test test test test test junk"
JUNK_ADDRESSES = ("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266", "0x70997970C51812dc3A010C7d01b50e0d17dc79C8")
"""The mnemonic that Ethereum development nodes are known by, and its first two accounts."""

DOMAIN = SigningDomain(l1_chain_id=424242, rollup_address=bytes(range(20)), salt=bytes(range(32)))
OTHER_DOMAIN = SigningDomain(l1_chain_id=424242, rollup_address=bytes(range(1, 21)), salt=bytes(range(32)))

TEST_SCRYPT_N = 2


def account() -> UnlockedAccount:
    return UnlockedAccount(PRIVATE_KEY)


def voucher_key(seed: int = 7) -> VoucherKey:
    return VoucherKey(seed.to_bytes(32, "big"))


def receipt(**changes: object) -> Receipt:
    values: dict[str, object] = {
        "channel_id": 3,
        "sequence": 0,
        "model_sha256": b"m" * 32,
        "engine_build": "llama.cpp b1234 (cpu)",
        "prompt_hash": b"p" * 32,
        "output_hash": b"o" * 32,
        "input_tokens": 12,
        "output_tokens": 34,
        "cumulative_nano": 56_789,
        "seed": 2**64 - 1,
        "fingerprint_hash": b"f" * 32,
        "started_ms": 1_700_000_000_000,
        "finished_ms": 1_700_000_001_000,
        "provider": account().address,
    }
    return Receipt(**(values | changes))  # type: ignore[arg-type]
