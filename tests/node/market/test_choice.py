"""The choice of a provider: cheap and fast first, and a reason when nothing fits."""

from __future__ import annotations

import msgspec
import pytest

from node.market.choice import NoOfferError, candidates, rank
from node.market.offers import offer_view
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
