from msgspec.structs import replace

from chain.codec import MAX_FORCED_TX_BYTES
from chain.stf import BURN_ADDRESS, Code, apply, apply_inbox, open_batch
from chain.txs import (
    FinishUnstake,
    Slash,
    Stake,
    Transfer,
    Unstake,
    decode,
)
from chain.types import (
    Account,
)
from tests.chain.stf.steps import balances, code_of
from tests.chain.support import (
    FUNDS_NANO,
    RULES,
    forced,
    key,
    open_channel,
    owner,
    send,
    signed_once,
    slash,
)
from wallet.account import UnlockedAccount
from wallet.receipts import Receipt, receipt_evidence, receipt_struct_hash, sign_receipt


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
            slash_from=1,
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

    def test_a_stake_answers_for_channels_from_its_beginning_on_until_nothing_of_it_is_left(self, state):
        def slash_from():
            account = state.account(1)
            assert account is not None
            return account.slash_from

        open_channel(state)
        assert send(state, Stake(1, 500, 0), 1).code is Code.OK
        assert slash_from() == 2
        open_channel(state)
        assert send(state, Stake(1, 1, 0), 1).code is Code.OK
        assert send(state, Unstake(1, 501, 0), 1).code is Code.OK
        assert send(state, Stake(1, 1, 0), 1).code is Code.OK
        assert slash_from() == 2
        assert send(state, Unstake(1, 1, 0), 1).code is Code.STAKE_VIOLATION
        open_batch(state, RULES.unstake_delay_s)
        assert code_of(state, FinishUnstake(1).encode()) is Code.OK
        assert send(state, Unstake(1, 1, 0), 1).code is Code.OK
        open_batch(state, 2 * RULES.unstake_delay_s)
        assert code_of(state, FinishUnstake(1).encode()) is Code.OK
        assert slash_from() == 2
        assert send(state, Stake(1, 1, 0), 1).code is Code.OK
        assert slash_from() == 3

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
        evidence = [receipt_evidence(one) for one in receipts]
        tx = Slash(1, 3, 7, 3, *evidence)
        assert [tx.receipt_hash(one, owner(1)) for one in evidence] == [receipt_struct_hash(one) for one in receipts]
        assert send(state, Stake(1, 500, 0), 1).code is Code.OK
        assert code_of(state, signed_once(tx, 3)) is Code.OK

    def test_it_can_come_by_force(self, state):
        assert send(state, Stake(1, 500, 0), 1).code is Code.OK
        raw = slash(1, 3)
        assert len(raw) <= MAX_FORCED_TX_BYTES
        assert apply_inbox(state, forced(state.meta.inbox_cursor, raw), RULES).code is Code.OK

    def test_its_reporter_signs_it_with_the_providers_address(self, state):
        assert send(state, Stake(1, 500, 0), 1).code is Code.OK
        tx, _ = decode(slash(1, 3))
        assert code_of(state, signed_once(tx, 2)) is Code.BAD_SIGNATURE
        assert code_of(state, signed_once(tx, 3, bound=owner(2))) is Code.BAD_SIGNATURE
        assert code_of(state, signed_once(replace(tx, reporter=2), 3)) is Code.BAD_SIGNATURE
        assert code_of(state, signed_once(tx, 3)) is Code.OK

    def test_evidence_of_an_earlier_stake_or_from_before_a_stake_proves_nothing(self, state):
        first = open_channel(state, voucher_key=20)
        assert send(state, Stake(1, 500, 0), 1).code is Code.OK
        second = open_channel(state, voucher_key=21)
        assert code_of(state, slash(1, 3, channel=first)) is Code.BAD_SLASH_EVIDENCE
        assert send(state, Stake(1, 5, 0), 1).code is Code.OK  # more of the same stake answers for what it did
        assert code_of(state, slash(1, 3, channel=second)) is Code.OK
        assert send(state, Stake(1, 500, 0), 1).code is Code.OK
        assert code_of(state, slash(1, 3, channel=second)) is Code.BAD_SLASH_EVIDENCE
        assert code_of(state, slash(1, 3, channel=second + 1)) is Code.OK
