"""Sequencers that misbehave on purpose, on a devnet and in tests, to show what stops them."""

from chain.villains.kinds import VILLAINS, Villain

__all__ = ["VILLAINS", "Villain"]
