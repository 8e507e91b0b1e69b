"""A watchtower that vouches for what it verified: with its bond, by a signature about each batch.

What is signed is computed here from what was executed here, never taken from an L1 node: so whatever a node tells, the
signature is about a computation that is right, and costs no bond.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from chain.attestations import Attestation, attestation_digest, batch_hash
from chain.client import RollupClient
from chain.eip712 import SigningDomain
from chain.errors import ChainRejectedError, ChainUnavailableError
from chain.l1.protocol import RollupL1, next_inbox_hash
from chain.logs import get_logger
from chain.replay import ReplayedBatch
from chain.signing import parse_address

log = get_logger(__name__)

MAX_KEPT = 10_000
"""Batches whose words are kept: more than a window has."""
PUBLISH_S = 2.0


class Signer(Protocol):
    """Who vouches: a wallet's unlocked account."""

    address: bytes

    def sign_digest(self, digest: bytes) -> bytes:
        """Sign 32 bytes."""
        ...


class Attester:
    """Signs about each batch that its watchtower found right.

    Args:
        domain: The rollup's.
        signer: Whose bond answers.
    """

    def __init__(self, domain: SigningDomain, signer: Signer) -> None:
        self._domain = domain
        self._signer = signer
        self._names: dict[int, bytes] = {}
        self._inbox_hashes: dict[int, bytes] = {}
        """The inbox's running hash behind each batch."""

    @property
    def address(self) -> bytes:
        """Whose bond answers."""
        return self._signer.address

    def note(self, replayed: ReplayedBatch) -> None:
        """Vouch for a batch that was executed again and is right; those before it were.

        Where the watchtower began behind a snapshot, only L1 knows the inbox's hash before the first batch. An L1 node
        that lies could tell the true hash and other messages, and make a word about a wrong batch of it. So the first
        one goes without a word if it executes messages; those after it chain from its hash.
        """
        posted = replayed.posted
        number = posted.batch_id
        inbox_hash = self._inbox_hashes.get(number - 1, bytes(32) if number == 0 else b"")
        if not inbox_hash:
            self._inbox_hashes[number] = inbox_hash = posted.inbox_hash
            if replayed.messages:
                return
        else:
            for message in replayed.messages:
                inbox_hash = next_inbox_hash(inbox_hash, message.content_hash())
        self._inbox_hashes[number] = inbox_hash
        self._names[number] = batch_hash(number, posted.prev_root, inbox_hash, replayed.batch)
        for kept in (self._names, self._inbox_hashes):
            kept.pop(number - MAX_KEPT, None)

    def words(self, first: int, end: int) -> list[Attestation]:
        """What it signs about the batches from ``first`` to before ``end``."""
        return [self._word(number, self._names[number]) for number in range(first, end) if number in self._names]

    def _word(self, number: int, name: bytes) -> Attestation:
        signature = self._signer.sign_digest(attestation_digest(self._domain, number, name))
        return Attestation(batch_id=number, batch_hash=name, signature=signature)


class AttestationPublisher:
    """Puts an attester's words on the board beside the RPC, and again where they are not there any more.

    Args:
        l1: Says what is final.
        client: The RPC.
        attester: Who vouches.
        verified: How many batches its watchtower found right, from the first on.
    """

    def __init__(self, l1: RollupL1, client: RollupClient, attester: Attester, verified: Callable[[], int]) -> None:
        self._l1, self._client = l1, client
        self._attester, self._verified = attester, verified

    async def run(self, *, publish_s: float = PUBLISH_S) -> None:
        """Publish until cancelled; a board that is away or full is tried again."""
        trouble = ""
        while True:
            try:
                await self.step()
                trouble = ""
            except (ChainUnavailableError, ChainRejectedError) as error:
                if error.line() != trouble:
                    trouble = error.line()
                    log.warning("attestation_not_published", error=trouble)
            await asyncio.sleep(publish_s)

    async def step(self) -> int:
        """Publish what is missing; returns how many words that were.

        Raises:
            ChainUnavailableError: If L1 or the board doesn't answer.
            ChainRejectedError: As the board refuses.
        """
        words = self._attester.words(await self._l1.final_count(), self._verified())
        if not words:
            return 0
        shown = {
            (view.batch_id, view.batch_hash)
            for view in await self._client.attestations(words[-1].batch_id)
            if parse_address(view.attester) == self._attester.address
        }
        missing = [word for word in words if (word.batch_id, "0x" + word.batch_hash.hex()) not in shown]
        for word in missing:
            await self._client.attest(word.batch_id, word.signature)
        return len(missing)
