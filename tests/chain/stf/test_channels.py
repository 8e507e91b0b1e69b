from msgspec.structs import replace

from chain.stf import Code, open_batch
from chain.txs import (
    CloseTogether,
    Expire,
    OpenChannel,
    Redeem,
    StartClose,
    TopUp,
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
from tests.chain.stf.steps import VOUCHER_KEY, balances, close_together, code_of, redeem
from tests.chain.support import (
    FUNDS_NANO,
    RULES,
    channel_of,
    open_channel,
    owner,
    send,
    signed,
    signed_once,
)


class TestOpening:
    def test_the_deposit_moves_into_the_channel(self, state):
        assert send(state, OpenChannel(1, 2, owner(9), 1_000, 50, 3), 1) == (Code.OK, 1)
        leaf = channel_of(state, 1)
        assert (leaf.payer, leaf.payee, leaf.signer, leaf.deposit_nano, leaf.expiry_s) == (1, 2, owner(9), 1_000, 50)
        assert balances(state)[0] == FUNDS_NANO - 1_003

    def test_both_accounts_count_their_open_channels_and_one_to_oneself_twice(self, state):
        def counts():
            accounts = [state.account(number) for number in (1, 2)]
            return [account.channels for account in accounts if account]

        assert send(state, OpenChannel(1, 2, owner(9), 1_000, 50, 0), 1).code is Code.OK
        assert send(state, OpenChannel(1, 1, owner(9), 1_000, 50, 0), 1).code is Code.OK
        assert counts() == [3, 1]
        assert close_together(state, 1, 0) is Code.OK
        assert counts() == [2, 0]
        open_batch(state, 50)
        assert code_of(state, Expire(2).encode()) is Code.OK
        assert counts() == [0, 0]

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
