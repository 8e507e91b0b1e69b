"""The wallet's account on the rollup, read every few seconds and whenever something changed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

from chain.errors import IdlewattError
from chain.views import AccountView
from node.payments.wallet import NodeWallet
from node.rollup.monitor import RollupMonitor
from wallet.accounts import balance_of

READ_S: Final = 5.0


class AccountMonitor:
    """Knows balance and stake of the wallet's account.

    Args:
        wallet: Whose account.
        chain: The rollup.
        on_change: Told when balance, stake or their deadlines changed.
        read_s: Seconds between two readings.
    """

    def __init__(
        self, wallet: NodeWallet, chain: RollupMonitor, on_change: Callable[[], None], *, read_s: float = READ_S
    ) -> None:
        self._wallet = wallet
        self._chain = chain
        self._on_change = on_change
        self._read_s = read_s
        self._due = asyncio.Event()
        self.account: AccountView | None = None
        """The first account as last read; ``None`` before that, or while there is none."""
        self.balance_nano: int | None = None
        """Free money on the rollup, in all accounts; ``None`` before it was read."""

    @property
    def stake_nano(self) -> int:
        """The stake behind this wallet's receipts."""
        return self.account.stake_nano if self.account else 0

    @property
    def slashable_nano(self) -> int:
        """What a slash could take: the stake, and the part of it that is on its way out."""
        return self.account.stake_nano + self.account.unlocking_nano if self.account else 0

    def read_soon(self) -> None:
        """Read the account at once, because it may have changed."""
        self._due.set()

    def balance_is(self, balance_nano: int) -> None:
        """Set the balance that another reading of the chain found."""
        self.balance_nano = balance_nano

    async def run(self) -> None:
        """Read until cancelled. A chain that is silent is told of by the rollup monitor."""
        while True:
            self._due.clear()
            address, rollup = self._wallet.address, self._chain.known
            if address is not None and rollup is not None and self._chain.reachable:
                with contextlib.suppress(IdlewattError):
                    self._note(await rollup.client.accounts_of(address))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._read_s):
                    await self._due.wait()

    def _note(self, accounts: list[AccountView]) -> None:
        account, balance_nano = next(iter(accounts), None), balance_of(accounts)
        if balance_nano != self.balance_nano or account != self.account:
            self.balance_nano, self.account = balance_nano, account
            self._on_change()
