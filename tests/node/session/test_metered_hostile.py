"""Each machine alone against a peer that says anything at all, in any order."""

from __future__ import annotations

import contextlib
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.views import Inclusion
from node.session import buyer, buyer_io, messages, provider, provider_io
from node.session.terms import bill_nano
from node.values import Prices
from node.values.inference import ChatMessage, Sampling
from tests.node.session import metered

amounts = st.integers(0, 30_000) | st.sampled_from([0, 1, 10_000_000, 10_000_001, 2**64 - 1])
vouchers = st.builds(
    metered.voucher,
    amounts,
    key=st.sampled_from([metered.VOUCHER_KEY] * 3 + [metered.STRANGER]),
    channel_id=st.sampled_from([metered.CHANNEL] * 3 + [8]),
)
any_prices = st.builds(
    Prices,
    input_nano_per_mtok=st.sampled_from([0, 100_000_000, 10**12]),
    output_nano_per_mtok=st.sampled_from([0, 200_000_000, 10**12]),
)
quotes = st.builds(
    messages.Quote,
    request_id=st.sampled_from(["r1", "other"]),
    input_tokens=st.sampled_from([0, 9, 10_000]),
    max_output_tokens=st.sampled_from([0, 4, 256, 10_000]),
    prices=any_prices,
    ceiling_nano=amounts,
    credit_tokens=st.sampled_from([1, 64]),
    held=st.none() | vouchers,
)
good_quotes = st.builds(
    lambda tokens, most: messages.Quote(
        request_id="r1",
        input_tokens=tokens,
        max_output_tokens=most,
        prices=metered.PRICES,
        ceiling_nano=bill_nano(metered.PRICES, tokens, most),
        credit_tokens=64,
    ),
    st.sampled_from([9, 50]),
    st.integers(1, 256),
)
issue = provider_io.IssueReceipt(metered.CHANNEL, bytes(32), bytes(32), bytes(32), 9, 3, 60, 3, 1, 2)
finals = st.builds(
    messages.Final,
    reason=st.sampled_from(["stop", "length", "cancelled", "failed"]),
    receipt=st.just(metered.receipt_from(issue)),
)
asks = st.builds(
    metered.ask,
    channel_id=st.sampled_from([metered.CHANNEL] * 3 + [8]),
    max_tokens=st.integers(1, 500),
    max_cost_nano=amounts,
    voucher=st.none() | vouchers,
    version=st.sampled_from([1, 1, 1, 2]),
    model_sha256=st.sampled_from([metered.MODEL] * 3 + [bytes(32)]),
)
common = st.one_of(
    st.builds(messages.Cancel),
    st.builds(messages.Fault, code=st.just("whatever")),
    st.builds(messages.Stalled, owed_nano=amounts),
    st.builds(messages.Settled, cumulative_nano=amounts),
    st.builds(messages.Queued, position=st.just(1), eta_ms=st.just(1)),
    st.builds(messages.Delta, text=st.text(max_size=40), tokens=st.integers(0, 60)),
    st.builds(messages.CloseRequest, channel_id=st.just(metered.CHANNEL), voucher=st.none() | vouchers),
    st.builds(messages.CloseSignature, channel_id=st.just(7), cumulative_nano=amounts, signature=st.just(bytes(64))),
    st.builds(messages.Pay, voucher=vouchers),
    finals,
    quotes,
    asks,
)
at_buyer = (
    st.builds(messages.Delta, text=st.text(min_size=2, max_size=40), tokens=st.integers(0, 3)) | good_quotes | common
)
to_provider = st.one_of(
    st.builds(provider_io.Received, st.builds(messages.Pay, voucher=vouchers)),
    st.builds(provider_io.Received, asks),
    st.builds(provider_io.Received, common),
    st.just(provider_io.PaymentTimeout()),
    st.just(provider_io.PeerGone("peer_gone")),
    st.just("engine"),
    st.just("engine"),
    st.builds(provider_io.WaitingForSlot, st.integers(-1, 3), st.integers(-1, 3)),
    st.builds(provider_io.Refused, st.just("chain_unreachable"), st.just("The chain is silent.")),
    st.builds(provider_io.VoucherStored, vouchers),
    st.builds(provider_io.InputCounted, st.integers(0, 5_000)),
    st.builds(provider_io.Started, st.integers(0, 20), st.integers(0, 9), st.integers(0, 9)),
)


