import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from chain.signing import SECP256K1_N, sign_digest
from chain.state import RollupState
from chain.stf import Code, Outcome, apply_inbox
from chain.tx_format import TxType
from chain.txs import (
    TX_SIZES,
    CloseTogether,
    CollectFees,
    CreateAccount,
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
    MAX_U64,
    MAX_U128,
    META_KEY,
    REGION_CAPACITY,
    Account,
    Withdrawal,
    account_key,
    channel_key,
)
from tests.chain.stf.steps import balances, code_of
from tests.chain.support import (
    FUNDS_NANO,
    NO_HINT,
    RULES,
    create,
    deposit,
    forced,
    funded_state,
    key,
    open_channel,
    owner,
    send,
    signed,
    signed_once,
)


class TestAccounts:
    def test_creating_one_allocates_the_next_number_from_one_on(self):
        state = RollupState.genesis()
        assert create(state, 1) == (Code.OK, 1)
        assert create(state, 2) == (Code.OK, 2)
        assert state.account(1) == Account(owner=owner(1))

    def test_the_zero_address_gets_none(self, state):
        assert code_of(state, CreateAccount(bytes(20)).encode()) is Code.MISSING_RECEIVER

    def test_a_full_region_is_an_overflow(self, state):
        state.write(META_KEY, replace(state.meta, next_account=REGION_CAPACITY))
        assert code_of(state, CreateAccount(owner(7)).encode()) is Code.OVERFLOW


class TestTransfers:
    def test_money_moves_and_the_fee_goes_to_the_pool(self, state):
        assert send(state, Transfer(1, 2, 100, 7), 1) == (Code.OK, None)
        assert balances(state) == [FUNDS_NANO - 107, FUNDS_NANO + 100, FUNDS_NANO]
        assert state.meta.fee_pool_nano == 7

    def test_to_oneself_costs_the_fee(self, state):
        assert send(state, Transfer(1, 1, 100, 7), 1).code is Code.OK
        assert balances(state)[0] == FUNDS_NANO - 7

    def test_the_whole_balance_may_go_but_not_one_nano_more(self, state):
        assert send(state, Transfer(1, 2, FUNDS_NANO - 6, 7), 1).code is Code.OVERDRAFT
        assert send(state, Transfer(1, 2, FUNDS_NANO - 7, 7), 1).code is Code.OK
        assert balances(state)[0] == 0

    def test_one_works_once(self, state):
        raw = signed(Transfer(1, 2, 1, 0), 1, nonce=0)
        assert code_of(state, raw) is Code.OK
        assert code_of(state, raw) is Code.BAD_SIGNATURE

    def test_a_missing_sender_comes_before_everything_else(self, state):
        assert code_of(state, signed(Transfer(99, 98, 2**63, 0), 1, 0)) is Code.MISSING_SENDER
        assert code_of(state, signed(Transfer(2**32 - 1, 2, 1, 0), 1, 0)) is Code.MISSING_SENDER
        assert code_of(state, signed(Transfer(0, 2, 1, 0), 1, 0)) is Code.MISSING_SENDER

    def test_a_missing_receiver_is_refused_whatever_region_it_would_fall_into(self, state, channel):
        for receiver in (0, 99, channel_key(channel), META_KEY, 2**32 - 1):
            assert send(state, Transfer(1, receiver, 1, 0), 1).code is Code.MISSING_RECEIVER

    def test_a_balance_never_wraps(self, state):
        state.write(account_key(2), Account(owner=owner(2), balance_nano=MAX_U128))
        assert send(state, Transfer(1, 2, 1, 0), 1).code is Code.OVERFLOW

    def test_a_nonce_never_wraps(self, state):
        account = state.account(1)
        assert account is not None
        state.write(account_key(1), replace(account, nonce=MAX_U64))
        assert send(state, Transfer(1, 2, 1, 0), 1).code is Code.OVERFLOW

    def test_the_fee_pool_never_wraps(self, state):
        state.write(META_KEY, replace(state.meta, fee_pool_nano=MAX_U128))
        assert send(state, Transfer(1, 2, 1, 1), 1).code is Code.OVERFLOW
        assert send(state, Transfer(1, 2, 1, 0), 1).code is Code.OK


