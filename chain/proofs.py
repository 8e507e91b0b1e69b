"""State proofs as whoever doesn't believe a sequencer checks them: a leaf, its siblings, and the root they lead to."""

from __future__ import annotations

from typing import Literal

from chain.signing import keccak256
from chain.tree import EMPTY, root_from_proof
from chain.types import REGION_CAPACITY, Leaf, Region, account_key, channel_key, decode_leaf, withdrawal_key
from chain.views import StateProof

ProofKind = Literal["account", "channel", "withdrawal"]
_KEYS = {"account": account_key, "channel": channel_key, "withdrawal": withdrawal_key}


def leaf_key(kind: ProofKind, number: int) -> int:
    """The state index of an account's, a channel's or a withdrawal's number.

    Raises:
        ValueError: If the number is beyond its region.
    """
    if not 0 <= number < REGION_CAPACITY:
        raise ValueError("a number is beyond its region")
    return _KEYS[kind](number)


def proven_leaf(proof: StateProof, key: int, root: bytes) -> Leaf | None:
    """What a state holds at an index; ``None`` where it is proven to hold nothing.

    Args:
        proof: As a sequencer gave it.
        key: The state index that was asked for.
        root: The state's root, from somebody who is believed.

    Raises:
        ValueError: If this proves nothing: another index, a leaf of another kind, or siblings that lead elsewhere.
    """
    if proof.index != key:
        raise ValueError("the proof is of another leaf")
    encoded = bytes.fromhex(proof.leaf.removeprefix("0x"))
    siblings = [bytes.fromhex(sibling.removeprefix("0x")) for sibling in proof.siblings]
    leaf_hash = keccak256(encoded) if encoded else EMPTY
    if root_from_proof(key, leaf_hash, siblings) != root:
        raise ValueError("the proof leads to another root")
    if not encoded:
        return None
    leaf = decode_leaf(encoded)
    # Tags count regions from 1, so an account's encoding at a channel's index is no channel.
    if encoded[0] != Region(key >> 30) + 1:
        raise ValueError("the leaf is of another kind than its index")
    return leaf