@settings(max_examples=120, deadline=None)
@given(asks, st.lists(to_provider, max_size=30), st.lists(st.tuples(st.text(max_size=30), st.integers(0, 90))))
def test_exposure_never_passes_the_window_whatever_the_buyer_does(request, events, chunks):
    selling = metered.ProviderSide(provider.start(metered.policy()), metered.facts(), chunks=deque(chunks))
    selling.feed(provider_io.Received(request))
    for event in events:
        if event == "engine":
            selling.turn_engine()
        elif isinstance(event, provider_io.VoucherStored):
            if event.voucher in selling.stored:
                selling.feed(event)
        else:
            selling.feed(event)
        assert selling.state.exposure_nano <= selling.state.window_nano
        assert selling.state.owed_nano <= selling.channel.deposit_nano
    assert selling.worst_exposure_excess_nano <= 0
    for stored in selling.stored:
        assert stored.cumulative_nano <= selling.channel.deposit_nano


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.builds(buyer_io.Received, at_buyer)
        | st.sampled_from([buyer_io.CancelRequested(), buyer_io.ProviderSilent(), buyer_io.PeerGone("peer_gone")]),
        max_size=30,
    ),
    good_quotes,
    st.booleans(),
)
def test_the_buyer_never_signs_above_its_recount_whatever_the_provider_does(events, quote, quoted):
    buying = metered.BuyerSide.asking(metered.ask())
    received_bytes = 0
    for event in [*([buyer_io.Received(quote)] if quoted else []), *events]:
        live = buying.state.stage in {buyer.Stage.QUOTED, buyer.Stage.STREAMING} and buying.state.broken is None
        if live and isinstance(event, buyer_io.Received) and isinstance(event.message, messages.Delta):
            received_bytes += len(event.message.text.encode())
        buying.feed(event)
        state = buying.state
        if state.quote is not None:
            most = bill_nano(state.quote.prices, state.quote.input_tokens, min(received_bytes, state.output_tokens))
            assert state.signed_nano <= state.base_nano + most
            assert most <= state.ask.max_cost_nano
        assert all(amount <= state.signed_nano for amount in buying.signed)
        assert state.signed_nano <= state.terms.deposit_nano
    assert sum(isinstance(a, buyer_io.Finished | buyer_io.Failed) for a in buying.actions) <= 1


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"payee": metered.STRANGER.address}, "not_my_channel"),
        ({"inclusion": Inclusion.UNKNOWN}, "unconfirmed"),
        ({"closing_at_s": 5}, "channel_closing"),
        ({"expiry_s": 1_100}, "channel_expiring"),
        ({"deposit_nano": 10}, "deposit_too_small"),
        ({"written_off_nano": 10**9}, "unpaid"),
        ({"redeemed_nano": 10_000_000}, "deposit_too_small"),
    ],
)
def test_a_channel_that_is_not_good_for_the_money_gets_no_credit(changes, code):
    selling = metered.ProviderSide(
        provider.start(metered.policy(min_deposit_nano=100)), metered.facts(**changes), chunks=deque([("a", 1)])
    )
    selling.feed(provider_io.Received(metered.ask(max_cost_nano=10**9)))
    assert selling.sent[-1].code == code
    assert provider_io.CountRejection(code) in selling.actions
    assert not selling.generating


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"version": 2}, "version"),
        ({"model_sha256": bytes(32)}, "model_changed"),
        ({"prices": Prices(input_nano_per_mtok=1, output_nano_per_mtok=1)}, "price_changed"),
        ({"channel_id": 9}, "unknown_channel"),
        ({"max_cost_nano": 0}, "spend_limit"),
        ({"voucher": metered.voucher(5, channel_id=9)}, "foreign_voucher"),
        ({"voucher": metered.voucher(5, key=metered.STRANGER)}, "bad_voucher"),
        ({"voucher": metered.voucher(10_000_001)}, "over_deposit"),
    ],
)
def test_a_request_that_can_not_be_served_is_refused_with_its_reason(changes, code):
    selling = metered.ProviderSide(provider.start(metered.policy()), metered.facts())
    selling.feed(provider_io.Received(metered.ask(**changes)))
    assert selling.sent[-1].code == code
    assert selling.state.stage is provider.Stage.ENDED