class TestSignatures:
    def test_another_key_a_wrong_nonce_and_another_field_are_all_bad(self, state):
        assert code_of(state, signed(Transfer(1, 2, 1, 0), 2, 0)) is Code.BAD_SIGNATURE
        assert code_of(state, signed(Transfer(1, 2, 1, 0), 1, 1)) is Code.BAD_SIGNATURE
        raw = bytearray(signed(Transfer(1, 2, 1, 0), 1, 0))
        raw[8] ^= 1
        assert code_of(state, bytes(raw)) is Code.BAD_SIGNATURE

    def test_a_number_that_names_another_owner_than_was_signed_for_is_bad(self, state):
        assert code_of(state, signed(Transfer(1, 2, 1, 0), 1, 0, bound=owner(3))) is Code.BAD_SIGNATURE
        opening = OpenChannel(1, 2, owner(9), 1, 1_000, 0)
        assert code_of(state, signed(opening, 1, 0, bound=owner(3))) is Code.BAD_SIGNATURE
        assert code_of(state, signed(opening, 1, 0, bound=owner(2))) is Code.OK
        for tx in (TopUp(1, 1, 0), StartClose(1)):
            assert code_of(state, signed(tx, 1, 1, bound=owner(8))) is Code.BAD_SIGNATURE
        assert code_of(state, signed_once(CloseTogether(1, 0), 2, bound=owner(8))) is Code.BAD_SIGNATURE
        assert code_of(state, signed_once(CloseTogether(1, 0), 2, bound=owner(9))) is Code.OK

    @pytest.mark.parametrize("s", [SECP256K1_N // 2 + 1, 2**255 - 1])
    def test_high_s_is_malleable_even_where_it_would_recover(self, state, s):
        tx = Transfer(1, 2, 1, 0)
        signature = sign_digest(key(1), tx.digest(RULES.domain, 0, owner(2)))
        raw = tx.encode(signature[:32] + s.to_bytes(32, "big"))
        assert code_of(state, raw) is Code.MALLEABLE_SIGNATURE

    @pytest.mark.parametrize(("r", "s"), [(0, 1), (1, 0), (SECP256K1_N, 1), (2**256 - 1, 1)])
    def test_degenerate_ones_are_bad(self, state, r, s):
        raw = Transfer(1, 2, 1, 0).encode(r.to_bytes(32, "big") + s.to_bytes(32, "big"))
        assert code_of(state, raw) is Code.BAD_SIGNATURE

    def test_malleability_is_judged_before_the_signer_for_every_signed_type(self, state, channel):
        high = (1).to_bytes(32, "big") + (2**255 - 1).to_bytes(32, "big")
        for tx in (
            Transfer(1, 2, 1, 0),
            Withdraw(1, 1, 0, owner(1)),
            OpenChannel(1, 2, owner(9), 1, 100, 0),
            TopUp(channel, 1, 0),
            Redeem(channel, 1),
            CloseTogether(channel, 0),
            StartClose(channel),
            Stake(1, 1, 0),
            Unstake(1, 1, 0),
        ):
            assert code_of(state, tx.encode(high)) is Code.MALLEABLE_SIGNATURE, tx

    def test_a_strangers_signature_is_bad_for_every_signed_type(self, state, channel):
        for tx in (Transfer(1, 2, 1, 0), Withdraw(1, 1, 0, owner(1)), OpenChannel(1, 2, owner(9), 1, 100, 0)):
            assert code_of(state, signed(tx, 3, 0)) is Code.BAD_SIGNATURE
        for tx in (TopUp(channel, 1, 0), StartClose(channel)):
            assert code_of(state, signed(tx, 3, 1)) is Code.BAD_SIGNATURE


class TestWithdrawals:
    def test_money_leaves_the_account_into_a_leaf(self, state):
        assert send(state, Withdraw(1, 400, 5, owner(1)), 1) == (Code.OK, 1)
        leaf = state.withdrawal(1)
        assert leaf is not None
        assert (leaf.recipient, leaf.amount_nano) == (owner(1), 400)
        assert balances(state)[0] == FUNDS_NANO - 405

    def test_nobody_can_withdraw_to_the_zero_address(self, state):
        assert send(state, Withdraw(1, 400, 5, bytes(20)), 1).code is Code.MISSING_RECEIVER

    def test_too_much_without_account_or_room_is_refused(self, state):
        assert send(state, Withdraw(1, FUNDS_NANO, 1, owner(1)), 1).code is Code.OVERDRAFT
        assert code_of(state, signed(Withdraw(9, 1, 0, owner(1)), 1, 0)) is Code.MISSING_SENDER
        state.write(META_KEY, replace(state.meta, next_withdrawal=REGION_CAPACITY))
        assert send(state, Withdraw(1, 1, 0, owner(1)), 1).code is Code.OVERFLOW


class TestAllocation:
    def test_a_number_that_is_taken_is_a_wrong_allocation(self, state, channel):
        state.write(META_KEY, replace(state.meta, next_account=1, next_channel=channel))
        assert code_of(state, CreateAccount(owner(7)).encode()) is Code.BAD_ALLOCATION
        assert send(state, OpenChannel(1, 2, owner(9), 1, 99, 0), 1).code is Code.BAD_ALLOCATION
        assert apply_inbox(state, deposit(3, owner(8), 1), RULES) == Outcome(Code.OK, 1)
        state.write(META_KEY, replace(state.meta, next_withdrawal=1))
        assert apply_inbox(state, deposit(4, owner(8), 1), RULES).code is Code.BAD_ALLOCATION


class TestInbox:
    def test_a_deposit_goes_to_the_hinted_account_only_if_its_owner_matches(self, state):
        cursor = state.meta.inbox_cursor
        assert apply_inbox(state, deposit(cursor, owner(2), 50, hint=2), RULES) == (Code.OK, None)
        assert balances(state)[1] == FUNDS_NANO + 50
        assert apply_inbox(state, deposit(cursor + 1, owner(3), 60, hint=2), RULES) == (Code.OK, 4)
        assert apply_inbox(state, deposit(cursor + 2, owner(3), 70), RULES) == (Code.OK, 5)
        assert state.meta.supply_nano == 3 * FUNDS_NANO + 180
        assert state.meta.inbox_cursor == cursor + 3

    def test_an_invalid_message_moves_the_cursor_and_nothing_else(self, state):
        messages = [
            forced(3, b""),
            forced(4, b"\x63rubbish"),
            forced(5, bytes([TxType.SLASH]) + bytes(100)),
            forced(6, bytes(129)),
            forced(7, signed(Transfer(1, 2, 1, 0), 2, 0)),
            forced(8, signed(Transfer(1, 2, 1, 0), 1, 0) + b"\0"),
        ]
        before = state.items()
        for message in messages:
            assert apply_inbox(state, message, RULES).code is not Code.OK
        changed = {k for (k, leaf), (_, old) in zip(state.items(), before, strict=True) if leaf != old}
        assert changed == {META_KEY}
        assert state.meta.inbox_cursor == 9

    def test_a_forced_transaction_executes_like_a_sequenced_one(self, state):
        raw = signed(Withdraw(1, 500, 0, owner(1)), 1, 0)
        assert apply_inbox(state, forced(3, raw), RULES) == (Code.OK, 1)
        assert state.withdrawal(1) is not None

    def test_a_deposit_that_no_account_can_take_goes_back_to_its_owner(self, state):
        state.write(META_KEY, replace(state.meta, next_account=REGION_CAPACITY))
        supply = state.meta.supply_nano
        assert apply_inbox(state, deposit(3, owner(8), 7), RULES) == Outcome(Code.OK, 1)
        state.write(account_key(2), Account(owner=owner(2), balance_nano=MAX_U128))
        assert apply_inbox(state, deposit(4, owner(2), 1, hint=2), RULES) == Outcome(Code.OK, 2)
        assert state.withdrawal(1) == Withdrawal(recipient=owner(8), amount_nano=7, account=0, nonce=3)
        assert state.withdrawal(2) == Withdrawal(recipient=owner(2), amount_nano=1, account=0, nonce=4)
        assert (state.meta.supply_nano, state.meta.inbox_cursor) == (supply + 8, 5)

    def test_a_deposit_that_cannot_even_go_back_changes_nothing(self, state):
        state.write(META_KEY, replace(state.meta, next_account=REGION_CAPACITY, next_withdrawal=REGION_CAPACITY))
        assert apply_inbox(state, deposit(3, owner(8), 1), RULES) == Outcome(Code.OVERFLOW)
        state.write(META_KEY, replace(state.meta, next_withdrawal=1, supply_nano=MAX_U128))
        assert apply_inbox(state, deposit(4, owner(1), 1, hint=1), RULES) == Outcome(Code.OVERFLOW)
        assert (state.meta.supply_nano, state.meta.inbox_cursor) == (MAX_U128, 5)


class TestFees:
    def test_whoever_posts_a_batch_moves_the_whole_pool_to_an_account(self, state):
        assert send(state, Transfer(1, 2, 5, 7), 1).code is Code.OK
        assert code_of(state, CollectFees(3).encode()) is Code.OK
        assert balances(state) == [FUNDS_NANO - 12, FUNDS_NANO + 5, FUNDS_NANO + 7]
        assert state.meta.fee_pool_nano == 0
        assert code_of(state, CollectFees(99).encode()) is Code.MISSING_RECEIVER

    def test_by_force_nobody_collects_them(self, state):
        assert send(state, Transfer(1, 2, 5, 7), 1).code is Code.OK
        assert apply_inbox(state, forced(3, CollectFees(3).encode()), RULES) == Outcome(Code.UNKNOWN_TYPE)
        assert state.meta.fee_pool_nano == 7


class TestPruning:
    def test_an_account_that_holds_nothing_goes_and_its_number_is_nobodys_for_ever(self, state):
        assert send(state, Transfer(1, 2, FUNDS_NANO, 0), 1).code is Code.OK
        signed_before = signed(Transfer(1, 2, 0, 0), 1, 1)
        assert code_of(state, Prune(1).encode()) is Code.OK
        assert state.account(1) is None
        assert code_of(state, Prune(1).encode()) is Code.MISSING_SENDER
        assert code_of(state, signed_before) is Code.MISSING_SENDER
        assert apply_inbox(state, deposit(3, owner(1), 9, hint=1), RULES) == Outcome(Code.OK, 4)
        assert state.account(1) is None
        assert code_of(state, signed_before) is Code.MISSING_SENDER

    def test_nothing_that_holds_anything_or_pays_or_is_paid_through_a_channel_goes(self, state):
        assert code_of(state, Prune(1).encode()) is Code.STAKE_VIOLATION
        for fields in ({"stake_nano": 1}, {"unlocking_nano": 1}, {"channels": 1}):
            state.write(account_key(2), Account(owner=owner(2), **fields))
            assert code_of(state, Prune(2).encode()) is Code.STAKE_VIOLATION

    def test_by_force_it_is_the_same(self, state):
        state.write(account_key(2), Account(owner=owner(2), nonce=7))
        assert apply_inbox(state, forced(3, Prune(2).encode()), RULES) == Outcome(Code.OK)
        assert state.account(2) is None


class TestTotality:
    @settings(max_examples=100)
    @given(st.integers(0, 17), st.binary(max_size=130))
    def test_any_bytes_come_to_a_code_and_a_refusal_changes_nothing(self, kind, rest):
        state = funded_state(accounts=1)
        code_of(state, bytes([kind]) + rest)

    @settings(max_examples=100)
    @given(st.sampled_from(sorted(TX_SIZES)), st.data())
    def test_well_sized_rubbish_comes_to_a_code(self, kind, data):
        state = funded_state(accounts=2)
        open_channel(state)
        size = TX_SIZES[kind]
        small = st.sampled_from([b"\0\0\0\1", b"\0\0\0\2", b"\0\0\0\0", b"\xff\xff\xff\xff"])
        body = data.draw(small) + data.draw(st.binary(min_size=size, max_size=size))
        code_of(state, (bytes([kind]) + body)[:size])

    def test_types_that_nobody_defined_are_unknown(self, state):
        for kind in (0, 16, 17, 128, 255):
            assert code_of(state, bytes([kind]) + bytes(80)) is Code.UNKNOWN_TYPE

    def test_nothing_and_wrong_lengths_are_malformed(self, state):
        raw = signed(Transfer(1, 2, 1, 0), 1, 0)
        for bad in (b"", raw[:-1], raw + b"\0", raw[:1]):
            assert code_of(state, bad) is Code.MALFORMED

    def test_hints_of_every_size_are_taken(self, state):
        for index, hint in enumerate((0, 2**30, META_KEY, NO_HINT)):
            assert apply_inbox(state, deposit(3 + index, owner(5), 1, hint=hint), RULES).code is Code.OK
