"""Whatever happens, the money adds up, nonces and redeemed amounts never fall, and undo is exact.

And pruning is safe: a number that was pruned never names an account again, nothing that was ever signed for it does
anything, and an account that a channel pays or is paid from is there as long as the channel.
"""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from msgspec.structs import replace

from chain.state import RollupState
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
from chain.types import (
    META_KEY,
    REGION_CAPACITY,
    Account,
    Channel,
    Meta,
    Withdrawal,
    account_key,
    channel_key,
    withdrawal_key,
)
from tests.chain.support import RULES, deposit, forced, owner, signed, signed_once, slash

people = st.integers(1, 4)
numbers = st.integers(0, 6)
amounts = st.one_of(st.integers(0, 2_000), st.just(2**64 - 1))
fees = st.integers(0, 20)
VOUCHER_KEY = 9


class Ledger(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.state = RollupState.genesis()
        self.nonces: dict[int, int] = {}
        self.redeemed: dict[int, int] = {}
        self.deposited = 0
        self.last_time_s = 0
        self.pruned: set[int] = set()
        self.signed_for: dict[int, list[bytes]] = {}

    def by_account(self, tx, signer: int, number: int) -> bytes:
        """A transaction of an account, remembered for when it is gone."""
        raw = signed(tx, signer, self.nonce(number))
        self.signed_for.setdefault(number, []).append(raw)
        return raw

    def run_tx(self, raw: bytes, by_force: bool) -> None:
        root = self.state.root()
        if by_force and len(raw) <= 128:
            outcome = apply_inbox(self.state, forced(self.state.meta.inbox_cursor, raw), RULES)
            assert outcome.code is not Code.BAD_ALLOCATION
            return
        mark = self.state.mark()
        outcome = apply(self.state, raw, RULES)
        assert outcome.code is not Code.BAD_ALLOCATION
        if outcome.code:
            assert self.state.root() == root
        else:
            after = self.state.root()
            self.state.rollback(mark)
            assert self.state.root() == root
            assert apply(self.state, raw, RULES) == outcome
            assert self.state.root() == after

    def nonce(self, number: int) -> int:
        account = self.state.account(number)
        return account.nonce if account else 0

    def payer_nonce(self, channel_id: int) -> int:
        channel = self.state.channel(channel_id)
        return self.nonce(channel.payer) if channel else 0

    @rule(person=people, hint=numbers, amount=st.integers(1, 5_000))
    def deposit(self, person, hint, amount):
        apply_inbox(self.state, deposit(self.state.meta.inbox_cursor, owner(person), amount, hint), RULES)
        self.deposited += amount

    @rule(person=people, by_force=st.booleans())
    def create(self, person, by_force):
        self.run_tx(CreateAccount(owner(person)).encode(), by_force)

    @rule(sender=numbers, receiver=numbers, amount=amounts, fee=fees, signer=people, by_force=st.booleans())
    def transfer(self, sender, receiver, amount, fee, signer, by_force):
        self.run_tx(self.by_account(Transfer(sender, receiver, amount, fee), signer, sender), by_force)

    @rule(sender=numbers, amount=amounts, fee=fees, signer=people)
    def withdraw(self, sender, amount, fee, signer):
        self.run_tx(self.by_account(Withdraw(sender, amount, fee, owner(signer)), signer, sender), False)

    @rule(sender=numbers, payee=numbers, amount=amounts, life_s=st.integers(0, 100), signer=people)
    def open(self, sender, payee, amount, life_s, signer):
        tx = OpenChannel(sender, payee, owner(VOUCHER_KEY), amount, self.last_time_s + life_s, 1)
        self.run_tx(self.by_account(tx, signer, sender), False)

    @rule(channel=numbers, amount=amounts, signer=people)
    def top_up(self, channel, amount, signer):
        self.run_tx(signed(TopUp(channel, amount, 1), signer, self.payer_nonce(channel)), False)

    @rule(channel=numbers, cumulative=amounts, by_force=st.booleans())
    def redeem(self, channel, cumulative, by_force):
        self.run_tx(signed_once(Redeem(channel, cumulative), VOUCHER_KEY), by_force)

    @rule(channel=numbers, signer=people, skew=st.integers(-1, 1))
    def close_together(self, channel, signer, skew):
        leaf = self.state.channel(channel)
        cumulative = max(0, (leaf.redeemed_nano if leaf else 0) + skew)
        self.run_tx(signed_once(CloseTogether(channel, cumulative), signer), False)

    @rule(channel=numbers, signer=people)
    def start_close(self, channel, signer):
        self.run_tx(signed(StartClose(channel), signer, self.payer_nonce(channel)), False)

    @rule(channel=numbers)
    def expire(self, channel):
        self.run_tx(Expire(channel).encode(), False)

    @rule(sender=numbers, amount=amounts, fee=fees, signer=people, by_force=st.booleans(), back=st.booleans())
    def move_stake(self, sender, amount, fee, signer, by_force, back):
        tx = (Unstake if back else Stake)(sender, amount, fee)
        self.run_tx(self.by_account(tx, signer, sender), by_force)

    @rule(sender=numbers)
    def finish_unstake(self, sender):
        self.run_tx(FinishUnstake(sender).encode(), False)

    @rule(provider=numbers, reporter=numbers, signer=people)
    def slash(self, provider, reporter, signer):
        self.run_tx(slash(provider, reporter, signer), False)

    @rule(account=numbers, by_force=st.booleans())
    def collect_fees(self, account, by_force):
        pool = self.state.meta.fee_pool_nano
        self.run_tx(CollectFees(account).encode(), by_force)
        assert self.state.meta.fee_pool_nano in ((pool,) if by_force else (0, pool))

    @rule(account=numbers, by_force=st.booleans())
    def prune(self, account, by_force):
        before = self.state.account(account)
        self.run_tx(Prune(account).encode(), by_force)
        if before is not None and self.state.account(account) is None:
            self.pruned.add(account)

    @rule(dice=st.integers(0, 7))
    def use_up_the_accounts(self, dice):
        if dice == 0:
            self.state.write(META_KEY, replace(self.state.meta, next_account=REGION_CAPACITY))

    @rule(seconds=st.integers(0, 60))
    def pass_time(self, seconds):
        self.last_time_s += seconds
        open_batch(self.state, self.last_time_s)

    @invariant()
    def supply_is_where_it_is_said_to_be(self):
        meta = self.state.meta
        total = meta.fee_pool_nano
        for _, leaf in self.state.items():
            if isinstance(leaf, Account):
                total += leaf.balance_nano + leaf.stake_nano + leaf.unlocking_nano
            elif isinstance(leaf, Channel):
                total += leaf.deposit_nano - leaf.redeemed_nano
            elif isinstance(leaf, Withdrawal):
                total += leaf.amount_nano
        assert total == meta.supply_nano == self.deposited

    @invariant()
    def nonces_and_redeemed_amounts_never_fall(self):
        for number, account in self.state.items():
            if isinstance(account, Account):
                assert account.nonce >= self.nonces.get(number, 0)
                self.nonces[number] = account.nonce
        for number in range(1, self.state.meta.next_channel):
            channel = self.state.channel(number)
            if channel is not None:
                assert self.redeemed.get(number, 0) <= channel.redeemed_nano <= channel.deposit_nano
                self.redeemed[number] = channel.redeemed_nano

    @invariant()
    def accounts_count_their_channels_which_never_lose_one(self):
        counts: dict[int, int] = {}
        for _, leaf in self.state.items():
            if isinstance(leaf, Channel):
                for party in (leaf.payer, leaf.payee):
                    counts[party] = counts.get(party, 0) + 1
        held = {number: leaf.channels for number, leaf in self.state.items() if isinstance(leaf, Account)}
        assert {number: count for number, count in held.items() if count} == counts

    @invariant()
    def what_was_pruned_is_gone_for_ever_with_everything_signed_for_it(self):
        for number in self.pruned:
            assert self.state.account(number) is None
            for raw in self.signed_for.get(number, []):
                mark = self.state.mark()
                assert apply(self.state, raw, RULES).code is Code.MISSING_SENDER
                self.state.rollback(mark)

    @invariant()
    def no_number_names_anything_before_it_is_allocated(self):
        # So no frame that follows from right ones comes to code 17, whatever it holds.
        meta = self.state.meta
        following = {
            Account: account_key(meta.next_account),
            Channel: channel_key(meta.next_channel),
            Withdrawal: withdrawal_key(meta.next_withdrawal),
            Meta: META_KEY + 1,
        }
        assert all(key < following[type(leaf)] for key, leaf in self.state.items())

    @invariant()
    def the_root_is_that_of_the_leaves(self):
        assert RollupState.from_leaves(self.state.items()).root() == self.state.root()


Ledger.TestCase.settings = settings(max_examples=20, stateful_step_count=40, deadline=None)
TestLedger = Ledger.TestCase