def test_a_conversation_that_fills_the_context_is_refused():
    selling = metered.ProviderSide(provider.start(metered.policy(context_length=9)), metered.facts())
    selling.feed(provider_io.Received(metered.ask()))
    assert selling.sent[-1].code == "context_too_long"


def test_an_engine_that_counts_in_two_ways_is_not_billed():
    selling = metered.ProviderSide(provider.start(metered.policy()), metered.facts())
    selling.feed(provider_io.Received(metered.ask()))
    selling.feed(provider_io.Started(8, 0, 0))
    assert selling.sent[-1].code == "engine_failed"


def stalled_provider() -> metered.ProviderSide:
    selling = metered.ProviderSide(provider.start(metered.policy()), metered.facts(), chunks=deque([("abc", 1)] * 100))
    selling.feed(provider_io.Received(metered.ask()))
    while selling.turn_engine():
        pass
    return selling


def test_the_provider_stops_at_the_window_and_says_so():
    selling = stalled_provider()
    assert selling.state.output_tokens == 64
    assert isinstance(selling.sent[-1], messages.Stalled)
    assert selling.state.exposure_nano == selling.state.window_nano
    selling.feed(provider_io.Received(messages.Pay(voucher=metered.voucher(selling.state.owed_nano))))
    assert not selling.state.awaits_payment
    assert selling.state.output_tokens == 65


def test_a_crumb_of_payment_buys_nothing_more():
    selling = stalled_provider()
    selling.feed(provider_io.Received(messages.Pay(voucher=metered.voucher(1))))
    assert selling.state.output_tokens == 64
    assert selling.state.awaits_payment
    assert sum(isinstance(a, provider_io.AwaitPayment) for a in selling.actions) == 1


def test_a_buyer_that_does_not_pay_gets_no_more_and_the_loss_is_known():
    selling = stalled_provider()
    selling.feed(provider_io.PaymentTimeout())
    assert selling.sent[-1].code == "unpaid"
    assert selling.actions[-1] == provider_io.EndRequest("unpaid", selling.state.window_nano)


def test_a_buyer_that_goes_away_mid_stream_stops_the_engine():
    selling = stalled_provider()
    selling.feed(provider_io.PeerGone("peer_gone"))
    assert provider_io.StopGenerating() in selling.actions
    selling.feed(provider_io.TextProduced("late", 1))
    assert selling.actions[-1].code == "peer_gone"


def test_a_chunk_larger_than_the_window_is_handed_over_in_pieces():
    selling = metered.ProviderSide(
        provider.start(metered.policy()), metered.facts(), chunks=deque([("word " * 400, 400)])
    )
    buying = metered.BuyerSide.asking(metered.ask(max_tokens=500))
    metered.pump(buying, selling)
    assert isinstance(buying.outcome, buyer_io.Finished)
    assert buying.state.output_tokens == 400


@pytest.mark.parametrize(
    ("delta", "why"),
    [
        (messages.Delta(text="ab", tokens=3), "3 tokens for 2 bytes"),
        (messages.Delta(text="abcdefgh" * 99, tokens=300), "256 quoted"),
    ],
)
def test_overbilling_is_refused_with_the_reason_and_nothing_more_is_signed(delta, why):
    buying = metered.BuyerSide.asking(metered.ask())
    selling = metered.ProviderSide(provider.start(metered.policy()), metered.facts())
    selling.feed(provider_io.Received(buying.sent.pop(0)))
    buying.feed(buyer_io.Received(selling.sent.pop(0)))
    buying.feed(buyer_io.Received(delta))
    assert buying.outcome.code == "overbilled"
    assert why in buying.outcome.message
    assert isinstance(buying.sent[-1], messages.Fault)
    assert buying.signed == []


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"request_id": "other"}, "protocol"),
        ({"max_output_tokens": 257}, "protocol"),
        ({"prices": Prices(input_nano_per_mtok=1, output_nano_per_mtok=200_000_001)}, "price_changed"),
        ({"input_tokens": 300}, "overbilled"),
        ({"ceiling_nano": 1}, "overbilled"),
    ],
)
def test_a_quote_beyond_the_offer_or_the_recount_is_refused(changes, code):
    values = {
        "request_id": "r1",
        "input_tokens": 9,
        "max_output_tokens": 256,
        "prices": metered.PRICES,
        "ceiling_nano": bill_nano(metered.PRICES, 9, 256),
        "credit_tokens": 64,
    }
    buying = metered.BuyerSide.asking(metered.ask())
    buying.feed(buyer_io.Received(messages.Quote(**(values | changes))))
    assert buying.outcome.code == code


