"""Prices, what this node rents out, and what others offer."""

from __future__ import annotations

import msgspec

MAX_PRICE_NANO_PER_MTOK = 10**15
"""A million dollars a million tokens: past it a price is a mistake or an attack."""


class Prices(msgspec.Struct, frozen=True, kw_only=True):
    """Nano per million tokens, input and output apart."""

    input_nano_per_mtok: int
    output_nano_per_mtok: int


class PriceAdvice(msgspec.Struct, frozen=True, kw_only=True):
    """What a price could be, and what it should not be below."""

    suggested: Prices
    floor: Prices
    """What the power for a token costs at the dearest hour; 0 where nothing is known."""
    basis: str
    """Where the suggestion comes from, for a person."""
    floor_basis: str
    is_estimate: bool
    """Whether the floor rests on an estimate."""
    offers: int
    """Providers whose offers were compared."""
    is_floor_known: bool = True
    """Whether anything says what a token takes; else the floor is 0, as for a server on another machine."""


class ProviderView(msgspec.Struct, frozen=True, kw_only=True):
    """What this node rents out."""

    model: str
    model_sha256: str
    quantization: str
    context_length: int
    prices: Prices
    slots: int
    free_slots: int
    tokens_per_s: float
    ttft_ms: float
    engine_state: str
    earned_today_nano: int
    earned_total_nano: int
    jobs_today: int
    claimable_nano: int
    """Vouchers held and not yet redeemed."""


class OfferView(msgspec.Struct, frozen=True, kw_only=True):
    """One verified offer on the market."""

    offer_id: str
    provider: str
    node_id: str
    model: str
    model_sha256: str
    architecture: str
    quantization: str
    parameters: int
    context_length: int
    prices: Prices
    slots: int
    free_slots: int
    tokens_per_s: float
    ttft_ms: float
    min_deposit_nano: int
    stake_nano: int
    engine_build: str
    expires_ms: int
    slash_from: int = 0
    """The first channel that the stake answers for: it is lost for no receipt of an older one."""
    abilities: tuple[str, ...] = ()
    """What can be asked of the model: ``chat``, ``turns``, ``system``, ``completion``, and options of its template."""
    template_tokens: int = 0
    """Tokens that the chat template adds to a question."""
    mine: bool = False
    auditable: bool = True
    """Whether a file stands for the model, so that answers can be replayed; ``False`` behind an upstream server."""
