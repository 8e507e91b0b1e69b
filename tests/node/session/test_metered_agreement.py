"""Honest buyer against honest provider: they agree to the nano, whatever the answer, prices and interleaving."""

from __future__ import annotations

from collections import deque

from hypothesis import given, settings
from hypothesis import strategies as st

from node.session import buyer, buyer_io, provider, provider_io
from node.session.terms import bill_nano
from node.values import Prices
from node.values.inference import ChatMessage
from tests.node.session import metered

chunk = st.tuples(st.text(max_size=12), st.integers(0, 8)) | st.tuples(st.text(max_size=400), st.integers(0, 300))
prices = st.builds(
    Prices,
    input_nano_per_mtok=st.integers(0, 10**9) | st.just(0),
    output_nano_per_mtok=st.integers(0, 10**9) | st.just(0),
)


def session(chunks=(("42", 1),), *, request=None, facts=None, policy=None, **terms):
    selling = metered.ProviderSide(
        provider.start(policy or metered.policy()), facts or metered.facts(), chunks=deque(chunks)
    )
    return metered.BuyerSide.asking(request or metered.ask(), **terms), selling


def test_an_answer_is_paid_to_the_nano_and_receipted():
    buying, selling = session([("The answer", 2), (" is 42", 3)])
    metered.pump(buying, selling)
    assert isinstance(buying.outcome, buyer_io.Finished)
    expected = bill_nano(metered.PRICES, 9, 5)
    assert buying.state.cost_nano == expected == selling.state.bill_nano == selling.stored[-1].cumulative_nano
    assert buying.outcome.receipt.cumulative_nano == expected
    assert selling.actions[-1] == provider_io.EndRequest("stop", is_settled=True)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(chunk, max_size=25),
    prices,
    st.integers(0, 5_000),
    st.integers(1, 200),
    st.data(),
)
def test_honest_sides_always_agree(chunks, price, held_nano, credit_tokens, data):
    held = metered.voucher(held_nano) if held_nano else None
    facts = metered.facts(held=held, deposit_nano=10**9)
    signed = held_nano + data.draw(st.integers(0, 3))
    latest = metered.voucher(signed) if signed else None
    request = metered.ask(prices=price, max_cost_nano=10**9, max_tokens=4_000, voucher=latest)
    buying, selling = session(
        chunks,
        request=request,
        facts=facts,
        policy=metered.policy(prices=price, credit_tokens=credit_tokens),
        deposit_nano=10**9,
        signed_nano=signed,
    )
    for _ in range(10_000):
        moves = [buying.sent, selling.sent, selling.generating and selling.state.wants_chunks]
        ready = [index for index, move in enumerate(moves) if move]
        if not ready:
            break
        match data.draw(st.sampled_from(ready)):
            case 0:
                selling.feed(provider_io.Received(buying.sent.pop(0)))
            case 1:
                buying.feed(buyer_io.Received(selling.sent.pop(0)))
            case 2:
                selling.turn_engine()
    assert isinstance(buying.outcome, buyer_io.Finished), (buying.outcome, selling.actions)
    assert selling.state.stage is provider.Stage.ENDED
    assert buying.state.cost_nano == selling.state.bill_nano
    assert buying.state.signed_nano == max(selling.state.paid_nano, signed) == selling.state.owed_nano
    assert selling.worst_exposure_excess_nano <= 0


def test_a_request_that_produced_nothing_costs_nothing():
    buying, selling = session([])
    metered.pump(buying, selling)
    assert isinstance(buying.outcome, buyer_io.Finished)
    assert (buying.state.cost_nano, selling.state.bill_nano, buying.signed) == (0, 0, [])


def test_a_cancelled_request_pays_exactly_for_what_was_delivered():
    buying, selling = session([("abc", 1)] * 50)
    for _ in range(5):
        while buying.sent:
            selling.feed(provider_io.Received(buying.sent.pop(0)))
        selling.turn_engine()
        while selling.sent:
            buying.feed(buyer_io.Received(selling.sent.pop(0)))
    buying.feed(buyer_io.CancelRequested())
    buying.feed(buyer_io.CancelRequested())
    metered.pump(buying, selling)
    assert buying.outcome.reason == "cancelled"
    assert buying.state.output_tokens == 5
    assert buying.state.cost_nano == bill_nano(metered.PRICES, 9, 5) == selling.stored[-1].cumulative_nano
    assert provider_io.StopGenerating() in selling.actions


