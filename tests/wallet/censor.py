"""A sequencer that takes everything but what it is told to leave out."""

from __future__ import annotations

from chain.errors import ChainRejectedError
from chain.sequencer import Sequencer
from chain.txs import Slash, decode
from chain.views import SoftReceipt
from tests.wallet.world import World


class NoSlashes(Sequencer):
    """A friend of providers."""

    async def submit(self, raw: bytes, client: str | None = None) -> SoftReceipt:
        if isinstance(decode(raw)[0], Slash):
            raise ChainRejectedError("Not taken.", code="bad_evidence")
        return await super().submit(raw, client)


class CensoredWorld(World):
    """A rollup whose sequencer refuses every slash."""

    sequencer_class = NoSlashes
