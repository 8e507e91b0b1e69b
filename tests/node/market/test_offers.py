"""Offers: only signed, fresh ones of this chain and this node are shown, and what is shown is harmless."""

from __future__ import annotations

import msgspec
import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from hypothesis import given
from hypothesis import strategies as st

from app.cli.market import as_table
from chain.eip712 import SigningDomain
from chain.signing import address_of, sign_digest
from chain.views import AccountView
from node.market.clock import SKEW_MS
from node.market.offers import (
    OFFER_TYPE,
    VALIDITY_MS,
    Offer,
    account_problem,
    decode_offer,
    encode_offer,
    offer_digest,
    offer_problem,
    offer_view,
    sign_offer,
)
from screens.chat.choices import offer_line
from screens.text import one_line

DOMAIN = SigningDomain(l1_chain_id=84_001, rollup_address=bytes(range(20)), salt=bytes(range(32)))
DEPLOYMENT = bytes(reversed(range(32)))
NODE = "ab" * 32
NOW = 1_800_000_000_000


class Key:
    secret = (21).to_bytes(32, "big")
    address = address_of(secret)

    def sign_digest(self, digest: bytes) -> bytes:
        return sign_digest(self.secret, digest)


def offer(**changes) -> Offer:
    values = {
        "provider": Key.address,
        "node_id": NODE,
        "transport_key": bytes(range(32)),
        "deployment": DEPLOYMENT,
        "model": "demo",
        "model_sha256": bytes(32),
        "architecture": "llama",
        "quantization": "Q8_0",
        "parameters": 5_000_000,
        "context_length": 512,
        "input_nano_per_mtok": 100,
        "output_nano_per_mtok": 200,
        "slots": 4,
        "free_slots": 3,
        "abilities": ("chat", "turns", "system"),
        "tokens_per_s_milli": 412_500,
        "ttft_ms": 8,
        "min_deposit_nano": 1_000,
        "stake_nano": 0,
        "engine_build": "llama.cpp b1",
        "issued_ms": NOW,
        "expires_ms": NOW + VALIDITY_MS,
    }
    return sign_offer(Key(), DOMAIN, Offer(**(values | changes)))


def problem(published: Offer, *, now_ms: int = NOW, node_id: str = NODE, deployment: bytes = DEPLOYMENT) -> str:
    return offer_problem(published, domain=DOMAIN, deployment=deployment, node_id=node_id, now_ms=now_ms)


def test_a_fresh_offer_travels_and_verifies():
    published = decode_offer(encode_offer(offer()))
    assert published == offer()
    assert problem(published) == ""
    view = offer_view(published, mine=True)
    assert (view.model, view.tokens_per_s, view.free_slots, view.mine) == ("demo", 412.5, 3, True)
    assert view.offer_id == offer(free_slots=0, issued_ms=NOW + 5).offer_id


@pytest.mark.parametrize(
    ("published", "reason"),
    [
        (offer(expires_ms=NOW - SKEW_MS), "expired"),
        (offer(issued_ms=NOW + SKEW_MS + 1), "bad_validity"),
        (offer(expires_ms=NOW + 10**9), "bad_validity"),
        (offer(deployment=bytes(32)), "foreign_chain"),
        (offer(node_id="cd" * 32), "node_mismatch"),
        (msgspec.structs.replace(offer(), input_nano_per_mtok=1), "bad_signature"),
        (msgspec.structs.replace(offer(), provider=bytes(20)), "bad_signature"),
        (msgspec.structs.replace(offer(), signature=b""), "bad_signature"),
    ],
)
def test_an_offer_that_can_not_be_trusted_is_named(published, reason):
    assert problem(published) == reason


def account(stake_nano: int, unlocking_nano: int = 0) -> AccountView:
    return AccountView(
        index=1, address="0x" + "ab" * 20, balance_nano=0, nonce=0, stake_nano=stake_nano, unlocking_nano=unlocking_nano
    )


