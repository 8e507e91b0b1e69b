"""How much goes into a channel: enough for the request, within limit and balance, by nobody's word alone."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.buyer.deposit import (
    REQUESTS_PER_DEPOSIT,
    UNASKED_DEPOSIT_NANO,
    ChannelNeed,
    counted_need,
    deposit_for,
    estimated_need,
    limit_of,
    over_the_limit,
    wanted_output_tokens,
)
from node.session.buyer_io import Failed
from node.session.messages import Quote
from node.session.terms import most_input_tokens
from node.values import ChatMessage, ChatTurn, Prices
from tests.node.market.test_offers import offer
from tests.node.session import metered
from wallet.wallet_error import WalletError

NANO = st.integers(0, 10**12)
OFFER = offer(input_nano_per_mtok=10**9, output_nano_per_mtok=10**9)
TURN = ChatTurn(messages=(ChatMessage("user", "的" * 1_000),), max_tokens=100)


def need(**changes: object) -> ChannelNeed:
    values: dict[str, object] = {
        "provider": bytes(20),
        "ceiling_nano": 1_000_000,
        "output_tokens": 100,
        "least_nano": 0,
        "min_deposit_nano": 0,
        "max_spend_nano": None,
    }
    return ChannelNeed(**(values | changes))


@given(NANO, NANO, st.none() | NANO, st.integers(0, 10_000), NANO, st.integers(-(10**6), 10**12))
def test_a_deposit_keeps_to_the_limit_and_suffices_or_is_none(
    ceiling_nano: int, missing_nano: int, limit_nano: int | None, fee_nano: int, balance_nano: int, required_nano: int
) -> None:
    wanted = need(ceiling_nano=ceiling_nano, max_spend_nano=limit_nano)
    missing_nano = max(missing_nano, required_nano)
    try:
        amount = deposit_for(
            wanted,
            missing_nano=missing_nano,
            required_nano=required_nano,
            fee_nano=fee_nano,
            balance_nano=balance_nano,
        )
    except WalletError:
        amount = None
    if amount is None:
        if limit_nano is None:
            assert required_nano > max(UNASKED_DEPOSIT_NANO, ceiling_nano * REQUESTS_PER_DEPOSIT)
        else:
            assert limit_nano < required_nano + fee_nano
        return
    assert amount >= max(0, required_nano)
    if limit_nano is not None and amount:
        assert amount + fee_nano <= limit_nano
    if amount > max(0, balance_nano - fee_nano):
        assert amount == required_nano  # the wallet refuses it, and names what is missing
    if 0 < amount < missing_nano:
        assert required_nano > 0


def test_a_claimed_count_moves_no_more_than_the_sent_bytes_allow() -> None:
    honest = counted_need(OFFER, TURN, Failed("deposit_too_small", "", "", input_tokens=2_000), None)
    absurd = counted_need(OFFER, TURN, Failed("deposit_too_small", "", "", input_tokens=2**31 - 1), None)
    untold = counted_need(OFFER, TURN, Failed("deposit_too_small", "", ""), None)
    bounded = counted_need(
        OFFER, TURN, Failed("deposit_too_small", "", "", input_tokens=most_input_tokens(TURN.messages)), None
    )
    assert honest is not None
    assert absurd == untold == bounded
    assert bounded is not None
    assert honest.ceiling_nano < bounded.ceiling_nano


def test_a_stranger_has_not_all_money_locked_without_being_asked():
    dear = msgspec.structs.replace(need(), min_deposit_nano=500 * 10**9, max_spend_nano=None)
    wanted = {"missing_nano": 500 * 10**9, "required_nano": 500 * 10**9, "fee_nano": 1, "balance_nano": 10**15}
    with pytest.raises(WalletError) as refused:
        deposit_for(dear, **wanted)
    assert (refused.value.code, "$500" in refused.value.message) == ("spend_limit", True)
    allowed = msgspec.structs.replace(dear, max_spend_nano=600 * 10**9)
    assert deposit_for(allowed, **wanted) >= 500 * 10**9


@pytest.mark.parametrize("code", ["spend_limit", "busy", "unpaid"])
def test_no_other_refusal_moves_money(code: str) -> None:
    assert counted_need(OFFER, TURN, Failed(code, "", "", input_tokens=5), None) is None


def test_only_a_counted_prompt_can_pass_the_limit() -> None:
    assert over_the_limit(estimated_need(OFFER, TURN, 0)) is None
    counted = counted_need(OFFER, TURN, Failed("deposit_too_small", "", "", input_tokens=2_000), 1)
    assert counted is not None
    refusal = over_the_limit(counted)
    assert refusal is not None
    assert refusal.code == "spend_limit"
    assert not refusal.is_theirs


def test_a_short_quote_is_a_reason_for_a_deposit_only_where_the_channel_makes_it_short() -> None:
    assert wanted_output_tokens(need(), 5, None) == 100
    assert wanted_output_tokens(need(), 5, 6) == 100
    assert wanted_output_tokens(need(), 5, 5) == 0
    assert wanted_output_tokens(need(least_nano=1), 5, None) == 0


def test_a_channel_has_room_for_a_long_answer_and_a_deposit_for_usual_ones() -> None:
    free = msgspec.structs.replace(TURN, max_tokens=None)
    large = msgspec.structs.replace(OFFER, context_length=8_192)
    unlimited, limited = estimated_need(large, free, None), estimated_need(large, TURN, None)
    assert unlimited.room_nano > unlimited.ceiling_nano > limited.ceiling_nano == limited.room_nano
    assert unlimited.output_tokens > limited.output_tokens == 100
    small = estimated_need(offer(context_length=64), free, None)
    assert small.output_tokens == 64
    assert small.room_nano == small.ceiling_nano


@pytest.mark.parametrize(
    ("max_tokens", "budget_nano", "unsigned_nano", "max_spend_nano", "expected"),
    [
        (50, 1_000, 1_000, None, "max_tokens"),
        (None, 10_000, 10_000, None, "context"),
        (None, 60, 60, None, "deposit"),
        (None, 60, 60, 90, "deposit"),
        (None, 60, 1_000, None, "answer_budget"),
        (None, 60, 1_000, 60, "max_spend"),
    ],
)
def test_what_bounds_an_answer_is_named(
    max_tokens: int | None, budget_nano: int, unsigned_nano: int, max_spend_nano: int | None, expected: str
) -> None:
    prices = Prices(input_nano_per_mtok=10**6, output_nano_per_mtok=10**6)
    turn = msgspec.structs.replace(TURN, max_tokens=max_tokens, max_spend_nano=max_spend_nano)
    asked = metered.ask(max_tokens=max_tokens or 4_096, max_cost_nano=budget_nano, prices=prices)
    quote = Quote(
        request_id="r1",
        input_tokens=10,
        max_output_tokens=50,
        prices=prices,
        ceiling_nano=60,
        credit_tokens=1,
    )
    assert limit_of(asked, quote, turn, unsigned_nano) == expected
