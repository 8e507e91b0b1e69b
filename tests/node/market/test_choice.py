"""The choice of a provider: cheap and fast first, and a reason when nothing fits."""

from __future__ import annotations

import msgspec
import pytest

from node.market.choice import SHORT_ID_CHARS, NoOfferError, candidates, needs_of, rank
from node.market.offers import offer_view
from node.values import ChatMessage, ChatTurn, TemplateOptions
from tests.node.market.test_offers import offer

BASE = offer_view(offer())


def view(name: str, **changes):
    return msgspec.structs.replace(BASE, offer_id=name, **changes)


def prices(factor: int):
    return msgspec.structs.replace(BASE.prices, input_nano_per_mtok=10**8 * factor, output_nano_per_mtok=10**8 * factor)


def order(*offers):
    return [o.offer_id for o in rank(offers)]


def test_cheaper_goes_first_at_equal_speed():
    assert order(view("dear", prices=prices(3)), view("cheap", prices=prices(1))) == ["cheap", "dear"]


def test_twice_the_price_is_fine_for_much_more_than_twice_the_speed():
    slow = view("slow", prices=prices(1), tokens_per_s=10.0)
    assert order(slow, view("fast", prices=prices(2), tokens_per_s=60.0)) == ["fast", "slow"]


def test_a_full_provider_comes_last_and_stake_breaks_ties():
    full = view("full", free_slots=0, prices=prices(1))
    assert order(full, view("a", prices=prices(9))) == ["a", "full"]
    assert order(view("a"), view("b", stake_nano=5)) == ["b", "a"]
    assert order(view("b", tokens_per_s=0.0), view("a", tokens_per_s=0.0)) == ["a", "b"]


def test_filters_by_model_offer_room_and_past_failures():
    offers = (view("a"), view("b", model="other"), view("c", context_length=100))
    assert [o.offer_id for o in candidates(offers, model="DEMO")] == ["a", "c"]
    assert [o.offer_id for o in candidates(offers, offer_id="b")] == ["b"]
    assert [o.offer_id for o in candidates(offers, model="demo", context_tokens=200)] == ["a"]
    assert [o.offer_id for o in candidates(offers, model="demo", failed=frozenset({"a"}))] == ["c"]


@pytest.mark.parametrize(
    ("offers", "filters", "code", "words"),
    [
        ((), {}, "no_offer", "Nobody rents"),
        ((), {"unusable": {"expired": 2, "bad_signature": 1}}, "no_offer", "1 carry a bad signature; 2 have expired"),
        ((view("a"),), {"model": "gpt"}, "unknown_model", "on the market: demo"),
        ((view("a"),), {"offer_id": "z"}, "offer_gone", "no longer"),
        ((view("a"),), {"context_tokens": 10_000}, "no_offer", "too little context"),
        ((view("a"),), {"failed": frozenset({"a"})}, "no_offer", "failed just now"),
    ],
)
def test_nothing_fitting_says_why(offers, filters, code, words):
    with pytest.raises(NoOfferError, match=words) as refused:
        candidates(offers, **filters)
    assert refused.value.code == code
    assert refused.value.fix


def test_the_short_id_that_the_market_shows_stands_for_its_offer():
    one, other = f"{'a' * SHORT_ID_CHARS}1", f"{'b' * SHORT_ID_CHARS}1"
    offers = (view(one), view(other))
    assert [o.offer_id for o in candidates(offers, offer_id=other[:SHORT_ID_CHARS])] == [other]
    assert [o.offer_id for o in candidates((*offers, view(other + "2")), offer_id=other)] == [other]
    with pytest.raises(NoOfferError, match="no longer"):
        candidates(offers, offer_id=other[: SHORT_ID_CHARS - 1])
    with pytest.raises(NoOfferError, match="2 offers begin with bbb") as refused:
        candidates((*offers, view(other[:-1] + "2")), offer_id=other[:-1])
    assert refused.value.code == "no_offer"


def asked(*texts: str, **options):
    turns = [ChatMessage("user" if at % 2 == 0 else "assistant", text) for at, text in enumerate(texts)]
    return needs_of(ChatTurn(messages=tuple(turns), template_options=TemplateOptions(**options)))


def chosen(offers, needs, **filters):
    return [o.offer_id for o in candidates(offers, needs=needs, **filters)]


def test_a_base_model_is_chosen_only_by_its_name_however_cheap_it_is():
    base = view("base", prices=prices(1), abilities=("completion",), model="Base")
    chat = view("chat", prices=prices(9))
    assert chosen([base, chat], asked("hi")) == ["chat"]
    assert chosen([base, chat], asked("hi", "ho", "again"), model="base") == ["base"]
    assert chosen([base, chat], asked("hi"), offer_id="base") == ["base"]
    with pytest.raises(NoOfferError, match="1 only continue texts"):
        chosen([base], asked("hi"))


def test_a_conversation_goes_to_a_model_that_can_hold_one():
    single = view("single", prices=prices(1), abilities=("chat", "system"))
    assert chosen([single, view("chat", prices=prices(9))], asked("hi")) == ["single", "chat"]
    assert chosen([single, view("chat", prices=prices(9))], asked("hi", "ho", "again")) == ["chat"]
    with pytest.raises(NoOfferError, match="1 answer single questions only") as refused:
        chosen([single], asked("hi", "ho", "again"), offer_id="single")
    assert refused.value.code == "no_offer"


def test_options_of_the_template_go_to_an_offer_that_names_them():
    told = view("told", prices=prices(9), abilities=("chat", "turns", "system", "enable_thinking"))
    assert chosen([view("plain", prices=prices(1)), told], asked("hi", enable_thinking=False)) == ["told"]
    with pytest.raises(NoOfferError, match="2 can't be told whether or how much to think"):
        chosen([view("plain"), told], asked("hi", reasoning_effort="low"))
