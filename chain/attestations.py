"""Watchtowers that vouch for batches: what they sign, and how much stands behind a batch.

A batch's hash fixes everything that its execution depends on, as `Rollup.batchHash` computes it. An attestation says
that this batch is right. Whoever vouches for a batch vouches for those before it too, each by its own signature: so a
reader counts who signed every batch that isn't final.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from chain.codec import BatchData
from chain.eip712 import SigningDomain, StructType, word
from chain.frames import frames_root
from chain.l1.attested import AttesterBond
from chain.signing import keccak256, recover

_ATTESTATION = StructType(b"Attestation(uint64 batch,bytes32 batchHash)")


class Attestation(msgspec.Struct, frozen=True, kw_only=True):
    """One watchtower's word about one batch."""

    batch_id: int
    batch_hash: bytes
    signature: bytes
    """64 bytes."""

    def attester(self, domain: SigningDomain) -> bytes | None:
        """Who signed it; ``None`` for a signature that nobody made or that the contract wouldn't take."""
        return recover(attestation_digest(domain, self.batch_id, self.batch_hash), self.signature)


def batch_hash(batch_id: int, prev_root: bytes, inbox_hash: bytes, batch: BatchData) -> bytes:
    """What names a batch and fixes everything that its execution depends on, as `Rollup.batchHash` computes it.

    Args:
        batch_id: Its number.
        prev_root: The state root before it.
        inbox_hash: The inbox's running hash of every message that it and those before it execute.
        batch: Its data.
    """
    header = batch.header
    words: tuple[int | bytes, ...] = (
        batch_id,
        prev_root,
        inbox_hash,
        frames_root(batch),
        batch.frames[-1].post_root,
        len(batch.frames),
        header.l2_time_s,
        header.inbox_to,
    )
    return keccak256(b"".join(word(value) for value in words))


def attestation_digest(domain: SigningDomain, batch_id: int, batch_hash: bytes) -> bytes:
    """The 32 bytes that a watchtower signs about a batch."""
    return domain.digest(_ATTESTATION.hash(batch_id, batch_hash))


def vouching(
    domain: SigningDomain,
    batch_hashes: Mapping[int, bytes],
    attestations: Iterable[Attestation],
    bonds: Mapping[bytes, AttesterBond],
) -> dict[bytes, int]:
    """Who vouches for all of these batches, with the bond in wei.

    Args:
        domain: The rollup's.
        batch_hashes: Each batch that isn't final, up to the one of interest, with its hash as L1 computes it.
        attestations: What anybody showed; what doesn't fit is left out.
        bonds: What L1 says about those who may have signed.
    """
    signed: dict[bytes, set[int]] = {}
    for attestation in attestations:
        if batch_hashes.get(attestation.batch_id) != attestation.batch_hash:
            continue
        attester = attestation.attester(domain)
        if attester is not None:
            signed.setdefault(attester, set()).add(attestation.batch_id)
    return {
        attester: bonds[attester].amount_wei
        for attester, ids in signed.items()
        if attester in bonds and bonds[attester].vouches() and len(ids) == len(batch_hashes)
    }