def test_a_quote_above_the_limit_or_the_deposit_is_refused():
    quote = messages.Quote(
        request_id="r1",
        input_tokens=9,
        max_output_tokens=256,
        prices=metered.PRICES,
        ceiling_nano=bill_nano(metered.PRICES, 9, 256),
        credit_tokens=64,
    )
    for request, terms, code in (
        (metered.ask(max_cost_nano=5), {}, "overbilled"),
        (metered.ask(), {"deposit_nano": 5}, "deposit_too_small"),
        (metered.ask(), {"signed_nano": 5}, "out_of_step"),
    ):
        buying = metered.BuyerSide.asking(request, **terms)
        buying.feed(buyer_io.Received(quote))
        assert buying.outcome.code == code


def test_a_receipt_about_something_else_is_refused():
    for key, change in ((metered.STRANGER, {}), (metered.SELLER, {"cumulative_nano": 1})):
        buying = metered.BuyerSide.asking(metered.ask())
        selling = metered.ProviderSide(provider.start(metered.policy()), metered.facts(), chunks=deque([("42", 1)]))
        selling.feed(provider_io.Received(buying.sent.pop(0)))
        selling.turn_engine()
        while selling.sent:
            buying.feed(buyer_io.Received(selling.sent.pop(0)))
        selling.turn_engine()
        issued = next(a for a in selling.actions if isinstance(a, provider_io.IssueReceipt))
        fields = {name: getattr(issued, name) for name in issued.__slots__} | change
        receipt = metered.receipt_from(provider_io.IssueReceipt(**fields), key)
        signed = list(buying.signed)
        buying.feed(buyer_io.Received(messages.Final(reason="stop", receipt=receipt)))
        assert buying.outcome.code == "bad_receipt"
        assert buying.signed == signed


def test_silence_ends_the_request_and_what_came_is_signed_for():
    buying = metered.BuyerSide.asking(metered.ask())
    buying.feed(buyer_io.ProviderSilent())
    assert (buying.outcome.code, buying.signed) == ("provider_silent", [])


def test_a_wallet_that_can_not_sign_ends_the_request():
    buying = metered.BuyerSide.asking(metered.ask())
    buying.feed(buyer_io.SigningFailed("wallet_locked", "The wallet is locked.", "Unlock it."))
    assert (buying.outcome.code, buying.outcome.fix) == ("wallet_locked", "Unlock it.")


def test_cancelling_before_the_quote_costs_nothing():
    buying = metered.BuyerSide.asking(metered.ask())
    buying.feed(buyer_io.CancelRequested())
    assert buying.outcome.code == "cancelled"


def test_a_cancellation_that_comes_after_the_end_leaves_the_next_request_alone():
    selling = metered.ProviderSide(provider.start(metered.policy()), metered.facts(), chunks=deque([("42", 1)]))
    selling.feed(provider_io.Received(messages.Cancel()))
    assert selling.sent == selling.actions == []
    buying = metered.BuyerSide.asking(metered.ask())
    metered.pump(buying, selling)
    assert isinstance(buying.outcome, buyer_io.Finished)


