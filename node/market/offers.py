"""Offers: what a provider rents out and for how much, signed by its account and worth nothing once expired.

The EIP-712 type (in one line when hashed; strings as the keccak of their UTF-8 text, as EIP-712 has it)::

    Offer(address provider,bytes32 node,bytes32 transportKey,bytes32 deployment,string model,bytes32 modelSha256,
          string architecture,string quantization,uint64 parameters,uint32 contextLength,uint64 inputPrice,
          uint64 outputPrice,uint32 slots,uint32 freeSlots,uint32 tokensPerSMilli,uint32 ttftMs,uint64 minDeposit,
          uint64 stake,string engineBuild,uint64 issuedMs,uint64 expiresMs)

Verification answers with an :class:`OfferView` or the reason why the offer is not shown; it never raises.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from chain.eip712 import SigningDomain, hash_struct
from chain.signing import keccak256, recover
from chain.views import AccountView
from node.session.messages import MAX_PRICE_NANO_PER_MTOK, Hash
from node.values import OfferView, Prices
from node.values.text import plain
from wallet.addresses import checksum_address
from wallet.vouchers import DigestSigner

OFFER_TYPE: Final = (
    b"Offer(address provider,bytes32 node,bytes32 transportKey,bytes32 deployment,string model,bytes32 modelSha256,"
    b"string architecture,string quantization,uint64 parameters,uint32 contextLength,uint64 inputPrice,"
    b"uint64 outputPrice,uint32 slots,uint32 freeSlots,uint32 tokensPerSMilli,uint32 ttftMs,uint64 minDeposit,"
    b"uint64 stake,string engineBuild,uint64 issuedMs,uint64 expiresMs)"
)
MAX_OFFER_BYTES: Final = 2_048
VALIDITY_MS: Final = 5 * 60_000
"""How long a fresh offer holds; providers refresh it several times within."""
MAX_VALIDITY_MS: Final = 30 * 60_000
UPSTREAM: Final = "upstream"
"""The architecture of an offer whose model no file stands for: its ``model_sha256`` stands for the name alone."""
CLOCK_SKEW_MS: Final = 60_000
"""How far a provider's clock may run ahead."""

Count = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
Large = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Price = Annotated[int, msgspec.Meta(ge=0, le=MAX_PRICE_NANO_PER_MTOK)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=96)]
Label = Annotated[str, msgspec.Meta(max_length=96)]
Build = Annotated[str, msgspec.Meta(max_length=200)]


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """One model on one provider, rentable now."""

    provider: Annotated[bytes, msgspec.Meta(min_length=20, max_length=20)]
    node_id: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$", max_length=64)]
    """The relay identity under which the provider waits for circuits."""
    transport_key: Hash
    """The X25519 public key that authenticates the provider's end of a sealed session."""
    deployment: Hash
    """The chain it wants to be paid on."""
    model: Name
    model_sha256: Hash
    architecture: Label
    quantization: Label
    parameters: Large
    context_length: Count
    input_nano_per_mtok: Price
    output_nano_per_mtok: Price
    slots: Annotated[int, msgspec.Meta(ge=1, le=4096)]
    free_slots: Count
    tokens_per_s_milli: Count
    """Measured decode speed of one stream, in thousandths; 0 before the first measurement."""
    ttft_ms: Count
    min_deposit_nano: Large
    stake_nano: Large
    """What its provider claims to have at stake; the chain says whether it has."""
    engine_build: Build
    issued_ms: Large
    expires_ms: Large
    signature: Annotated[bytes, msgspec.Meta(max_length=64)] = b""

    @property
    def prices(self) -> Prices:
        """The prices as a session uses them."""
        return Prices(input_nano_per_mtok=self.input_nano_per_mtok, output_nano_per_mtok=self.output_nano_per_mtok)

    @property
    def offer_id(self) -> str:
        """What names this offer across its refreshes: provider, node and model."""
        return keccak256(self.provider + bytes.fromhex(self.node_id) + self.model_sha256)[:12].hex()


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Offer)


