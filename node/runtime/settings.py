"""The settings of a node: values and resolved paths. No file is read here."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from node.engine.options import EngineOptions
from node.hardware.rules import AvailabilityRules, EnergyRules
from node.values import Prices

DEFAULT_PRICES = Prices(input_nano_per_mtok=100_000_000, output_nano_per_mtok=200_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """One node on one home."""

    keystore_dir: Path
    database_path: Path
    models_dir: Path
    logs_dir: Path
    model_folders: tuple[Path, ...] = ()
    """Further folders to look for models in."""
    relay_url: str | None = None
    chain_url: str | None = None
    upstream_url: str | None = None
    """An OpenAI-compatible server that is rented out instead of a file."""
    upstream_key_env: str | None = None
    """The variable that holds its bearer token; the token itself is read when it is needed."""
    model: str = "demo"
    prices: Prices = DEFAULT_PRICES
    engine: EngineOptions = field(default_factory=EngineOptions)
    """How models are loaded, and how requests share them."""
    tuning_path: Path | None = None
    """Where measured numbers of threads are remembered."""
    min_deposit_nano: int = 100_000
    """The least deposit a channel to this provider must hold."""
    credit_tokens: int = 64
    requests_per_buyer: int = 4
    """With so many here, running and waiting, a buyer's account gets no more but a slot that is free."""
    energy: EnergyRules = field(default_factory=EnergyRules)
    availability: AvailabilityRules = field(default_factory=AvailabilityRules)
    allow_below_cost: bool = False
    """Whether a price may be below what the power for it costs."""
    watch: str = "auto"
    """Whether a watchtower runs inside: ``auto``, ``on`` or ``off``."""
    version: str = "0.1.0"
    demo: bool = False
    scrypt_n: int | None = None
    """The keystore's work factor; ``None`` takes its own."""
