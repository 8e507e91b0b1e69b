"""Offers: what a provider rents out and at which prices. Its account signs them, and they expire.

The EIP-712 type (in one line when hashed; strings as the keccak of their UTF-8 text, as EIP-712 has it)::

    Offer(address provider,bytes32 node,bytes32 transportKey,bytes32 deployment,string model,bytes32 modelSha256,
          string architecture,string quantization,uint64 parameters,uint32 contextLength,uint64 inputPrice,
          uint64 outputPrice,uint32 slots,uint32 freeSlots,uint32 tokensPerSMilli,uint32 ttftMs,uint64 minDeposit,
          uint64 stake,string engineBuild,string abilities,uint32 templateTokens,
          uint64 issuedMs,uint64 expiresMs)

Abilities are hashed as one text, with a space between them.

Verification never raises: an offer that is not shown has a reason, a stable word.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from chain.eip712 import SigningDomain, hash_struct
from chain.signing import keccak256, recover
from chain.views import AccountView
from node.market.clock import SKEW_MS
from node.session.messages import Hash
from node.values import MAX_PRICE_NANO_PER_MTOK, OfferView, Prices
from wallet.addresses import checksum_address
from wallet.vouchers import DigestSigner

OFFER_TYPE: Final = (
    b"Offer(address provider,bytes32 node,bytes32 transportKey,bytes32 deployment,string model,bytes32 modelSha256,"
    b"string architecture,string quantization,uint64 parameters,uint32 contextLength,uint64 inputPrice,"
    b"uint64 outputPrice,uint32 slots,uint32 freeSlots,uint32 tokensPerSMilli,uint32 ttftMs,uint64 minDeposit,"
    b"uint64 stake,string engineBuild,string abilities,uint32 templateTokens,uint64 issuedMs,"
    b"uint64 expiresMs)"
)
MAX_OFFER_BYTES: Final = 2_048
MAX_TEMPLATE_TOKENS: Final = 4_096
VALIDITY_MS: Final = 5 * 60_000
"""How long an offer is valid; providers renew it several times in this time."""
MAX_VALIDITY_MS: Final = 30 * 60_000
UPSTREAM: Final = "upstream"
"""The architecture in the offer of a model without a file: its ``model_sha256`` is a hash of the name only."""

Count = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
Large = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Price = Annotated[int, msgspec.Meta(ge=0, le=MAX_PRICE_NANO_PER_MTOK)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=96)]
Label = Annotated[str, msgspec.Meta(max_length=96)]
Build = Annotated[str, msgspec.Meta(max_length=200)]
Word = Annotated[str, msgspec.Meta(min_length=1, max_length=24, pattern=r"^[a-z_]+\Z")]


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """One model of one provider that can be rented now."""

    provider: Annotated[bytes, msgspec.Meta(min_length=20, max_length=20)]
    node_id: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z", max_length=64)]
    """The identity at the relay under which the provider accepts circuits."""
    transport_key: Hash
    """The X25519 public key that authenticates the provider's end of a sealed session."""
    deployment: Hash
    """The id of the chain deployment on which it wants to be paid."""
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
    """Measured decode speed of one stream, in thousandths of a token per second; 0 before the first measurement."""
    ttft_ms: Count
    min_deposit_nano: Large
    stake_nano: Large
    """The stake that its provider claims; it is checked with the chain."""
    engine_build: Build
    abilities: Annotated[tuple[Word, ...], msgspec.Meta(max_length=16)] = ()
    """What can be asked of the model, as `node.values.models.Ability` has it; words of newer peers are kept."""
    template_tokens: Annotated[int, msgspec.Meta(ge=0, le=MAX_TEMPLATE_TOKENS)] = 0
    """Tokens that the chat template adds to a question; the buyer pays for them with every request."""
    issued_ms: Large
    expires_ms: Large
    signature: Annotated[bytes, msgspec.Meta(max_length=64)] = b""

    @property
    def prices(self) -> Prices:
        """The prices as a session uses them."""
        return Prices(input_nano_per_mtok=self.input_nano_per_mtok, output_nano_per_mtok=self.output_nano_per_mtok)

    @property
    def offer_id(self) -> str:
        """The id that this offer keeps when it is renewed; it depends on provider, node and model."""
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
            keccak256(" ".join(offer.abilities).encode()),
            offer.template_tokens,
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
    """Decode an offer; ``None`` for anything else, and for an offer that breaks a bound."""
    if len(data) > MAX_OFFER_BYTES:
        return None
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return None


