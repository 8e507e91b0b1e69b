"""Whatever is deposited, executed, lied about, taken back, frozen and left in whatever order, the money adds up.

One machine drives the real contracts and the Python state together, with the clock in its hands. After every step the
contract holds exactly the final supply, less what was paid out, plus the deposits that no final batch executed; and at
the end everybody leaves, so that nothing stays but the fees that nobody collected.
"""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec.structs import replace

from chain.eip712 import voucher_digest
from chain.l1.connection import checksum
from chain.l1.protocol import FraudProof
from chain.rules.binding import bound_address
from chain.signing import address_of, keccak256, sign_digest
from chain.state import GENESIS_ROOT, RollupState
from chain.stf import Code, apply, apply_inbox, open_batch
from chain.txs import (
    CloseTogether,
    CollectFees,
    CreateAccount,
    Expire,
    FinishUnstake,
    OpenChannel,
    Prune,
    Redeem,
    Stake,
    StartClose,
    TopUp,
    Transfer,
    Unstake,
    Withdraw,
)
from chain.types import Account, Channel, Leaf, Withdrawal, account_key, channel_key, withdrawal_key
from tests.chain.contracts.conftest import FREEZE_S, NANO, REVEAL_BLOCKS, WINDOW_S, deploy_odd, inbox_of, person
from tests.chain.contracts.harness import KEYS, Handle, Ledger, Reverted
from tests.chain.contracts.l2 import L2, NO_HINT, Posted

ETHER = 10**18
VOUCHER_KEY = keccak256(b"voucher key of the money machine")
OWNERS = {address_of(key): key for key in KEYS}
PARAMETERS = (GENESIS_ROOT, WINDOW_S, 20, 40, FREEZE_S, 90, 91, REVEAL_BLOCKS, 31_338, 10, ETHER, 10**6, 10**9, 30)

people = st.integers(1, 3)
numbers = st.integers(1, 5)
amounts = st.integers(1, 800)
KINDS = (
    "create", "transfer", "withdraw", "open", "top up", "redeem", "start close", "close", "expire", "stake", "unstake",
    "finish", "collect", "prune",
)  # fmt: skip
transactions = st.tuples(st.sampled_from(KINDS), numbers, numbers, amounts)
Leaves = list[tuple[int, Leaf]]


