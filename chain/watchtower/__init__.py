"""The watchtower: re-derives L2 from L1 data alone, and proves the first wrong frame that it meets."""

from chain.watchtower.tower import Prover, Watchtower, WatchtowerConfig

__all__ = ["Prover", "Watchtower", "WatchtowerConfig"]
