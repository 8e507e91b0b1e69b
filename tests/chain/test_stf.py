import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from chain.signing import SECP256K1_N, keccak256, sign_digest
from chain.state import State
from chain.stf import BURN_ADDRESS, Code, Outcome, apply, apply_inbox, open_batch
from chain.txs import (
    TX_SIZES,
    CloseTogether,
    CreateAccount,
    Expire,
    FinishUnstake,
    OpenChannel,
    ReceiptEvidence,
    Redeem,
    Slash,
    Stake,
    StartClose,
    TopUp,
    Transfer,
    TxType,
    Unstake,
    Withdraw,
)
from chain.types import (
    MAX_U64,
    MAX_U128,
    META_KEY,
    REGION_CAPACITY,
    Account,
    account_key,
    channel_key,
)
from tests.chain.support import (
    FUNDS_NANO,
    NO_HINT,
    RULES,
    channel_of,
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
    slash,
)
from wallet.account import UnlockedAccount
from wallet.receipts import Receipt, receipt_struct_hash, sign_receipt

VOUCHER_KEY = 9


@pytest.fixture
def state() -> State:
    return funded_state()


@pytest.fixture
def channel(state: State) -> int:
    return open_channel(state)


def code_of(state: State, raw: bytes) -> Code:
    """The code of a transaction, which must change nothing unless it is OK."""
    root = state.root()
    outcome = apply(state, raw, RULES)
    assert outcome.code is Code.OK or state.root() == root
    return outcome.code


def redeem(state: State, channel_id: int, cumulative: int, voucher_key: int = VOUCHER_KEY) -> Code:
    return code_of(state, signed_once(Redeem(channel_id, cumulative), voucher_key))


def close_together(state: State, channel_id: int, cumulative: int, signer: int = 2) -> Code:
    return code_of(state, signed_once(CloseTogether(channel_id, cumulative), signer))


def balances(state: State) -> list[int]:
    accounts = [state.account(number) for number in (1, 2, 3)]
    return [account.balance_nano for account in accounts if account]