def test_a_crashed_engine_is_paid_for_what_it_delivered_and_says_why():
    buying, selling = session([("abc", 1)] * 3)
    selling.finish = provider_io.EngineEnded("failed", 50, "engine_crashed", "The engine died.")
    metered.pump(buying, selling)
    assert (buying.outcome.code, buying.outcome.message) == ("engine_crashed", "The engine died.")
    assert buying.outcome.receipt is not None
    assert buying.state.cost_nano == bill_nano(metered.PRICES, 9, 3) == selling.stored[-1].cumulative_nano


def test_a_lost_session_is_settled_by_the_next_one():
    first, selling = session([("abc", 1)] * 3)
    selling.feed(provider_io.Received(first.sent.pop(0)))
    for _ in range(3):
        selling.turn_engine()
    while selling.sent:
        first.feed(buyer_io.Received(selling.sent.pop(0)))
    first.feed(buyer_io.PeerGone("peer_gone"))
    assert first.outcome.code == "peer_gone"
    signed = first.state.signed_nano
    assert signed == bill_nano(metered.PRICES, 9, 3)

    buying, selling = session(request=metered.ask(voucher=metered.voucher(signed)), signed_nano=signed)
    metered.pump(buying, selling)
    assert isinstance(buying.outcome, buyer_io.Finished)
    assert selling.stored[0].cumulative_nano == signed
    assert buying.state.signed_nano == signed + bill_nano(metered.PRICES, 9, 1)


def test_a_buyer_that_lost_its_memory_adopts_its_own_signature_only():
    held = metered.voucher(5_000)
    buying, selling = session(facts=metered.facts(held=held))
    metered.pump(buying, selling)
    assert buyer_io.AdoptVoucher(held) in buying.actions
    assert buying.state.signed_nano == 5_000 + bill_nano(metered.PRICES, 9, 1)

    forged = metered.voucher(5_000, key=metered.STRANGER)
    buying, selling = session(facts=metered.facts(held=forged))
    metered.pump(buying, selling)
    assert buying.outcome.code == "out_of_step"
    assert buying.signed == []


def test_the_answer_is_cut_to_what_the_spending_limit_affords():
    limit = bill_nano(metered.PRICES, 9, 4)
    buying, selling = session([("abcd", 1)] * 20, request=metered.ask(max_cost_nano=limit))
    metered.pump(buying, selling)
    assert buying.state.quote.max_output_tokens == 4
    assert buying.state.cost_nano <= limit


def test_free_prompts_and_free_answers_need_no_voucher():
    free = Prices(input_nano_per_mtok=0, output_nano_per_mtok=0)
    buying, selling = session([("abc", 1)] * 200, request=metered.ask(prices=free), policy=metered.policy(prices=free))
    metered.pump(buying, selling)
    assert isinstance(buying.outcome, buyer_io.Finished)
    assert buying.signed == []


def test_a_long_conversation_is_counted_with_its_template():
    turns = tuple(ChatMessage("user", "x") for _ in range(40))
    buying, selling = session(request=metered.ask(messages=turns))
    selling.input_tokens = 40 * 20
    metered.pump(buying, selling)
    assert isinstance(buying.outcome, buyer_io.Finished)


def test_a_broken_session_with_nothing_to_pay_ends_at_once():
    buying, _ = session()
    buying.feed(buyer_io.PeerGone("peer_gone", "The relay went away."))
    assert (buying.outcome.code, buying.outcome.message) == ("peer_gone", "The relay went away.")
    assert buying.state.stage is buyer.Stage.ENDED


def test_sampling_written_with_integers_is_receipted_like_the_same_floats():
    whole = metered.ask(sampling=metered.Sampling(temperature=1, min_p=0, seed=3))
    buying, selling = session(request=whole)
    buying.sent[:] = [metered.messages.decode(metered.messages.encode(message)) for message in buying.sent]
    metered.pump(buying, selling)
    assert isinstance(buying.outcome, buyer_io.Finished)