@pytest.mark.parametrize(
    ("claim_nano", "found", "reason"),
    [
        (0, None, "unfunded"),
        (0, account(0), ""),
        (5, account(5), ""),
        (5, account(9), ""),
        (5, account(2, 3), ""),
        (6, account(2, 3), "overstated"),
        (1, account(0), "overstated"),
    ],
)
def test_an_offer_may_claim_no_more_stake_than_the_chain_holds_of_its_provider(claim_nano, found, reason):
    assert account_problem(offer(stake_nano=claim_nano), found) == reason


def test_the_stake_that_is_shown_is_never_the_offers_own_word():
    assert offer_view(offer(stake_nano=5)).stake_nano == 0
    assert offer_view(offer(stake_nano=5), stake_nano=9).stake_nano == 9


@pytest.mark.parametrize("field", [f for f in Offer.__struct_fields__ if f != "signature"])
def test_every_field_is_signed(field):
    published = offer()
    value = getattr(published, field)
    other = value + 1 if isinstance(value, int) else value[::-1] + type(value)()
    if other == value:
        other = value[:-1] + (b"\x01" if isinstance(value, bytes) else "c")
    assert offer_digest(DOMAIN, msgspec.structs.replace(published, **{field: other})) != offer_digest(DOMAIN, published)


def test_the_digest_is_the_one_that_eth_account_signs():
    published = offer()
    fields = [tuple(part.split(" ")) for part in OFFER_TYPE.decode()[len("Offer(") : -1].split(",")]
    values = dict(
        zip(
            [name for _, name in fields],
            [
                "0x" + published.provider.hex(),
                bytes.fromhex(published.node_id),
                published.transport_key,
                published.deployment,
                published.model,
                published.model_sha256,
                published.architecture,
                published.quantization,
                published.parameters,
                published.context_length,
                published.input_nano_per_mtok,
                published.output_nano_per_mtok,
                published.slots,
                published.free_slots,
                published.tokens_per_s_milli,
                published.ttft_ms,
                published.min_deposit_nano,
                published.stake_nano,
                published.engine_build,
                " ".join(published.abilities),
                published.template_tokens,
                published.issued_ms,
                published.expires_ms,
            ],
            strict=True,
        )
    )
    typed = {
        "domain": {
            "name": "Idlewatt",
            "version": "1",
            "chainId": DOMAIN.l1_chain_id,
            "verifyingContract": "0x" + DOMAIN.rollup_address.hex(),
            "salt": DOMAIN.salt,
        },
        "primaryType": "Offer",
        "types": {
            "EIP712Domain": [
                {"name": "name", "type": "string"},
                {"name": "version", "type": "string"},
                {"name": "chainId", "type": "uint256"},
                {"name": "verifyingContract", "type": "address"},
                {"name": "salt", "type": "bytes32"},
            ],
            "Offer": [{"name": name, "type": kind} for kind, name in fields],
        },
        "message": values,
    }
    signed = Account.sign_message(encode_typed_data(full_message=typed), Key.secret)
    r, vs = published.signature[:32], int.from_bytes(published.signature[32:], "big")
    assert int.from_bytes(r, "big") == signed.r
    assert vs & ((1 << 255) - 1) == signed.s


@given(st.binary(max_size=300))
def test_any_bytes_are_an_offer_or_nothing(data):
    assert decode_offer(data) is None


def test_an_offer_that_is_too_big_or_out_of_bounds_is_nothing():
    assert decode_offer(bytes(5_000)) is None
    for changes in ({"model": "x" * 97}, {"model": ""}, {"input_nano_per_mtok": -1}, {"slots": 0}):
        assert decode_offer(encode_offer(msgspec.structs.replace(offer(), **changes))) is None


def test_hostile_names_are_kept_as_signed_and_harmless_when_shown():
    view = offer_view(offer(model="[/x]\x1b[31m\u202eevil"))
    assert view.model == "[/x]\x1b[31m\u202eevil"
    for shown in (as_table([view]), one_line(view.model), offer_line(view).plain):
        assert "[/x]evil" in shown
        assert not set("\x1b\u202e") & set(shown)
