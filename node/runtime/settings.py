"""What a person may set about a node: each setting is declared once, here or in the part of the node that it is for.

A field's docstring is its help, ``msgspec.Meta`` its bounds, and a field that holds a struct is a section of the file.
``config.toml``, variables, options, ``idlewatt settings`` and docs/operating.md all read these declarations.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Protocol

import msgspec

from chain.file_systems import expanded
from node.engine.options import EngineOptions
from node.hardware.rules import AvailabilityRules, EnergyRules
from node.values import MAX_PRICE_NANO_PER_MTOK, Prices

_PLACE = r"://([^\s/@]*@)?(\[[0-9a-fA-F:.]+\]|[^\s/?#\[\]@:]+)(:\d{1,5})?([/?#]\S*)?\Z"
WebsocketUrl = Annotated[str, msgspec.Meta(pattern=rf"\A(?i:wss?){_PLACE}", examples=["ws://host:port"])]
HttpUrl = Annotated[str, msgspec.Meta(pattern=rf"\A(?i:https?){_PLACE}", examples=["http://host:port"])]
VariableName = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z_][A-Za-z0-9_]{0,63}\Z", examples=["MY_SERVER_KEY"])]
PublicName = Annotated[str, msgspec.Meta(pattern=r"\A\w[\w.:/@+ -]{0,95}\Z", examples=["my-model"])]
Nano = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Price = Annotated[int, msgspec.Meta(ge=0, le=MAX_PRICE_NANO_PER_MTOK)]


class NodeHome(Protocol):
    """Where one node keeps what it owns."""

    @property
    def keystore(self) -> Path:
        """The folder of Web3 V3 key files."""

    @property
    def database(self) -> Path:
        """The node's SQLite file."""

    @property
    def models(self) -> Path:
        """Where models are kept."""

    @property
    def logs(self) -> Path:
        """Where logs go."""

    @property
    def tuning(self) -> Path:
        """Where measured numbers of threads are remembered."""


class NodeSettings(EngineOptions, frozen=True, kw_only=True):
    """What a person may set about one node; how models run is inherited, since the file has no section for it."""

    relay: WebsocketUrl | None = None
    """The relay's address, such as ``ws://127.0.0.1:9000``; one that is given as an option is remembered."""
    chain: HttpUrl | None = None
    """The rollup's RPC, such as ``http://127.0.0.1:8547``; one that is given as an option is remembered."""
    own_l1: HttpUrl | None = None
    """Your own L1, whose word counts against the rollup's RPC. If not set: the one that the RPC names."""
    model: str = "demo"
    """What to rent out: ``demo``, a GGUF's path, a name that ``idlewatt models list`` shows, or the upstream's name."""
    model_name: PublicName | None = None
    """What ``model`` is called in offers, jobs and receipts. If not set: its own name, never a path."""
    upstream: HttpUrl | None = None
    """An OpenAI-compatible server to rent out instead of a file; its address ends in ``/v1``."""
    upstream_key_env: VariableName | None = None
    """The name of the variable that holds the upstream's bearer token; the token itself stands nowhere else."""
    price_in_nano: Price = 100_000_000
    """What a million input tokens cost."""
    price_out_nano: Price = 200_000_000
    """What a million output tokens cost."""
    allow_below_cost: bool = False
    """Whether a price may be below what the power for it costs."""
    min_deposit_nano: Nano = 100_000
    """The least that a buyer's channel to this node must hold."""
    soft_credit_nano: Nano = 50_000_000
    """What a buyer's vouchers may promise on a channel that isn't proven to stand on L1: a lying RPC costs no more."""
    credit_tokens: Annotated[int, msgspec.Meta(ge=1, le=65_536)] = 64
    """Output tokens that are delivered before they are paid: a buyer that never pays can take these, and its prompt."""
    requests_per_buyer: Annotated[int, msgspec.Meta(ge=1, le=4_096)] = 4
    """A buyer with so many requests here, running and waiting, gets no place in the queue; a free slot is anybody's."""
    model_folders: tuple[str, ...] = ()
    """Further folders to look for models in, such as ``["/data/gguf"]``."""
    watch: Literal["auto", "on", "off"] = "auto"
    """Whether a watchtower runs inside the node; ``auto`` while it has a stake, or channels that it is paid from."""
    energy: EnergyRules = EnergyRules()
    """What power costs."""
    availability: AvailabilityRules = AvailabilityRules()
    """When others use the machine, so that renting out pauses."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("relay", "chain", "own_l1", "upstream"):
            if (address := getattr(self, name)) is not None:
                msgspec.structs.force_setattr(self, name, address.rstrip("/"))

    @property
    def engine(self) -> EngineOptions:
        """How models run: the part that goes to the engine."""
        return msgspec.convert(self, EngineOptions, from_attributes=True)

    @property
    def prices(self) -> Prices:
        """What tokens cost a buyer, unless another price is named when the node goes online."""
        return Prices(input_nano_per_mtok=self.price_in_nano, output_nano_per_mtok=self.price_out_nano)

    @property
    def model_paths(self) -> tuple[Path, ...]:
        """Further folders to look for models in, with ``~`` resolved."""
        return tuple(expanded(folder) for folder in self.model_folders)
