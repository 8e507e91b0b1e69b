"""Sequencers that misbehave on purpose, so that what stops them can be watched: on a devnet, and in the tests."""

from chain.villains.kinds import VILLAINS, Villain

__all__ = ["VILLAINS", "Villain"]
