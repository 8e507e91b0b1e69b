"""What the sequencer asks for at this moment: its quotes, and whether a transaction's fee is one that it gave."""

from __future__ import annotations

import time
from collections.abc import Callable

from msgspec.structs import asdict

from chain.fees.base_fee import FeeState, stepped_often
from chain.fees.policy import FeePolicy
from chain.fees.prices import Prices, base_fee_pico, claim_nano, prices_of
from chain.fees.quotes import QuoteBook
from chain.sequencer import refusals
from chain.sequencer.store import WithdrawalRow
from chain.txs import Tx, Withdraw
from chain.views import FeeQuote


class FeeMeter:
    """Counts what is taken in each step and moves the price after it.

    Args:
        policy: The operator's.
        min_fee_nano: The least fee of all.
        monotonic: Seconds that only move forward.
    """

    def __init__(self, policy: FeePolicy, min_fee_nano: int, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.policy = policy
        self._min_fee_nano = min_fee_nano
        self._monotonic = monotonic
        self._book = QuoteBook(policy.quote_valid_s)
        self._state = FeeState()
        self.seen_gas_price_wei: int | None = None
        """What L1 asked for last."""
        self._used_bytes = 0
        self._step_ends_s = monotonic() + policy.step_s
        self._set_prices(monotonic())

    @property
    def follows_l1(self) -> bool:
        """Whether L1's gas price is of any matter."""
        return self.policy.ether_price_nano > 0

    @property
    def gas_price_wei(self) -> int:
        """L1's gas price, smoothed."""
        return self._state.gas_price_wei

    def took(self, size_bytes: int) -> None:
        """Count a transaction that was executed."""
        self._used_bytes += size_bytes

    def saw_gas_price(self, gas_price_wei: int) -> None:
        """Take in what L1 asks for; the first one counts at once, later ones as the steps go."""
        now = self._move()
        if not self._state.gas_price_wei:
            self._state = FeeState(self._state.congestion, max(0, gas_price_wei))
            self._book = QuoteBook(self.policy.quote_valid_s)  # what was asked for before L1 was seen was no quote
            self._set_prices(now)
        self.seen_gas_price_wei = gas_price_wei

    @property
    def prices(self) -> Prices:
        """What is asked for now."""
        self._move()
        return self._prices

    def quote(self) -> FeeQuote:
        """What is asked for now, and how long that holds."""
        prices, policy = self.prices, self.policy
        return FeeQuote(
            **asdict(prices),
            base_fee_pico=base_fee_pico(prices),
            valid_s=int(policy.quote_valid_s),
            redeems_per_open=policy.redeems_per_open,
            redeems_per_top_up=policy.redeems_per_top_up,
        )

    def check(self, tx: Tx) -> None:
        """Make sure that a transaction pays what was asked for at some moment whose quote still holds.

        Raises:
            ChainRejectedError: ``fee_too_low``, or ``withdrawal_too_small``.
        """
        now = self._move()
        asked = self._prices.of(tx.KIND)
        if asked is None:
            return
        standing = self._book.standing(now)
        if tx.fee_nano < min(prices.of(tx.KIND) or 0 for prices in standing):  # type: ignore[union-attr]
            raise refusals.low_fee(asked, int(self.policy.quote_valid_s))
        least_nano = min(prices.min_withdrawal_nano for prices in standing)
        if isinstance(tx, Withdraw) and tx.amount_nano < least_nano:
            raise refusals.small_withdrawal(self._prices.min_withdrawal_nano)

    def pays_claim_of(self, row: WithdrawalRow) -> bool:
        """Whether the operator claims a withdrawal on L1 at the gas price of now; its owner can at any time."""
        least = self.claim_threshold_nano()
        return row.leaf.amount_nano >= least and row.fee_nano >= self.claim_fee_nano()

    def claim_fee_nano(self) -> int:
        """What a withdrawal must have paid to be claimed: half of what that costs now; nothing where gas is free."""
        return claim_nano(self._state, self.policy) // 2

    def claim_threshold_nano(self) -> int:
        """The least withdrawal that the operator claims: what that costs now, and no less than the least fee."""
        return max(self._min_fee_nano, claim_nano(self._state, self.policy))

    def least_redeem_nano(self) -> int:
        """The increment below which a redeem counts for several; the least one of the quotes that still hold."""
        return min(prices.min_redeem_nano for prices in self._book.standing(self._move()))

    def _move(self) -> float:
        """Move on by the steps that are over; returns the time."""
        now = self._monotonic()
        if now < self._step_ends_s:
            return now
        steps = 1 + int((now - self._step_ends_s) / self.policy.step_s)
        self._state = stepped_often(self._state, self.policy, steps, self._used_bytes, self.seen_gas_price_wei)
        self._used_bytes = 0
        self._step_ends_s += steps * self.policy.step_s
        self._set_prices(now)
        return now

    def _set_prices(self, now: float) -> None:
        self._prices = prices_of(self._state, self.policy, self._min_fee_nano)
        self._book.note(self._prices, now)