class TestAccounts:
    def test_creating_one_allocates_the_next_number_from_one_on(self):
        state = State.genesis()
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

    @pytest.mark.parametrize("s", [SECP256K1_N // 2 + 1, 2**255 - 1])
    def test_high_s_is_malleable_even_where_it_would_recover(self, state, s):
        tx = Transfer(1, 2, 1, 0)
        signature = sign_digest(key(1), tx.digest(RULES.domain, 0))
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


class TestOpening:
    def test_the_deposit_moves_into_the_channel(self, state):
        assert send(state, OpenChannel(1, 2, owner(9), 1_000, 50, 3), 1) == (Code.OK, 1)
        leaf = channel_of(state, 1)
        assert (leaf.payer, leaf.payee, leaf.signer, leaf.deposit_nano, leaf.expiry_s) == (1, 2, owner(9), 1_000, 50)
        assert balances(state)[0] == FUNDS_NANO - 1_003

    def test_each_opening_gets_the_next_id_and_none_is_used_twice(self, state):
        first = open_channel(state)
        assert close_together(state, first, 0) is Code.OK
        assert open_channel(state) == first + 1

    def test_what_is_wrong_is_refused_with_its_code(self, state):
        open_batch(state, 50)
        assert code_of(state, signed(OpenChannel(9, 2, owner(9), 1, 99, 0), 1, 0)) is Code.MISSING_SENDER
        assert send(state, OpenChannel(1, 2, owner(9), FUNDS_NANO, 99, 1), 1).code is Code.OVERDRAFT
        assert send(state, OpenChannel(1, 9, owner(9), 1, 99, 0), 1).code is Code.MISSING_RECEIVER
        assert send(state, OpenChannel(1, 2, owner(9), 1, 50, 0), 1).code is Code.CHANNEL_UNAVAILABLE
        state.write(META_KEY, replace(state.meta, next_channel=REGION_CAPACITY))
        assert send(state, OpenChannel(1, 2, owner(9), 1, 99, 0), 1).code is Code.OVERFLOW


class TestToppingUp:
    def test_more_money_moves_into_the_channel(self, state, channel):
        assert send(state, TopUp(channel, 500, 2), 1).code is Code.OK
        assert channel_of(state, channel).deposit_nano == 1_500
        assert state.meta.fee_pool_nano == 2

    def test_a_missing_closing_or_expired_channel_takes_none(self, state, channel):
        other = open_channel(state)
        assert send(state, TopUp(99, 1, 0), 1).code is Code.CHANNEL_UNAVAILABLE
        assert send(state, StartClose(other), 1).code is Code.OK
        assert send(state, TopUp(other, 1, 0), 1).code is Code.CHANNEL_UNAVAILABLE
        open_batch(state, 1_000)
        assert send(state, TopUp(channel, 1, 0), 1).code is Code.CHANNEL_UNAVAILABLE

    def test_too_much_is_refused(self, state, channel):
        assert send(state, TopUp(channel, FUNDS_NANO, 0), 1).code is Code.OVERDRAFT
        state.write(channel_key(channel), replace(channel_of(state, channel), deposit_nano=MAX_U128))
        assert send(state, TopUp(channel, 1, 0), 1).code is Code.OVERFLOW


class TestRedeeming:
    def test_the_payee_gets_what_the_voucher_adds(self, state, channel):
        assert redeem(state, channel, 300) is Code.OK
        assert redeem(state, channel, 1_000) is Code.OK
        assert balances(state)[1] == FUNDS_NANO + 1_000
        assert channel_of(state, channel).redeemed_nano == 1_000

    def test_vouchers_that_add_nothing_or_exceed_the_deposit_are_bad(self, state, channel):
        assert redeem(state, channel, 300) is Code.OK
        for cumulative in (0, 299, 300, 1_001, 2**64 - 1):
            assert redeem(state, channel, cumulative) is Code.BAD_VOUCHER

    def test_another_keys_voucher_is_bad_the_payers_own_too(self, state, channel):
        for signer in (1, 2, 3):
            assert redeem(state, channel, 300, voucher_key=signer) is Code.BAD_VOUCHER

    def test_a_voucher_of_another_channel_is_bad(self, state, channel):
        other = open_channel(state)
        raw = bytearray(signed_once(Redeem(channel, 300), VOUCHER_KEY))
        raw[1:5] = other.to_bytes(4, "big")
        assert code_of(state, bytes(raw)) is Code.BAD_VOUCHER

    def test_it_works_until_expiry_and_not_from_then_on(self, state, channel):
        open_batch(state, 999)
        assert redeem(state, channel, 300) is Code.OK
        open_batch(state, 1_000)
        assert redeem(state, channel, 400) is Code.CHANNEL_UNAVAILABLE

    def test_it_wins_over_a_lone_close_until_the_delay_is_over(self, state, channel):
        assert send(state, StartClose(channel), 1).code is Code.OK
        open_batch(state, RULES.close_delay_s - 1)
        assert redeem(state, channel, 300) is Code.OK
        open_batch(state, RULES.close_delay_s)
        assert redeem(state, channel, 400) is Code.CHANNEL_UNAVAILABLE

    def test_a_missing_channel_pays_nobody(self, state):
        assert redeem(state, 99, 1) is Code.CHANNEL_UNAVAILABLE
        assert redeem(state, 2**32 - 1, 1) is Code.CHANNEL_UNAVAILABLE

    def test_the_payees_balance_never_wraps(self, state, channel):
        state.write(account_key(2), Account(owner=owner(2), balance_nano=MAX_U128))
        assert redeem(state, channel, 1) is Code.OVERFLOW


class TestClosingTogether:
    def test_the_rest_returns_to_the_payer_at_once(self, state, channel):
        assert redeem(state, channel, 300) is Code.OK
        assert close_together(state, channel, 300) is Code.OK
        assert balances(state) == [FUNDS_NANO - 300, FUNDS_NANO + 300, FUNDS_NANO]
        assert state.channel(channel) is None

    def test_the_payee_alone_takes_nothing_by_it(self, state, channel):
        assert close_together(state, channel, 1_000) is Code.BAD_VOUCHER
        assert close_together(state, channel, 1) is Code.BAD_VOUCHER

    def test_the_payer_cannot_close_below_what_was_redeemed_since_the_payee_signed(self, state, channel):
        early = signed_once(CloseTogether(channel, 0), 2)
        assert redeem(state, channel, 300) is Code.OK
        assert code_of(state, early) is Code.BAD_VOUCHER

    def test_only_the_payee_can_consent(self, state, channel):
        for signer in (1, 3, VOUCHER_KEY):
            assert close_together(state, channel, 0, signer=signer) is Code.BAD_SIGNATURE

    def test_it_works_on_closing_and_expired_channels_and_once(self, state, channel):
        assert send(state, StartClose(channel), 1).code is Code.OK
        open_batch(state, 5_000)
        assert close_together(state, channel, 0) is Code.OK
        assert close_together(state, channel, 0) is Code.CHANNEL_UNAVAILABLE

    def test_a_vanished_payee_cannot_consent(self, state, channel):
        state.write(account_key(2), None)
        assert close_together(state, channel, 0) is Code.MISSING_SENDER


class TestClosingAlone:
    def test_the_payer_waits_out_the_delay_and_gets_the_rest(self, state, channel):
        open_batch(state, 100)
        assert send(state, StartClose(channel), 1).code is Code.OK
        assert channel_of(state, channel).closing_at_s == 100 + RULES.close_delay_s
        open_batch(state, 100 + RULES.close_delay_s - 1)
        assert code_of(state, Expire(channel).encode()) is Code.TOO_EARLY
        open_batch(state, 100 + RULES.close_delay_s)
        assert code_of(state, Expire(channel).encode()) is Code.OK
        assert balances(state)[0] == FUNDS_NANO

    def test_starting_twice_or_after_expiry_is_refused(self, state, channel):
        other = open_channel(state)
        assert send(state, StartClose(channel), 1).code is Code.OK
        assert send(state, StartClose(channel), 1).code is Code.CHANNEL_UNAVAILABLE
        assert send(state, StartClose(99), 1).code is Code.CHANNEL_UNAVAILABLE
        open_batch(state, 1_000)
        assert send(state, StartClose(other), 1).code is Code.CHANNEL_UNAVAILABLE

    def test_a_vanished_payer_can_neither_close_nor_top_up(self, state, channel):
        state.write(account_key(1), None)
        assert code_of(state, signed(StartClose(channel), 1, 1)) is Code.MISSING_SENDER
        assert code_of(state, signed(TopUp(channel, 1, 0), 1, 1)) is Code.MISSING_SENDER

    def test_time_and_nonce_never_wrap(self, state, channel):
        state.write(channel_key(channel), replace(channel_of(state, channel), expiry_s=MAX_U64))
        open_batch(state, MAX_U64 - 1)
        assert send(state, StartClose(channel), 1).code is Code.OVERFLOW
        account = state.account(1)
        assert account is not None
        state.write(account_key(1), replace(account, nonce=MAX_U64))
        assert send(state, StartClose(channel), 1).code is Code.OVERFLOW


class TestExpiry:
    def test_anyone_may_return_the_rest_of_an_expired_channel(self, state, channel):
        assert redeem(state, channel, 300) is Code.OK
        open_batch(state, 999)
        assert code_of(state, Expire(channel).encode()) is Code.TOO_EARLY
        open_batch(state, 1_000)
        assert code_of(state, Expire(channel).encode()) is Code.OK
        assert balances(state)[:2] == [FUNDS_NANO - 300, FUNDS_NANO + 300]
        assert code_of(state, Expire(channel).encode()) is Code.CHANNEL_UNAVAILABLE

    def test_a_vanished_payer_is_a_missing_receiver(self, state, channel):
        state.write(account_key(1), None)
        open_batch(state, 1_000)
        assert code_of(state, Expire(channel).encode()) is Code.MISSING_RECEIVER


class TestStaking:
    def test_money_moves_into_the_stake_and_back_after_the_delay(self, state):
        open_batch(state, 100)
        assert send(state, Stake(1, 500, 2), 1).code is Code.OK
        assert send(state, Unstake(1, 200, 3), 1).code is Code.OK
        assert state.account(1) == Account(
            owner=owner(1),
            balance_nano=FUNDS_NANO - 505,
            nonce=2,
            stake_nano=300,
            unlocking_nano=200,
            unlock_at_s=100 + RULES.unstake_delay_s,
        )
        open_batch(state, 100 + RULES.unstake_delay_s - 1)
        assert code_of(state, FinishUnstake(1).encode()) is Code.STAKE_VIOLATION
        open_batch(state, 100 + RULES.unstake_delay_s)
        assert code_of(state, FinishUnstake(1).encode()) is Code.OK
        account = state.account(1)
        assert account is not None
        assert (account.balance_nano, account.stake_nano, account.unlocking_nano) == (FUNDS_NANO - 305, 300, 0)
        assert account.unlock_at_s == 0
        assert state.meta.fee_pool_nano == 5
        assert code_of(state, FinishUnstake(1).encode()) is Code.STAKE_VIOLATION

    def test_nothing_more_than_there_is_and_a_second_part_on_its_way_are_refused(self, state):
        assert send(state, Stake(1, 0, 0), 1).code is Code.STAKE_VIOLATION
        assert send(state, Stake(1, FUNDS_NANO, 1), 1).code is Code.OVERDRAFT
        assert send(state, Unstake(1, 1, 0), 1).code is Code.STAKE_VIOLATION
        assert send(state, Stake(1, 10, 0), 1).code is Code.OK
        assert send(state, Unstake(1, 11, 0), 1).code is Code.STAKE_VIOLATION
        assert send(state, Unstake(1, 0, 0), 1).code is Code.STAKE_VIOLATION
        assert send(state, Unstake(1, 4, 0), 1).code is Code.OK
        assert send(state, Unstake(1, 4, 0), 1).code is Code.STAKE_VIOLATION

    def test_a_stake_cannot_be_spent(self, state):
        assert send(state, Stake(1, FUNDS_NANO, 0), 1).code is Code.OK
        assert send(state, Transfer(1, 2, 1, 0), 1).code is Code.OVERDRAFT


class TestSlashing:
    def test_half_goes_to_the_reporter_and_half_is_burnt_the_unlocking_part_too(self, state):
        assert send(state, Stake(1, 501, 0), 1).code is Code.OK
        assert send(state, Unstake(1, 200, 0), 1).code is Code.OK
        assert apply(state, slash(1, 3), RULES) == (Code.OK, 1)
        provider, burnt = state.account(1), state.withdrawal(1)
        assert provider is not None
        assert burnt is not None
        assert (provider.stake_nano, provider.unlocking_nano, provider.unlock_at_s) == (0, 0, 0)
        assert balances(state) == [FUNDS_NANO - 501, FUNDS_NANO, FUNDS_NANO + 250]
        assert (burnt.recipient, burnt.amount_nano) == (BURN_ADDRESS, 251)

    def test_a_provider_that_reports_itself_still_loses_half(self, state):
        assert send(state, Stake(1, 500, 0), 1).code is Code.OK
        assert code_of(state, slash(1, 1)) is Code.OK
        assert balances(state)[0] == FUNDS_NANO - 250

    def test_it_works_once_and_only_while_there_is_a_stake(self, state):
        assert code_of(state, slash(1, 3)) is Code.STAKE_VIOLATION
        assert send(state, Stake(1, 500, 0), 1).code is Code.OK
        assert code_of(state, slash(1, 3)) is Code.OK
        assert code_of(state, slash(1, 3)) is Code.STAKE_VIOLATION

    def test_what_another_key_signed_or_names_nobody_is_no_evidence(self, state):
        assert send(state, Stake(1, 500, 0), 1).code is Code.OK
        assert code_of(state, slash(1, 3, signer=2)) is Code.BAD_SLASH_EVIDENCE
        assert code_of(state, slash(9, 3)) is Code.MISSING_SENDER
        assert code_of(state, slash(1, 9)) is Code.MISSING_RECEIVER

    def test_the_receipts_that_providers_sign_are_the_evidence(self, state):
        account = UnlockedAccount(key(1))
        receipts = [
            sign_receipt(
                account,
                RULES.domain,
                Receipt(
                    channel_id=7,
                    sequence=3,
                    model_sha256=bytes(32),
                    engine_build="build 5",
                    prompt_hash=b"\1" * 32,
                    output_hash=output * 32,
                    input_tokens=8,
                    output_tokens=9,
                    cumulative_nano=10,
                    seed=11,
                    fingerprint_hash=b"\2" * 32,
                    started_ms=12,
                    finished_ms=13,
                    provider=owner(1),
                ),
            )
            for output in (b"\3", b"\4")
        ]
        evidence = [
            ReceiptEvidence(
                one.model_sha256,
                keccak256(one.engine_build.encode()),
                one.prompt_hash,
                one.output_hash,
                one.input_tokens,
                one.output_tokens,
                one.cumulative_nano,
                one.seed,
                one.fingerprint_hash,
                one.started_ms,
                one.finished_ms,
                one.signature,
            )
            for one in receipts
        ]
        tx = Slash(1, 3, 7, 3, *evidence)
        assert [tx.receipt_hash(one, owner(1)) for one in evidence] == [receipt_struct_hash(one) for one in receipts]
        assert send(state, Stake(1, 500, 0), 1).code is Code.OK
        assert code_of(state, tx.encode()) is Code.OK

    def test_it_cannot_come_by_force(self, state):
        assert send(state, Stake(1, 500, 0), 1).code is Code.OK
        assert apply_inbox(state, forced(state.meta.inbox_cursor, slash(1, 3)), RULES).code is Code.MALFORMED


class TestAllocation:
    def test_a_number_that_is_taken_is_a_wrong_allocation(self, state, channel):
        state.write(META_KEY, replace(state.meta, next_account=1, next_channel=channel))
        assert code_of(state, CreateAccount(owner(7)).encode()) is Code.BAD_ALLOCATION
        assert send(state, OpenChannel(1, 2, owner(9), 1, 99, 0), 1).code is Code.BAD_ALLOCATION
        assert apply_inbox(state, deposit(3, owner(8), 1), RULES).code is Code.BAD_ALLOCATION


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

    def test_a_deposit_that_cannot_be_credited_is_no_op(self, state):
        state.write(META_KEY, replace(state.meta, next_account=REGION_CAPACITY))
        assert apply_inbox(state, deposit(3, owner(8), 1), RULES) == Outcome(Code.OVERFLOW)
        state.write(account_key(2), Account(owner=owner(2), balance_nano=MAX_U128))
        assert apply_inbox(state, deposit(4, owner(2), 1, hint=2), RULES) == Outcome(Code.OVERFLOW)
        state.write(META_KEY, replace(state.meta, supply_nano=MAX_U128))
        assert apply_inbox(state, deposit(5, owner(1), 1, hint=1), RULES) == Outcome(Code.OVERFLOW)
        assert state.meta.inbox_cursor == 6


class TestTotality:
    @settings(max_examples=100)
    @given(st.integers(0, 15), st.binary(max_size=130))
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
        for kind in (0, 14, 15, 128, 255):
            assert code_of(state, bytes([kind]) + bytes(80)) is Code.UNKNOWN_TYPE

    def test_nothing_and_wrong_lengths_are_malformed(self, state):
        raw = signed(Transfer(1, 2, 1, 0), 1, 0)
        for bad in (b"", raw[:-1], raw + b"\0", raw[:1]):
            assert code_of(state, bad) is Code.MALFORMED

    def test_hints_of_every_size_are_taken(self, state):
        for index, hint in enumerate((0, 2**30, META_KEY, NO_HINT)):
            assert apply_inbox(state, deposit(3 + index, owner(5), 1, hint=hint), RULES).code is Code.OK
