"""What a provider counts as a request it did not get: everything that ended before its first token, once."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.session import messages, provider, provider_io
from node.session.provider_rules import BUYER_REFUSALS
from tests.node.session import metered


def quoted(**changes) -> metered.ProviderSide:
    side = metered.ProviderSide(provider.start(metered.policy()), metered.facts(), **changes)
    side.feed(provider_io.Received(metered.ask()))
    assert isinstance(side.sent[0], messages.Quote)
    return side


def skips(side: metered.ProviderSide) -> list[str]:
    return [action.code for action in side.actions if isinstance(action, provider_io.CountRejection)]


def fault(code: str) -> provider_io.Received:
    return provider_io.Received(messages.Fault(code=code))


def test_a_buyer_that_goes_away_after_its_quote_is_counted_so():
    side = quoted()
    side.feed(provider_io.PeerGone("peer_gone"))
    assert skips(side) == ["left_after_quote"]


def test_a_buyer_that_goes_away_in_line_is_counted_so():
    side = quoted()
    side.feed(provider_io.WaitingForSlot(2, 14_000))
    assert side.sent[-1] == messages.Queued(position=2, eta_ms=14_000)
    side.feed(provider_io.Received(messages.Cancel()))
    assert skips(side) == ["left_in_line"]


def test_a_buyer_that_left_the_line_for_its_slot_is_in_line_no_more():
    side = quoted()
    side.feed(provider_io.WaitingForSlot(1, 1))
    side.feed(provider_io.Started(9, 3, 5))
    side.feed(provider_io.PeerGone("peer_gone"))
    assert skips(side) == ["left_after_quote"]


@pytest.mark.parametrize("code", sorted(BUYER_REFUSALS))
def test_a_buyer_that_says_why_is_counted_by_its_word(code):
    side = quoted()
    side.feed(fault(code))
    assert skips(side) == [code]


def test_any_other_word_counts_as_none():
    side = quoted()
    side.feed(fault("buy_my_coin"))
    assert skips(side) == ["left_after_quote"]


@pytest.mark.parametrize("leaving", [provider_io.PeerGone("x"), provider_io.Received(messages.Cancel()), fault("x")])
def test_a_buyer_that_got_a_token_was_served(leaving):
    side = quoted(chunks=deque([("42", 1)]))
    side.turn_engine()
    side.feed(leaving)
    assert skips(side) == []


def test_an_engine_that_fails_before_its_first_token_is_counted_and_its_fix_reaches_the_buyer():
    side = quoted()
    side.finish = provider_io.EngineEnded("failed", 5, "engine_busy", "Busy.", "Try again in 12 s.")
    side.turn_engine()
    assert skips(side) == ["engine_busy"]
    final = next(message for message in side.sent if isinstance(message, messages.Final))
    assert (final.error_code, final.fix) == ("engine_busy", "Try again in 12 s.")


def test_a_place_beyond_all_bounds_is_still_a_message():
    side = quoted()
    side.feed(provider_io.WaitingForSlot(1 << 40, 1 << 60))
    assert side.sent[-1] == messages.Queued(position=messages.MAX_POSITION, eta_ms=messages.MAX_ETA_MS)


events = st.sampled_from(
    [
        provider_io.WaitingForSlot(1, 10),
        provider_io.Started(9, 3, 5),
        provider_io.TextProduced("ab", 1),
        provider_io.EngineEnded("failed", 9, "engine_crashed", "It died."),
        provider_io.Received(messages.Cancel()),
        fault("spend_limit"),
        provider_io.PeerGone("peer_gone"),
        provider_io.PaymentTimeout(),
    ]
)


@settings(max_examples=100)
@given(st.lists(events, max_size=8))
def test_a_request_is_counted_once_at_most_and_never_when_it_was_served(happening):
    side = quoted()
    for event in happening:
        side.feed(event)
    assert len(skips(side)) <= 1
    assert not side.state.output_tokens or not skips(side)


def test_a_quote_refused_for_the_deposit_is_known_as_that_also_after_the_first_token():
    # The channel is read afresh then: an engine that is faster than the refusal must not hide the reason.
    selling = metered.ProviderSide(
        provider.start(metered.policy()), metered.facts(), chunks=deque([("a", 1), ("b", 1)])
    )
    selling.feed(provider_io.Received(metered.ask()))
    selling.turn_engine()
    selling.feed(provider_io.Received(messages.Fault(code="deposit_too_small")))
    assert [a.code for a in selling.actions if isinstance(a, provider_io.EndRequest)] == ["deposit_too_small"]
