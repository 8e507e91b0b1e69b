import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.relay.directory import Directory
from node.wire.wire_error import WireError

NODES = st.dictionaries(
    st.binary(min_size=32, max_size=32), st.lists(st.binary(min_size=1, max_size=40), max_size=4), max_size=8
)


def read_all(directory, limit, max_bytes):
    listings, cursor = [], b""
    while True:
        page, cursor = directory.page(cursor, limit, max_bytes)
        assert len(page) <= limit
        listings += page
        if not cursor:
            return listings


@settings(max_examples=60)
@given(NODES, st.integers(1, 5), st.integers(1, 200))
def test_pages_together_hold_every_offer_once_and_in_order(nodes, limit, max_bytes):
    directory = Directory()
    for node, offers in nodes.items():
        directory.put(node, "relay", tuple(offers))
    expected = [(node, offer) for node in sorted(nodes) for offer in nodes[node]]
    assert [(listing.node, listing.offer) for listing in read_all(directory, limit, max_bytes)] == expected
    assert directory.offers == len(expected)


@settings(max_examples=60)
@given(NODES, st.data())
def test_nodes_that_go_between_pages_disturb_no_other(nodes, data):
    directory = Directory()
    for node, offers in nodes.items():
        directory.put(node, "relay", tuple(offers))
    page, cursor = directory.page(b"", 1, 1000)
    gone = data.draw(st.sets(st.sampled_from(sorted(nodes)))) if nodes else set()
    for node in gone:
        assert directory.remove(node, "relay")
    rest = list(page)
    while cursor:
        page, cursor = directory.page(cursor, 1, 1000)
        rest += page
    seen = [(listing.node, listing.offer) for listing in rest if listing.node not in gone]
    assert seen == [(node, offer) for node in sorted(nodes) if node not in gone for offer in nodes[node]]


def test_a_node_that_moved_is_not_removed_by_the_relay_it_left():
    directory = Directory()
    directory.put(b"n" * 32, "old", (b"a",))
    directory.put(b"n" * 32, "new", (b"b", b"c"))
    assert not directory.remove(b"n" * 32, "old")
    assert not directory.remove(b"m" * 32, "old")
    assert directory.find(b"n" * 32).relay == "new"
    assert directory.offers == 2


def test_a_made_up_cursor_is_refused():
    with pytest.raises(WireError):
        Directory().page(b"short", 1, 1)
