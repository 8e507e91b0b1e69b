"""Whatever is sold, lied about, taken back, claimed and frozen in whatever order, seller and buyer each get their own.

The money machine with a market: recipients sell their withdrawals' claims while everything else goes on. Of each claim
the seller gets the amount less the fee at once, the buyer the amount later, both to the last unit; and what is refused
moves nothing.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from chain.l1.connection import checksum
from chain.orders import WithdrawalOrder, claim_key
from chain.signing import sign_digest
from chain.state import RollupState
from chain.types import Withdrawal, withdrawal_key
from tests.chain.contracts.conftest import NANO, person
from tests.chain.contracts.harness import KEYS, Reverted
from tests.chain.contracts.test_money_machine import OWNERS, Money, MoneyOfSixDecimals

WITHIN_S = 100


class Market(Money):
    def __init__(self) -> None:
        super().__init__()
        self.buyers: dict[bytes, bytes] = {}
        """Who bought a claim, by its key."""
        for key in KEYS[2:4]:
            self.asset.send("mint", checksum(person(KEYS.index(key))), 10**6 * NANO)
            self.asset.send("approve", self.rollup.contract.address, 2**256 - 1, key=key)

    @precondition(lambda self: self.rollup.call("count") > 0)
    @rule(
        number=st.integers(1, 3),
        buyer=st.sampled_from([2, 3]),
        fee=st.integers(0, 900),
        elapsed_s=st.integers(0, WITHIN_S),
        by_recipient=st.booleans(),
    )
    def sell(self, number: int, buyer: int, fee: int, elapsed_s: int, by_recipient: bool) -> None:
        leaf = self.standing.withdrawal(number)
        if leaf is None or leaf.recipient not in OWNERS or leaf.recipient == person(buyer):
            return
        start_s = self.ledger.now_s - elapsed_s
        order = WithdrawalOrder(withdrawal=leaf, max_fee_nano=fee, start_s=start_s, deadline_s=start_s + WITHIN_S)
        signer = OWNERS[leaf.recipient] if by_recipient else KEYS[buyer]
        call = self.purchase(number, leaf, order, sign_digest(signer, order.digest(self.l2.domain)))
        key, index = claim_key(leaf), withdrawal_key(number)
        is_right = by_recipient and fee <= leaf.amount_nano and not self.is_frozen
        before = self.held(leaf.recipient), self.held(person(buyer)), self.held(self.rollup.address)
        if is_right and key not in self.buyers and index not in self.claimed:
            self.rollup.send(*call, key=KEYS[buyer])
            self.buyers[key] = person(buyer)
            paid = self.units(leaf.amount_nano) - self.units(order.fee_nano(self.ledger.now_s))
        else:
            with pytest.raises(Reverted):
                self.rollup.send(*call, key=KEYS[buyer])
            paid = 0
        after = self.held(leaf.recipient), self.held(person(buyer)), self.held(self.rollup.address)
        assert after == (before[0] + paid, before[1] - paid, before[2])

    @precondition(lambda self: self.final_count > 0)
    @rule(number=st.integers(1, 5))
    def claim(self, number: int) -> None:
        leaf = self.final_state.withdrawal(number)
        if leaf is None:
            return
        is_first = withdrawal_key(number) not in self.claimed
        payee = self.buyers.get(claim_key(leaf), leaf.recipient)
        before = {one: self.held(one) for one in (payee, leaf.recipient)}
        super().claim(number)
        paid = self.units(leaf.amount_nano) if is_first else 0
        assert self.held(payee) == before[payee] + paid
        assert payee == leaf.recipient or self.held(leaf.recipient) == before[leaf.recipient]

    @property
    def standing(self) -> RollupState:
        """The state of the newest batch whose root is what its frames lead to."""
        return RollupState.from_leaves(self.before[self.sound_count])

    @property
    def sound_count(self) -> int:
        return self.lie.batch_id if self.lie is not None else int(self.rollup.call("count"))

    def purchase(self, number: int, leaf: Withdrawal, order: WithdrawalOrder, signature: bytes) -> tuple[Any, ...]:
        fields = checksum(leaf.recipient), leaf.amount_nano, leaf.account, leaf.nonce
        proof = self.standing.proof(withdrawal_key(number))
        terms = order.max_fee_nano, order.start_s, order.deadline_s
        return "buyWithdrawal", self.sound_count - 1, withdrawal_key(number), fields, proof, terms, signature

    def held(self, address: bytes) -> int:
        return int(self.asset.call("balanceOf", checksum(address)))

    def units(self, nano: int) -> int:
        return nano * self.units_per_nano // self.nano_per_unit


class MarketOfSixDecimals(Market, MoneyOfSixDecimals):
    """The same with an asset whose smallest unit is worth a thousand nano."""


Market.TestCase.settings = settings(max_examples=6, stateful_step_count=25, deadline=None)
TestMarket = Market.TestCase
MarketOfSixDecimals.TestCase.settings = settings(max_examples=3, stateful_step_count=25, deadline=None)
TestMarketOfSixDecimals = MarketOfSixDecimals.TestCase