def test_a_voucher_alone_settles_an_earlier_session_and_a_close_is_agreed():
    selling = metered.ProviderSide(provider.start(metered.policy()), metered.facts())
    selling.feed(provider_io.Received(messages.Pay(voucher=metered.voucher(70))))
    assert selling.sent == [messages.Settled(cumulative_nano=70)]

    selling = metered.ProviderSide(provider.start(metered.policy()), metered.facts(closing_at_s=9))
    selling.feed(provider_io.Received(messages.CloseRequest(channel_id=7, voucher=metered.voucher(80))))
    assert selling.sent[-1].cumulative_nano == 80
    assert selling.actions[-1] == provider_io.EndRequest("done")


def test_an_engine_stopped_by_its_owner_is_a_failure_not_a_cancellation():
    selling = metered.ProviderSide(provider.start(metered.policy()), metered.facts(), chunks=deque([("42", 1)]))
    selling.finish = provider_io.EngineEnded("cancelled", 5)
    buying = metered.BuyerSide.asking(metered.ask())
    metered.pump(buying, selling)
    assert buying.outcome.code == "engine_stopped"


# Messages


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_a_coded_error(data):
    with contextlib.suppress(messages.MessageError):
        messages.decode(data)


@given(common)
def test_messages_survive_the_wire(message):
    assert messages.decode(messages.encode(message)) == message


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=float("nan")),
        Sampling(top_p=2.0),
        Sampling(repeat_penalty=float("inf")),
        Sampling(seed=-1),
        Sampling(seed=2**64 - 1, temperature=-1.0),
    ],
)
def test_impossible_sampling_is_refused_at_the_boundary(sampling):
    with pytest.raises(messages.MessageError) as refused:
        messages.decode(messages.encode(metered.ask(sampling=sampling)))
    assert refused.value.code == "bad_request"


def test_impossible_prices_and_lengths_are_refused_at_the_boundary():
    absurd = Prices(input_nano_per_mtok=-1, output_nano_per_mtok=0)
    long = tuple(ChatMessage("user", "x" * 100_000) for _ in range(8))
    for message in (metered.ask(prices=absurd), metered.ask(messages=long)):
        with pytest.raises(messages.MessageError):
            messages.decode(messages.encode(message))
    quote = messages.Quote(
        request_id="r", input_tokens=0, max_output_tokens=0, prices=absurd, ceiling_nano=0, credit_tokens=1
    )
    with pytest.raises(messages.MessageError):
        messages.decode(messages.encode(quote))
    with pytest.raises(messages.MessageError, match="too long"):
        messages.encode(metered.ask(messages=tuple(ChatMessage("user", "x" * 100_000) for _ in range(12))))
    with pytest.raises(messages.MessageError, match="too long"):
        messages.decode(bytes(messages.MAX_MESSAGE_BYTES + 1))


@pytest.mark.parametrize("word", ["usage\n", "usage\x1b", "", "x" * 49])
def test_a_code_is_one_word_and_nothing_after_it(word):
    with pytest.raises(messages.MessageError):
        messages.decode(messages.encode(messages.Fault(code=word)))


def test_a_deposit_that_is_all_the_buyer_allows_is_named_as_the_cause_with_the_count():
    selling = metered.ProviderSide(provider.start(metered.policy()), metered.facts(deposit_nano=800))
    selling.feed(provider_io.Received(metered.ask(max_cost_nano=800)))
    fault = selling.sent[-1]
    assert (fault.code, fault.input_tokens) == ("deposit_too_small", selling.input_tokens)


@pytest.mark.parametrize(
    ("wanted", "deposit_nano", "code"),
    [(16, 3_000, "deposit_too_small"), (0, 3_000, None), (5, 3_000, None), (16, 10_000_000, None)],
)
def test_a_quote_is_refused_where_only_the_deposit_makes_the_answer_too_short(wanted, deposit_nano, code):
    quote = messages.Quote(
        request_id="r1",
        input_tokens=9,
        max_output_tokens=10,
        prices=metered.PRICES,
        ceiling_nano=bill_nano(metered.PRICES, 9, 10),
        credit_tokens=64,
    )
    buying = metered.BuyerSide.asking(metered.ask(), deposit_nano=deposit_nano, wanted_output_tokens=wanted)
    buying.feed(buyer_io.Received(quote))
    assert (buying.outcome and (buying.outcome.code, buying.outcome.input_tokens)) == (code and (code, 9))