def offer_problem(offer: Offer, *, domain: SigningDomain, deployment: bytes, node_id: str, now_ms: int) -> str:
    """Why an offer is not shown, as a stable word, or ``""`` if it is.

    ``node_mismatch``: another node published it. ``foreign_chain``: it wants to be paid on another chain. ``expired``.
    ``bad_validity``: it is from the future, or valid for too long. ``bad_signature``. Two clocks may be ``SKEW_MS``
    apart.

    Args:
        offer: The decoded offer.
        domain: This chain's signing domain.
        deployment: This chain's deployment id, 32 bytes.
        node_id: The node that published it, as the relay authenticated it.
        now_ms: The time, milliseconds UTC.
    """
    if offer.node_id != node_id:
        return "node_mismatch"
    if offer.deployment != deployment:
        return "foreign_chain"
    if offer.expires_ms + SKEW_MS <= now_ms:
        return "expired"
    if offer.issued_ms > now_ms + SKEW_MS or offer.expires_ms > offer.issued_ms + MAX_VALIDITY_MS:
        return "bad_validity"
    if recover(offer_digest(domain, offer), offer.signature) != offer.provider:
        return "bad_signature"
    return ""


def backing_nano(account: AccountView) -> int:
    """What a slash can take of an account, in nano: its stake, and the part of it that is being unstaked."""
    return account.stake_nano + account.unlocking_nano


def account_problem(offer: Offer, account: AccountView | None) -> str:
    """Why an offer is not shown because of its provider's account, as a stable word, or ``""``.

    ``unfunded``: the provider has no account that could be paid. ``overstated``: the offer claims more stake than the
    account holds. The part that is being unstaked counts as held, so an offer that was signed just before is true.

    Args:
        offer: The decoded offer.
        account: The provider's account on the chain; ``None`` if it has none.
    """
    if account is None:
        return "unfunded"
    return "overstated" if offer.stake_nano > backing_nano(account) else ""


def offer_view(offer: Offer, *, stake_nano: int = 0, slash_from: int = 0, mine: bool = False) -> OfferView:
    """The offer as screens and commands show it, with every string as its provider signed it.

    Args:
        offer: The verified offer.
        stake_nano: The provider's stake on the chain; the offer's own claim is not shown.
        slash_from: The first channel that this stake answers for.
        mine: Whether this wallet published it.
    """
    return OfferView(
        offer_id=offer.offer_id,
        provider=checksum_address(offer.provider),
        node_id=offer.node_id,
        model=offer.model,
        model_sha256=offer.model_sha256.hex(),
        architecture=offer.architecture,
        quantization=offer.quantization,
        parameters=offer.parameters,
        context_length=offer.context_length,
        prices=offer.prices,
        slots=offer.slots,
        free_slots=min(offer.free_slots, offer.slots),
        tokens_per_s=offer.tokens_per_s_milli / 1000,
        ttft_ms=float(offer.ttft_ms),
        min_deposit_nano=offer.min_deposit_nano,
        stake_nano=stake_nano,
        slash_from=slash_from,
        engine_build=offer.engine_build,
        abilities=offer.abilities,
        template_tokens=offer.template_tokens,
        expires_ms=offer.expires_ms,
        mine=mine,
        # Nobody can hash or replay a model behind a provider's own server.
        auditable=offer.architecture != UPSTREAM,
    )
