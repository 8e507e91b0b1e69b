"""What the table of attacks says about one: who mounts it, what it took before, and what stops it now."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Attack:
    """One attack on what stands around the fraud proof."""

    name: str
    """As on the command line; its module is the same with underscores."""
    who: str
    """Who can mount it: a sequencer, a payer, a prover, a bystander …"""
    does: str
    """What it does, in a few words."""
    before: str
    """What it took, or broke, before there was an answer to it."""


@dataclass(frozen=True)
class Result:
    """What became of it in one run on the embedded L1."""

    stopped_by: str
    """What refused, proved or priced it."""
    cost: str
    """What the attacker paid, in wei, gas or money."""
    gained: str
    """What it got; "nothing" where it got nothing."""


Fight = Callable[[Path, Path], Awaitable[Result]]
"""Runs the real attack: the arena's template and a folder of its own in, what became of it out.

Whatever doesn't hold raises an ``AssertionError``.
"""
