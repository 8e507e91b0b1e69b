"""The operator's books: the fees that its sequencer earned, and the gas that its key paid for on L1."""

from __future__ import annotations

from typing import Final

import msgspec

from chain.fees.policy import FeePolicy
from chain.fees.prices import WEI_PER_ETHER
from chain.l1.protocol import RollupL1
from chain.sequencer.store import SequencerStore, Statement, set_metadata
from chain.views import OperatorBooks

_FACT: Final = "books"


class _Kept(msgspec.Struct, frozen=True):
    """What the disk has; decimal text, since wei outgrow 64 bits."""

    earned_nano: str = "0"
    l1_gas: str = "0"
    l1_spent_wei: str = "0"


class Books:
    """Counts since the home was made.

    Args:
        l1: Counts what its key paid since this start.
    """

    def __init__(self, l1: RollupL1) -> None:
        self._l1 = l1
        self._written = _Kept()
        self._gas_before = 0
        self._wei_before = 0
        self.earned_nano = 0
        """The fees of everything that this sequencer executed."""

    async def load(self, store: SequencerStore) -> None:
        """Read what the disk has from earlier starts.

        Raises:
            SequencerStoreError: If it can't be read.
        """
        await self.forget_unwritten(store)
        self._gas_before = int(self._written.l1_gas)
        self._wei_before = int(self._written.l1_spent_wei)

    async def forget_unwritten(self, store: SequencerStore) -> None:
        """Go back to what the disk has earned, since what was executed after that is undone.

        Raises:
            SequencerStoreError: If it can't be read.
        """
        self._written = await _read(store)
        self.earned_nano = int(self._written.earned_nano)

    def drain(self) -> list[Statement]:
        """What has to become durable since the last time."""
        spent = self._l1.spent
        now = _Kept(str(self.earned_nano), str(self._gas_before + spent.gas), str(self._wei_before + spent.wei))
        if now == self._written:
            return []
        self._written = now
        return [set_metadata(_FACT, msgspec.json.encode(now))]

    def view(self, policy: FeePolicy) -> OperatorBooks:
        """The books as they are shown."""
        wei = self._wei_before + self._l1.spent.wei
        return OperatorBooks(
            earned_nano=self.earned_nano,
            l1_gas=self._gas_before + self._l1.spent.gas,
            l1_spent_wei=wei,
            l1_spent_nano=wei * policy.ether_price_nano // WEI_PER_ETHER,
        )


async def _read(store: SequencerStore) -> _Kept:
    data = await store.metadata(_FACT)
    return _Kept() if data is None else msgspec.json.decode(data, type=_Kept)
