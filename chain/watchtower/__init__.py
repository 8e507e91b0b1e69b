"""The watchtower: re-derives L2 from L1 data alone, and proves the first wrong frame that it meets."""

from chain.watchtower.prover import Prover
from chain.watchtower.tower import Watchtower, WatchtowerConfig

__all__ = ["Prover", "Watchtower", "WatchtowerConfig"]
