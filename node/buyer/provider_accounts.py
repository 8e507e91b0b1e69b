"""The accounts of providers on the chain, read in the background.

A provider claims a stake in its offer. Only the chain is believed. Each provider's account is read, kept for a few
seconds, and read again at once where an offer claims more than the account had. A slow chain delays a reading of the
offers for a second at most. What it answers later is used by the next reading.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from itertools import islice
from typing import Final

from cachetools import FIFOCache

from chain.errors import IdlewattError
from chain.logs import get_logger
from chain.views import AccountView
from node.buyer.limits import BuyerLimits
from node.market.offers import backing_nano
from node.rollup.monitor import Rollup

log = get_logger(__name__)

AT_ONCE: Final = 8
"""Questions under way at once."""
MAX_WANTED: Final = 1_000
MAX_KEPT: Final = 2_000

_Key = tuple[str, bytes]
"""A deployment and a provider on it."""


class ProviderAccounts:
    """The accounts of providers, as the chain has them; :meth:`run` asks the chain.

    Args:
        limits: How long an account is used, and how long the chain is waited for.
    """

    def __init__(self, limits: BuyerLimits) -> None:
        self.limits = limits
        self._kept: FIFOCache[_Key, tuple[float, AccountView | None]] = FIFOCache(MAX_KEPT)
        """When each account was read, and what it was; an old one is still better than none."""
        self._wanted: dict[bytes, None] = {}
        self._rollup: Rollup | None = None
        self._due = asyncio.Event()
        self._done = asyncio.Event()

    async def read(self, rollup: Rollup, claims_nano: Mapping[bytes, int]) -> dict[bytes, AccountView | None]:
        """The accounts of these providers: ``None`` for a provider without one, no entry for one not known yet.

        Args:
            rollup: The chain.
            claims_nano: The stake that each provider says it has.
        """
        deployment = rollup.info.deployment
        doubtful = {
            provider: None for provider, claim in claims_nano.items() if self._is_old((deployment, provider), claim)
        }
        if doubtful:
            left = self._wanted if self._rollup and self._rollup.info.deployment == deployment else {}
            self._rollup, self._wanted = rollup, dict(islice((doubtful | left).items(), MAX_WANTED))
            self._done.clear()
            self._due.set()
            try:
                async with asyncio.timeout(self.limits.account_patience_s):
                    await self._done.wait()
            except TimeoutError:
                log.info("provider_accounts_delayed", providers=len(self._wanted))
        return {
            provider: self._kept[deployment, provider][1]
            for provider in claims_nano
            if (deployment, provider) in self._kept
        }

    async def run(self) -> None:
        """Ask the chain for the accounts that :meth:`read` needs, until cancelled."""
        while True:
            await self._due.wait()
            self._due.clear()
            async with asyncio.TaskGroup() as tasks:
                for _ in range(AT_ONCE):
                    tasks.create_task(self._ask())
            if not self._due.is_set():
                self._done.set()

    async def _ask(self) -> None:
        while self._wanted and self._rollup is not None:
            rollup, provider = self._rollup, next(iter(self._wanted))
            del self._wanted[provider]
            try:
                account = await rollup.client.account(provider)
            except IdlewattError:
                # The rollup monitor tells that the chain is silent. Known accounts stay, the rest is asked for again.
                self._wanted.clear()
                return
            self._kept[rollup.info.deployment, provider] = time.monotonic(), account

    def _is_old(self, key: _Key, claim_nano: int) -> bool:
        found = self._kept.get(key)
        if found is None:
            return True
        at, account = found
        is_doubtful = account is None or claim_nano > backing_nano(account)
        limit_s = self.limits.account_doubt_s if is_doubtful else self.limits.account_fresh_s
        return time.monotonic() - at >= limit_s
