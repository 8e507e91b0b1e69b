"""What a devnet is started with, and what it says once it runs."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec.structs import replace

from chain.fees.policy import FeePolicy
from chain.fees.quotas import Network
from chain.sequencer.config import SequencerConfig

POLL_S: Final = 0.5
"""How often the sequencer looks at L1; the faucet's deposits are announced to it besides."""


class DevnetParams(msgspec.Struct, frozen=True, kw_only=True):
    """What a new devnet's rollup is deployed with; an existing one keeps its own."""

    challenge_window_s: int = 60
    force_delay_s: int = 20
    takeover_delay_s: int = 40
    freeze_delay_s: int = 120
    close_delay_s: int = 90
    unstake_delay_s: int = 90
    reveal_delay_blocks: int = 10
    max_time_ahead_s: int = 10
    min_bond_wei: int = 10**18
    turn_batches: int = 3_600
    turn_s: int = 3_600
    turn_grace_s: int = 60

    @classmethod
    def with_window(cls, challenge_window_s: int, *, reveal_delay_blocks: int = 10) -> DevnetParams:
        """Those with another challenge window, and what depends on it (see ``chain.delays``).

        Args:
            challenge_window_s: From 2 seconds on.
            reveal_delay_blocks: Fewer where the window has no room for them.
        """
        usual = cls()
        return msgspec.structs.replace(
            usual,
            challenge_window_s=challenge_window_s,
            freeze_delay_s=challenge_window_s + usual.takeover_delay_s + usual.force_delay_s,
            reveal_delay_blocks=max(1, min(reveal_delay_blocks, challenge_window_s - 1)),
        )


class FaucetLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How often test money is given."""

    pause_s: float = 60.0
    """How long one address waits for its next grant."""
    max_grants: int = 100
    """How many grants everybody together gets in that time."""


class DevnetConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Limits and intervals of a running devnet."""

    sequencer: SequencerConfig = SequencerConfig(poll_s=POLL_S)
    faucet: FaucetLimits = FaucetLimits()
    trusted_proxies: tuple[Network, ...] = ()
    """The operator's own proxies, whose ``X-Forwarded-For`` tells clients apart."""
    reveal_block_s: float = 1.0
    """How often an empty block is mined while a fraud commitment waits for its reveal."""
    snapshot_every_s: float = 300.0
    """How often the last final state is written into a file, where there is a newer one."""


class OtherL1(msgspec.Struct, frozen=True, kw_only=True):
    """An L1 to deploy to and sequence on, instead of an embedded one."""

    url: str
    """Its JSON-RPC over HTTP."""
    use_dev_account: bool = False
    """Whether to take ether from an account that it signs for itself, as development chains do."""
    rollup_address: bytes | None = None
    """The rollup that is there to be sequenced, beside its leader; a new one is deployed if not given."""
    snapshot: str | None = None
    """A file or a URL with a final state of that rollup, that a new sequencer begins with."""


PRICED_ACCOUNTS_PER_MINUTE: Final = 60
"""How many accounts are created for free where each costs the operator real gas."""


class OperatorTerms(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator asks of others, and whom it believes."""

    ether_price_nano: int = 0
    """What an ether costs; 0 where it costs nothing."""
    trusted_proxies: tuple[Network, ...] = ()
    """Its own proxies, whose ``X-Forwarded-For`` tells clients apart."""

    def sequencer(self, *, inbox_confirmations: int | None) -> SequencerConfig:
        """The sequencer's limits under these terms."""
        config = SequencerConfig(poll_s=POLL_S, fees=FeePolicy(ether_price_nano=self.ether_price_nano))
        if self.ether_price_nano:
            config = replace(config, accounts_per_minute=PRICED_ACCOUNTS_PER_MINUTE)
        return config if inbox_confirmations is None else replace(config, inbox_confirmations=inbox_confirmations)


class DevnetReady(msgspec.Struct, frozen=True, kw_only=True):
    """Where a running devnet answers, and which chain it is."""

    l1_url: str
    l2_url: str
    deployment: str
    """32-byte hash as ``0x`` hex that no other deployment shares."""
    rollup_address: str
    inbox_address: str
    asset_address: str
    is_new: bool
    """Whether this start deployed the contracts."""
