"""Who vouches for a batch: words from the board, each held against what L1 has."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from chain.attestations import Attestation, vouching
from chain.l1.attested import AttesterBond
from chain.replay import rules_of
from chain.signing import parse_address

if TYPE_CHECKING:
    from chain.client import RollupClient
    from chain.l1.rollup_l1 import JsonRpcRollupL1
    from chain.views import AttestationView

FRESH_S = 30.0
"""How long an answer of L1 about a bond or a batch is used again."""
MAX_ATTESTERS = 32
"""How many bonds are looked at."""


class Vouching(msgspec.Struct, frozen=True):
    """How many bonded watchtowers vouch for a batch and everything before it, and with how much in all."""

    attesters: int = 0
    bonded_wei: int = 0


class AttestationReader:
    """Counts who stands behind a batch.

    Args:
        l1: The rollup's contracts.
        client: The RPC whose board has the words.
        clock: Monotonic seconds.
    """

    def __init__(
        self, l1: JsonRpcRollupL1, client: RollupClient, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._l1 = l1
        self._client = client
        self._clock = clock
        self._hashes: dict[int, tuple[float, bytes]] = {}
        self._bonds: dict[bytes, tuple[float, AttesterBond]] = {}

    async def behind(self, batch_id: int) -> Vouching:
        """Who vouches for a batch that stands. A final one needs nobody.

        Raises:
            ChainUnavailableError: If L1 or the RPC doesn't answer.
            ChainRejectedError: If no such batch stands.
        """
        ids = range(await self._l1.final_count(), batch_id + 1)
        if not ids:
            return Vouching()
        views = [view for view in await self._client.attestations(batch_id) if view.batch_id in ids]
        named = _named_for_all(views, len(ids))
        if not named:
            return Vouching()
        hashes = {number: await self._hash(number) for number in ids}
        bonds = {attester: await self._bond(attester) for attester in named}
        domain = rules_of(await self._l1.deployment()).domain
        words = [
            Attestation(
                batch_id=view.batch_id,
                batch_hash=hashes[view.batch_id],
                signature=bytes.fromhex(view.signature.removeprefix("0x")),
            )
            for view in views
            if parse_address(view.attester) in named
        ]
        found = vouching(domain, hashes, words, bonds)
        return Vouching(len(found), sum(found.values()))

    async def _hash(self, batch_id: int) -> bytes:
        known = self._hashes.get(batch_id)
        if known is None or self._clock() - known[0] >= FRESH_S:
            known = self._hashes[batch_id] = self._clock(), await self._l1.batch_hash(batch_id)
        return known[1]

    async def _bond(self, attester: bytes) -> AttesterBond:
        known = self._bonds.get(attester)
        if known is None or self._clock() - known[0] >= FRESH_S:
            known = self._bonds[attester] = self._clock(), await self._l1.attester_bond(attester)
        return known[1]


def _named_for_all(views: list[AttestationView], batches: int) -> list[bytes]:
    """Those who are said to vouch for each of so many batches: only they are worth a look at L1."""
    said: dict[bytes, set[int]] = {}
    for view in views:
        said.setdefault(parse_address(view.attester), set()).add(view.batch_id)
    return [attester for attester, ids in said.items() if len(ids) == batches][:MAX_ATTESTERS]