def offer_digest(domain: SigningDomain, offer: Offer) -> bytes:
    """The 32 bytes that the provider's account signs."""
    return domain.digest(
        hash_struct(
            OFFER_TYPE,
            offer.provider,
            bytes.fromhex(offer.node_id),
            offer.transport_key,
            offer.deployment,
            keccak256(offer.model.encode()),
            offer.model_sha256,
            keccak256(offer.architecture.encode()),
            keccak256(offer.quantization.encode()),
            offer.parameters,
            offer.context_length,
            offer.input_nano_per_mtok,
            offer.output_nano_per_mtok,
            offer.slots,
            offer.free_slots,
            offer.tokens_per_s_milli,
            offer.ttft_ms,
            offer.min_deposit_nano,
            offer.stake_nano,
            keccak256(offer.engine_build.encode()),
            offer.issued_ms,
            offer.expires_ms,
        )
    )


def sign_offer(account: DigestSigner, domain: SigningDomain, offer: Offer) -> Offer:
    """The same offer with its provider's signature."""
    return msgspec.structs.replace(offer, signature=account.sign_digest(offer_digest(domain, offer)))


def encode_offer(offer: Offer) -> bytes:
    """The offer as relays carry it."""
    return _encoder.encode(offer)


def decode_offer(data: bytes) -> Offer | None:
    """Read an offer, or ``None`` for anything that is not one within its bounds."""
    if len(data) > MAX_OFFER_BYTES:
        return None
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return None


def offer_problem(offer: Offer, *, domain: SigningDomain, deployment: bytes, node_id: str, now_ms: int) -> str:
    """Why an offer is not to be shown, as a stable word, or ``""``.

    ``node_mismatch``: another node published it; ``foreign_chain``: it wants to be paid elsewhere; ``expired``;
    ``bad_validity``: from the future, or valid for too long; ``bad_signature``.

    Args:
        offer: The decoded offer.
        domain: This chain's signing domain.
        deployment: This chain's deployment id, 32 bytes.
        node_id: Who published it, as the relay authenticated it.
        now_ms: The time.
    """
    if offer.node_id != node_id:
        return "node_mismatch"
    if offer.deployment != deployment:
        return "foreign_chain"
    if offer.expires_ms <= now_ms:
        return "expired"
    if offer.issued_ms > now_ms + CLOCK_SKEW_MS or offer.expires_ms > offer.issued_ms + MAX_VALIDITY_MS:
        return "bad_validity"
    if recover(offer_digest(domain, offer), offer.signature) != offer.provider:
        return "bad_signature"
    return ""


def backing_nano(account: AccountView) -> int:
    """What a slash would take of an account: its stake, and the part of it on its way out."""
    return account.stake_nano + account.unlocking_nano


def account_problem(offer: Offer, account: AccountView | None) -> str:
    """Why the chain's account of an offer's provider keeps it from being shown, as a stable word, or ``""``.

    ``unfunded``: there is none to be paid to; ``overstated``: the offer claims more stake than it holds. The part of a
    stake on its way out counts, since an offer that was signed just before is not a lie.
    """
    if account is None:
        return "unfunded"
    return "overstated" if offer.stake_nano > backing_nano(account) else ""


def offer_view(offer: Offer, *, stake_nano: int = 0, mine: bool = False) -> OfferView:
    """The offer as screens and commands show it, every string harmless.

    Args:
        offer: The verified offer.
        stake_nano: What the chain says its provider has at stake; what the offer says is not shown.
        mine: Whether this wallet published it.
    """
    return OfferView(
        offer_id=offer.offer_id,
        provider=checksum_address(offer.provider),
        node_id=offer.node_id,
        model=plain(offer.model, 96),
        model_sha256=offer.model_sha256.hex(),
        architecture=plain(offer.architecture, 96),
        quantization=plain(offer.quantization, 96),
        parameters=offer.parameters,
        context_length=offer.context_length,
        prices=offer.prices,
        slots=offer.slots,
        free_slots=min(offer.free_slots, offer.slots),
        tokens_per_s=offer.tokens_per_s_milli / 1000,
        ttft_ms=float(offer.ttft_ms),
        min_deposit_nano=offer.min_deposit_nano,
        stake_nano=stake_nano,
        engine_build=plain(offer.engine_build, 200),
        expires_ms=offer.expires_ms,
        mine=mine,
        # Nobody can hash or replay what stands behind a provider's own server.
        auditable=offer.architecture != UPSTREAM,
    )
