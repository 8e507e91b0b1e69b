import pytest
from msgspec.structs import replace

from chain.errors import ChainRejectedError
from chain.fees.policy import FeePolicy
from chain.sequencer import Sequencer
from chain.txs import OpenChannel, Redeem, StartClose, TopUp, Withdraw
from chain.types import withdrawal_key
from tests.chain.sequencer.conftest import fund, until
from tests.chain.sequencer.transfers import transfer, two_accounts
from tests.chain.support import owner, signed, signed_once

VOUCHER_KEY = 9
GWEI = 10**9
DOLLAR = 10**9
PRICED = FeePolicy(ether_price_nano=3_000 * DOLLAR)


class Clock:
    """Monotonic seconds that a test moves on."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


async def refused(sequencer: Sequencer, raw: bytes) -> str:
    with pytest.raises(ChainRejectedError) as caught:
        await sequencer.submit(raw)
    return caught.value.code


class TestPrices:
    async def test_fees_follow_the_gas_price_and_a_quote_is_honoured_until_its_time_is_over(self, start, l1, quick):
        clock = Clock()
        config = replace(quick, min_fee_nano=1_000, fees=PRICED)
        async with start(config, monotonic=clock) as sequencer:
            await fund(sequencer, l1, 1, DOLLAR)
            await fund(sequencer, l1, 2)
            quote = sequencer.queries.fees()
            assert quote.transfer_nano == (85 * 40 + 400) * 3_000
            l1.gas_price = 100 * GWEI
            l1.deposit(owner(3), 5)  # a new block, whose gas price is seen
            await until(lambda: sequencer.ledger.fees.seen_gas_price_wei == 100 * GWEI)
            clock.now_s += 13
            risen = sequencer.queries.fees()
            assert quote.transfer_nano < risen.transfer_nano <= quote.transfer_nano * 9 // 8
            await sequencer.submit(transfer(0, fee=quote.transfer_nano))
            clock.now_s += 31
            assert await refused(sequencer, transfer(1, fee=quote.transfer_nano)) == "fee_too_low"
            await sequencer.submit(transfer(1, fee=sequencer.queries.fees().transfer_nano))

    async def test_traffic_above_the_target_makes_it_dearer_and_quiet_cheaper_again(self, start, l1, quick):
        clock = Clock()
        policy = FeePolicy(target_bytes=850, quote_valid_s=1)
        async with start(replace(quick, min_fee_nano=800, fees=policy), monotonic=clock) as sequencer:
            await two_accounts(sequencer, l1)
            clock.now_s += 12
            for nonce in range(20):
                await sequencer.submit(transfer(nonce, fee=800))
            clock.now_s += 12
            assert sequencer.queries.fees().transfer_nano == 900
            clock.now_s += 120
            assert sequencer.queries.fees().transfer_nano == 800

    async def test_forty_withdrawals_of_one_nano_are_refused_and_one_that_is_worth_it_pays_its_claim(
        self, start, l1, quick
    ):
        async with start(replace(quick, min_fee_nano=1_000, fees=PRICED)) as sequencer:
            account = await fund(sequencer, l1, 1, 10 * DOLLAR)
            price = sequencer.queries.fees().withdraw_nano
            assert price == (101 * 40 + 400 + 95_000) * 3_000
            for amount_nano in range(1, 41):
                dust = signed(Withdraw(account, amount_nano, price, owner(1)), 1, 0)
                assert await refused(sequencer, dust) == "withdrawal_too_small"
            cheap = signed(Withdraw(account, DOLLAR, 1_000, owner(1)), 1, 0)
            assert await refused(sequencer, cheap) == "fee_too_low"
            await sequencer.submit(signed(Withdraw(account, DOLLAR, price, owner(1)), 1, 0))
            assert sequencer.head.state.meta.fee_pool_nano == price


class TestClaims:
    async def test_the_operator_claims_what_paid_for_it_and_no_forced_dust(self, start, l1, quick):
        async with start(replace(quick, min_fee_nano=1_000, fees=PRICED)) as sequencer:
            account = await fund(sequencer, l1, 1, 10 * DOLLAR)
            for nonce in range(20):
                l1.force(signed(Withdraw(account, 1, 0, owner(1)), 1, nonce))
            sequencer.poke()
            await until(lambda: sequencer.queries.account(owner(1)).nonce == 20)
            price = sequencer.queries.fees().withdraw_nano
            paid = await sequencer.submit(signed(Withdraw(account, DOLLAR, price, owner(1)), 1, 20))
            await sequencer.flush()
            l1.now_s += 100
            await until(lambda: l1.claims)
            assert set(l1.claims) == {withdrawal_key(paid.allocated_index)}
            views = {view.withdrawal_index: view for view in await sequencer.queries.withdrawals_of(owner(1))}
            assert [number for number, view in views.items() if view.is_paid_by_operator] == [paid.allocated_index]

    async def test_where_gas_costs_nothing_a_forced_withdrawal_is_claimed_too(self, start, l1, quick):
        async with start(replace(quick, min_fee_nano=10)) as sequencer:
            account = await fund(sequencer, l1, 1)
            l1.force(signed(Withdraw(account, 9, 0, owner(1)), 1, 0))
            l1.force(signed(Withdraw(account, 10, 0, owner(1)), 1, 1))
            sequencer.poke()
            await until(lambda: sequencer.queries.account(owner(1)).nonce == 2)
            await sequencer.flush()
            l1.now_s += 100
            await until(lambda: l1.claims)
            assert set(l1.claims) == {withdrawal_key(2)}


async def opened(sequencer: Sequencer, l1, config, amount_nano: int = 100_000, life_s: int = 10**6) -> int:
    await fund(sequencer, l1, 1)
    await fund(sequencer, l1, 2)
    expiry_s = sequencer.queries.l2_time_s() + life_s
    tx = OpenChannel(1, 2, owner(VOUCHER_KEY), amount_nano, expiry_s, config.min_fee_nano)
    receipt = await sequencer.submit(signed(tx, 1, 0))
    assert receipt.allocated_index is not None
    return receipt.allocated_index


def redeem(channel: int, cumulative_nano: int) -> bytes:
    return signed_once(Redeem(channel, cumulative_nano), VOUCHER_KEY)


class TestRedeems:
    async def test_of_three_thousand_redeems_of_one_nano_three_are_taken(self, start, l1, quick):
        config = replace(quick, min_fee_nano=1_000)
        async with start(config) as sequencer:
            channel = await opened(sequencer, l1, config)
            codes: list[str] = []
            for _ in range(3_000):
                try:
                    await sequencer.submit(redeem(channel, sequencer.head.state.channel(channel).redeemed_nano + 1))
                except ChainRejectedError as error:
                    codes.append(error.code)
            assert (3_000 - len(codes), set(codes)) == (3, {"redeem_too_small"})

    async def test_paid_ones_run_out_a_top_up_brings_more_and_one_is_kept_for_the_close(self, start, l1, quick):
        config = replace(quick, min_fee_nano=1_000)
        async with start(config) as sequencer:
            channel = await opened(sequencer, l1, config)
            for number in range(1, 16):
                await sequencer.submit(redeem(channel, 1_000 * number))
            assert await refused(sequencer, redeem(channel, 16_000)) == "redeem_quota"
            await sequencer.submit(signed(TopUp(channel, 10, 1_000), 1, 1))
            assert (await sequencer.queries.channel(channel)).redeems_left == 5
            for number in range(16, 20):
                await sequencer.submit(redeem(channel, 1_000 * number))
            assert await refused(sequencer, redeem(channel, 20_000)) == "redeem_quota"
            await sequencer.submit(signed(StartClose(channel), 1, 2))
            await sequencer.submit(redeem(channel, 19_001))
            assert await refused(sequencer, redeem(channel, 20_000)) == "redeem_quota"
            l1.force(redeem(channel, 20_000))
            sequencer.poke()
            await until(lambda: sequencer.head.state.channel(channel).redeemed_nano == 20_000)

    async def test_the_last_claim_before_the_expiry_may_be_small(self, start, l1, quick):
        config = replace(quick, min_fee_nano=1_000)
        async with start(config) as sequencer:
            channel = await opened(sequencer, l1, config, life_s=600)
            for cumulative_nano in range(1, 17):
                await sequencer.submit(redeem(channel, cumulative_nano))
            assert await refused(sequencer, redeem(channel, 17)) == "redeem_quota"

    async def test_what_is_left_is_known_after_a_restart_and_a_voucher_that_is_refused_costs_nothing(
        self, start, l1, quick
    ):
        config = replace(quick, min_fee_nano=1_000)
        async with start(config) as sequencer:
            channel = await opened(sequencer, l1, config)
            await sequencer.submit(redeem(channel, 5_000))
            forged = signed_once(Redeem(channel, 9_000), 5)
            assert await refused(sequencer, forged) == "bad_voucher"
            again = await sequencer.submit(redeem(channel, 5_000))
            assert again.allocated_index is None
        async with start(config) as sequencer:
            assert (await sequencer.queries.channel(channel)).redeems_left == 15


class TestQuotas:
    async def test_one_client_does_not_keep_newcomers_out(self, start, quick):
        async with start(replace(quick, accounts_per_minute=80)) as sequencer:
            for number in range(1, 11):
                await sequencer.create_account(owner(number), "198.51.100.7")
            for number in range(11, 40):
                with pytest.raises(ChainRejectedError) as caught:
                    await sequencer.create_account(owner(number), "198.51.100.7")
                assert caught.value.code == "rate_limited"
                assert 0 < caught.value.retry_after_s <= 60
            for number in range(100, 120):
                await sequencer.create_account(owner(number), f"203.0.113.{number}")

    async def test_handing_in_nonsense_is_limited_by_client_too(self, start, l1, quick):
        async with start(replace(quick, submissions_per_minute=80)) as sequencer:
            await two_accounts(sequencer, l1)
            codes = set()
            for _ in range(11):
                with pytest.raises(ChainRejectedError) as caught:
                    await sequencer.submit(b"\x63", "198.51.100.7")
                codes.add(caught.value.code)
            assert codes == {"malformed", "rate_limited"}
            await sequencer.submit(transfer(0), "203.0.113.1")


class TestBooks:
    async def test_the_operator_sees_what_it_earned_and_what_l1_took_and_keeps_it(self, start, l1, quick):
        config = replace(quick, min_fee_nano=1_000, fees=replace(PRICED, gas_per_byte=0, gas_per_tx=0))
        async with start(config) as sequencer:
            await two_accounts(sequencer, l1)
            await sequencer.submit(transfer(0, fee=1_000))
            await sequencer.flush()
            await until(lambda: sequencer.queries.books().l1_gas > 0)
            books = sequencer.queries.books()
            assert books.earned_nano == 1_000
            assert books.l1_spent_wei == books.l1_gas * GWEI
            assert books.l1_spent_nano == books.l1_gas * 3_000
        l1.submissions = 0
        async with start(config) as sequencer:
            assert sequencer.queries.books() == books