class Money(RuleBasedStateMachine):
    units_per_nano = NANO
    nano_per_unit = 1

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.ledger = Ledger(Path(self.folder.name))
        self.asset = self.deploy_asset()
        stf = self.ledger.deploy("Stf")
        parameters = (self.asset.contract.address, stf.contract.address, *PARAMETERS)
        self.rollup = self.ledger.deploy("Rollup", parameters)
        self.rollup.send("depositBond", value_wei=ETHER)
        self.l2 = L2(self.ledger, self.rollup, inbox_of(self.ledger, self.rollup, self.asset))
        self.before: list[Leaves] = [self.l2.state.items()]
        """The state before each batch that stands, and behind the last one."""
        self.lie: Posted | None = None
        self.is_frozen = False
        self.claimed: set[int] = set()
        self.left_nano = 0
        self.refunded: set[int] = set()
        self.dust_nano = 0
        self.final_roots: list[bytes] = []
        self.salts = 0

    # ------------------------------------------------------------------------------------------------ while it runs

    @precondition(lambda self: not self.is_frozen)
    @rule(person_number=people, amount=amounts, hint=st.sampled_from([1, 2, 3, NO_HINT]))
    def deposit(self, person_number: int, amount: int, hint: int) -> None:
        self.l2.deposit(person(person_number), amount * self.nano_per_unit, hint)

    @precondition(lambda self: not self.is_frozen)
    @rule(wanted=transactions, is_garbage=st.booleans())
    def force(self, wanted: Any, is_garbage: bool) -> None:
        raw = b"\xee" * 7 if is_garbage else self.transaction(self.l2.state, *wanted)
        if raw is not None:
            self.l2.force(raw)

    @precondition(lambda self: not self.is_frozen and self.lie is None)
    @rule(wanted=st.lists(transactions, min_size=1, max_size=6))
    def batch(self, wanted: list[Any]) -> None:
        bodies = self.valid_bodies(wanted)
        if bodies or self.has_waiting:
            self.l2.post(*bodies)
            self.before.append(self.l2.state.items())

    @precondition(lambda self: not self.is_frozen and self.lie is None)
    @rule(wanted=st.lists(transactions, min_size=1, max_size=3), is_late=st.booleans(), then=st.booleans())
    def lie_about_a_root(self, wanted: list[Any], is_late: bool, then: bool) -> None:
        bodies = self.valid_bodies(wanted) or [CreateAccount(person(1)).encode()]
        frames = len(bodies) + -(-self.waiting_count // 8)
        self.lie = self.l2.post(*bodies, lies={(frames - 1 if is_late else 0): keccak256(b"a lie")})
        self.before.append(self.l2.state.items())
        if then:
            self.l2.post(CreateAccount(person(2)).encode())
            self.before.append(self.l2.state.items())

    @precondition(lambda self: self.lie is not None)
    @rule()
    def prove(self) -> None:
        assert self.lie is not None
        guilty = self.lie.batch_id
        wrong = next(
            number for number, frame in enumerate(self.lie.batch.frames) if frame.post_root == keccak256(b"a lie")
        )
        self.l2.prove(self.salted(self.lie.proof(wrong)), key=KEYS[2])
        del self.before[guilty + 1 :]
        self.l2.state = RollupState.from_leaves(self.before[guilty])
        self.lie = None
        assert self.rollup.call("count") == guilty
        if not self.is_frozen:
            self.rollup.send("depositBond", value_wei=ETHER)

    @precondition(lambda self: not self.is_frozen and self.lie is None)
    @rule(wanted=st.lists(transactions, min_size=1, max_size=3))
    def slander(self, wanted: list[Any]) -> None:
        """A batch that re-executes can't be disproven, in any of its frames."""
        bodies = self.valid_bodies(wanted)
        if not bodies:
            return
        posted = self.l2.post(*bodies)
        self.before.append(self.l2.state.items())
        proofs = [self.salted(posted.proof(number)) for number in range(len(posted.batch.frames))]
        for proof in proofs:
            self.l2.commit(proof)
        self.ledger.mine(REVEAL_BLOCKS)
        for proof in proofs:
            with suppress(Reverted):
                self.l2.reveal(proof)
                raise AssertionError("an honest batch was disproven")

    def salted(self, proof: FraudProof) -> FraudProof:
        """The same proof under a salt of its own: a rolled-back batch may come again, and with it the same witness."""
        self.salts += 1
        return replace(proof, salt=keccak256(b"%d" % self.salts))

    @precondition(lambda self: self.lie is None)
    @rule(seconds=st.integers(1, WINDOW_S))
    def pass_time(self, seconds: int) -> None:
        self.ledger.now_s += seconds

    @precondition(lambda self: self.lie is None)
    @rule()
    def finalize(self) -> None:
        ready = self.rollup.call("finalizable", 100)
        if ready > self.final_count:
            self.rollup.send("finalize", ready)

    @precondition(lambda self: self.final_count > 0)
    @rule(number=numbers)
    def claim(self, number: int) -> None:
        state = self.final_state
        leaf = state.withdrawal(number)
        if leaf is None:
            return
        index = withdrawal_key(number)
        call = (
            "claimWithdrawal", self.final_count - 1, index,
            (checksum(leaf.recipient), leaf.amount_nano, leaf.account, leaf.nonce), state.proof(index),
        )  # fmt: skip
        if index not in self.claimed:
            self.rollup.send(*call)
            self.claimed.add(index)
            self.keep_dust(leaf.amount_nano)
        with suppress(Reverted):
            self.rollup.send(*call)
            raise AssertionError("a withdrawal was paid twice")

    # ------------------------------------------------------------------------------------------------ when it ended

    @precondition(lambda self: not self.is_frozen and self.lie is None)
    @rule()
    def freeze(self) -> None:
        self.end_it()

    @precondition(lambda self: self.is_out)
    @rule(number=numbers)
    def leave(self, number: int) -> None:
        self.exit_account(number)

    @precondition(lambda self: self.is_out)
    @rule(number=numbers, cumulative=st.integers(0, 800))
    def leave_channel(self, number: int, cumulative: int) -> None:
        self.exit_channel(number, cumulative)

    @precondition(lambda self: self.is_out)
    @rule(number=numbers)
    def settle(self, number: int) -> None:
        self.settle_channel(number)

    @precondition(lambda self: self.is_out)
    @rule()
    def refund(self) -> None:
        self.refund_deposits()

    # -------------------------------------------------------------------------------------------------- what holds

    @invariant()
    def the_contract_holds_what_it_owes(self) -> None:
        final = self.final_state
        cursor = final.meta.inbox_cursor
        waiting = sum(
            message.amount_nano
            for index, message in self.l2.messages.items()
            if index >= cursor and index not in self.refunded
        )
        paid = 0
        for index in self.claimed:
            leaf = final.leaf(index)
            assert isinstance(leaf, Withdrawal)
            paid += leaf.amount_nano
        owed = final.meta.supply_nano - paid - self.left_nano + waiting
        self.check_held(owed)

    @invariant()
    def the_supply_is_where_it_is_said_to_be(self) -> None:
        total = self.l2.state.meta.fee_pool_nano
        for _, leaf in self.l2.state.items():
            if isinstance(leaf, Account):
                total += leaf.balance_nano + leaf.stake_nano + leaf.unlocking_nano
            elif isinstance(leaf, Channel):
                total += leaf.deposit_nano - leaf.redeemed_nano
            elif isinstance(leaf, Withdrawal):
                total += leaf.amount_nano
        assert total == self.l2.state.meta.supply_nano

    @invariant()
    def a_final_root_never_changes(self) -> None:
        count = self.final_count
        roots = [self.rollup.call("batch", number)[1] for number in range(count)]
        assert roots[: len(self.final_roots)] == self.final_roots
        assert not roots or roots[-1] == self.final_state.root()
        self.final_roots = roots

    def teardown(self) -> None:
        """With sequencer and operator dead, everybody leaves to the last unit."""
        try:
            if self.lie is not None:
                self.prove()
            if not self.is_frozen:
                self.end_it()
            state = self.final_state
            for number in range(1, state.meta.next_account):
                self.exit_account(number)
            for number in range(1, state.meta.next_channel):
                self.exit_channel(number, 0)
            self.ledger.now_s += WINDOW_S + 1
            for number in range(1, state.meta.next_channel):
                self.settle_channel(number)
            self.refund_deposits()
            for number in range(1, state.meta.next_withdrawal):
                self.claim(number)
            self.check_held(state.meta.fee_pool_nano)
            self.the_contract_holds_what_it_owes()
        finally:
            self.ledger.evm.close()
            self.folder.cleanup()

    # ---------------------------------------------------------------------------------------------------- machinery

    def deploy_asset(self) -> Handle:
        return self.ledger.deploy("TestUSD")

    def keep_dust(self, paid_nano: int) -> None:
        """Payouts are rounded down to the asset's units, and the contract keeps the rest."""
        self.dust_nano += paid_nano % self.nano_per_unit

    def check_held(self, owed_nano: int) -> None:
        held = self.asset.call("balanceOf", self.rollup.contract.address)
        assert held * self.nano_per_unit == (owed_nano + self.dust_nano) * self.units_per_nano

    @property
    def final_count(self) -> int:
        return int(self.rollup.call("finalCount"))

    @property
    def final_state(self) -> RollupState:
        return RollupState.from_leaves(self.before[self.final_count])

    @property
    def is_out(self) -> bool:
        return self.is_frozen and self.rollup.call("count") == self.final_count

    @property
    def waiting_count(self) -> int:
        return len(self.l2.messages) - self.l2.state.meta.inbox_cursor

    @property
    def has_waiting(self) -> bool:
        return self.waiting_count > 0

    def end_it(self) -> None:
        """Nobody executes a message until anyone may freeze; then what stands becomes final."""
        self.l2.force(b"ignored")
        self.ledger.now_s += FREEZE_S + 1
        self.rollup.send("freeze")
        self.is_frozen = True
        if self.rollup.call("count") > self.final_count:
            self.rollup.send("finalize", self.rollup.call("count"))

    def valid_bodies(self, wanted: list[Any]) -> list[bytes]:
        """Those of the transactions that will be valid behind what waits, each a frame."""
        state = RollupState.from_leaves(self.l2.state.items())
        open_batch(state, self.ledger.now_s)
        for index in range(state.meta.inbox_cursor, len(self.l2.messages)):
            apply_inbox(state, self.l2.messages[index], self.l2.rules)
        bodies = []
        for one in wanted:
            raw = self.transaction(state, *one)
            if raw is not None and apply(state, raw, self.l2.rules).code is Code.OK:
                bodies.append(raw)
        return bodies

    def transaction(self, state: RollupState, kind: str, a: int, b: int, amount: int) -> bytes | None:
        """One of this kind, signed by whom it takes; ``None`` where nobody could sign it."""
        account, channel = state.account(a), state.channel(a)
        payer = state.account(channel.payer) if channel else None
        tx: Any
        match kind:
            case "create":
                return CreateAccount(person(b % 4)).encode()
            case "expire":
                return Expire(a).encode()
            case "collect":
                return CollectFees(a).encode()
            case "prune":
                return Prune(a).encode()
            case "finish":
                return FinishUnstake(a).encode()
            case "redeem":
                signature = sign_digest(VOUCHER_KEY, voucher_digest(self.l2.domain, a, amount))
                return Redeem(a, amount).encode(signature)
            case "close":
                payee = state.account(channel.payee) if channel else None
                if channel is None or payee is None:
                    return None
                tx = CloseTogether(a, channel.redeemed_nano)
                return bytes(tx.encode(sign_digest(OWNERS[payee.owner], tx.digest(self.l2.domain, channel.signer))))
            case "top up":
                tx, account = TopUp(a, amount, 1), payer
            case "start close":
                tx, account = StartClose(a), payer
            case "transfer":
                tx = Transfer(a, b, amount, 3)
            case "withdraw":
                tx = Withdraw(a, amount, 2, person(b % 4))
            case "open":
                expiry_s = self.ledger.now_s + 20 + amount
                tx = OpenChannel(a, b, address_of(VOUCHER_KEY), amount, expiry_s, 1)
            case "stake":
                tx = Stake(a, amount, 1)
            case _:
                tx = Unstake(a, amount, 1)
        if account is None:
            return None
        signature = sign_digest(
            OWNERS[account.owner], tx.digest(self.l2.domain, account.nonce, bound_address(state, tx))
        )
        return bytes(tx.encode(signature))

    def account_arguments(self, state: RollupState, number: int) -> tuple[Any, ...]:
        account = state.account(number)
        assert account is not None
        fields = (
            checksum(account.owner), account.balance_nano, account.nonce, account.stake_nano, account.unlocking_nano,
            account.unlock_at_s, account.channels, account.slash_from,
        )  # fmt: skip
        return fields, state.proof(account_key(number))

    def exit_account(self, number: int) -> None:
        state = self.final_state
        account = state.account(number)
        if account is None:
            return
        if not self.rollup.call("claimed", number):
            self.rollup.send("exitAccount", number, *self.account_arguments(state, number))
            worth_nano = account.balance_nano + account.stake_nano + account.unlocking_nano
            self.left_nano += worth_nano
            self.keep_dust(worth_nano)
        with suppress(Reverted):
            self.rollup.send("exitAccount", number, *self.account_arguments(state, number))
            raise AssertionError("an account left twice")

    def exit_channel(self, number: int, cumulative: int) -> None:
        state = self.final_state
        channel = state.channel(number)
        if channel is None or self.rollup.call("claimed", channel_key(number)):
            return
        leaf = (
            channel.payer, channel.payee, checksum(channel.signer), channel.deposit_nano, channel.redeemed_nano,
            channel.expiry_s, channel.closing_at_s,
        )  # fmt: skip
        proof = (
            leaf,
            state.proof(channel_key(number)),
            *self.account_arguments(state, channel.payer),
            *self.account_arguments(state, channel.payee),
        )
        is_worth = channel.redeemed_nano < cumulative <= channel.deposit_nano
        if is_worth and not channel.is_over(state.meta.l2_time_s):
            signature = sign_digest(VOUCHER_KEY, voucher_digest(self.l2.domain, number, cumulative))
            self.rollup.send("exitChannel", number, proof, cumulative, signature)
        else:
            self.rollup.send("exitChannel", number, proof, 0, b"")

    def settle_channel(self, number: int) -> None:
        _, settle_at_s, *_, to_payer, to_payee = self.rollup.call("channelExits", number)
        if settle_at_s and settle_at_s <= self.ledger.now_s and to_payer + to_payee:
            self.rollup.send("settleChannelExit", number)
            self.left_nano += to_payer + to_payee
            self.keep_dust(to_payer)
            self.keep_dust(to_payee)

    def refund_deposits(self) -> None:
        cursor = self.final_state.meta.inbox_cursor
        for index, message in self.l2.messages.items():
            if index >= cursor and message.kind == "deposit" and index not in self.refunded:
                owner = checksum(message.owner)
                self.rollup.send("refundDeposit", index, owner, message.index_hint, message.amount_nano)
                self.refunded.add(index)
                self.keep_dust(message.amount_nano)


Money.TestCase.settings = settings(max_examples=8, stateful_step_count=25, deadline=None)
TestMoney = Money.TestCase


class MoneyOfSixDecimals(Money):
    """The same in units of a thousand nano, as USDC has them; L2 still counts every nano."""

    units_per_nano = 1
    nano_per_unit = 1_000

    def deploy_asset(self) -> Handle:
        return deploy_odd(self.ledger, "SixDecimals")


MoneyOfSixDecimals.TestCase.settings = settings(max_examples=4, stateful_step_count=25, deadline=None)
TestMoneyOfSixDecimals = MoneyOfSixDecimals.TestCase
