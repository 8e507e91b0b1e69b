"""The withdrawals that may be bought or were: found by executing every batch again, each with its proof."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from chain.errors import ChainRejectedError
from chain.l1.protocol import RollupL1
from chain.orders import claim_key
from chain.replay import ReplayError
from chain.types import FIRST_INDEX, Withdrawal, withdrawal_key
from wallet.rollup_follower import RollupFollower


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a withdrawal stands."""

    leaf: Withdrawal
    number: int
    batch_id: int
    """The batch that executed it."""
    final_at_s: int
    """When that batch's window ends."""
    siblings: tuple[bytes, ...]
    """Its proof against that batch's root."""


class Claims:
    """Follows the rollup from L1 alone, as a watchtower does, and keeps where withdrawals stand.

    Args:
        l1: The rollup's contracts.
    """

    def __init__(self, l1: RollupL1) -> None:
        self._l1 = l1
        self._follower = RollupFollower(l1)
        self._places: dict[bytes, Place] = {}
        self._restarts = 0
        self._next = FIRST_INDEX
        self.wrong: ReplayError | None = None
        """The batch that stands and is wrong, if one is: nothing from it on is worth anything."""

    def place(self, key: bytes) -> Place | None:
        """Where a claim's withdrawal stands in a batch that was executed again and found right."""
        return self._places.get(key)

    async def follow(self, own: Collection[bytes]) -> None:
        """Execute what L1 has beyond what was executed.

        Args:
            own: The claims whose proofs are kept however old they are.

        Raises:
            ChainUnavailableError: If L1 doesn't answer.
        """
        window_s = (await self._l1.deployment()).challenge_window_s
        final = await self._l1.final_count()
        self.wrong = None
        try:
            async for replayed in self._follower.follow():
                self._forget_what_was_taken_back()
                posted = replayed.posted
                self._take_in(posted.batch_id, posted.submitted_at_s + window_s, final, own)
        except ReplayError as error:
            self.wrong = error
        except ChainRejectedError as error:
            # A batch vanished between two questions; the next look sees what stands.
            if error.code != "no_such_batch":
                raise
        self._forget_what_was_taken_back()
        for key, place in list(self._places.items()):
            if place.batch_id < final and key not in own:
                del self._places[key]

    def _forget_what_was_taken_back(self) -> None:
        if self._follower.restarts != self._restarts:
            self._restarts, self._next = self._follower.restarts, FIRST_INDEX
            self._places.clear()

    def _take_in(self, batch_id: int, final_at_s: int, final: int, own: Collection[bytes]) -> None:
        state = self._follower.state
        for number in range(self._next, state.meta.next_withdrawal):
            leaf = state.withdrawal(number)
            assert leaf is not None
            key = claim_key(leaf)
            if batch_id >= final or key in own:
                self._places[key] = Place(
                    leaf=leaf,
                    number=number,
                    batch_id=batch_id,
                    final_at_s=final_at_s,
                    siblings=tuple(state.proof(withdrawal_key(number))),
                )
        self._next = state.meta.next_withdrawal
