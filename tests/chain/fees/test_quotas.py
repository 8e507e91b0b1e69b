import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.fees.quotas import ClientQuotas, client_of

PROXIES = [ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("127.0.0.0/8")]


def test_one_client_that_takes_all_it_can_leaves_the_most_to_the_others():
    quotas = ClientQuotas(80)
    taken = sum(quotas.take("greedy", 0) == 0 for _ in range(1_000))
    assert taken == 10
    assert all(quotas.take(f"newcomer {number}", 0) == 0 for number in range(20))


def test_clients_that_took_of_theirs_leave_the_last_quarter_to_newcomers():
    quotas = ClientQuotas(80)
    assert sum(quotas.take(f"greedy {number % 7}", 0) == 0 for number in range(10_000)) == 60
    assert quotas.take("newcomer", 0) == 0


def test_whoever_is_refused_is_told_when_to_come_back_and_is_taken_then():
    quotas = ClientQuotas(80)
    while (wait_s := quotas.take("client", 5.0)) == 0:
        pass
    assert 0 < wait_s <= 60
    assert quotas.take("client", 5.0 + wait_s) == 0


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0, 5)), max_size=200), st.integers(1, 50))
def test_no_minute_gives_more_than_twice_the_rate(asked, per_minute):
    """A full bucket and what flows into it within the minute: the worst minute."""
    quotas, now_s, at = ClientQuotas(per_minute), 0.0, []
    for client, pause_s in asked:
        now_s += pause_s
        if quotas.take(str(client), now_s) == 0:
            at.append(now_s)
    assert all(sum(start <= later <= start + 60 for later in at) <= 2 * per_minute for start in at)


def test_it_remembers_a_bounded_number_of_clients():
    quotas = ClientQuotas(10**6, max_clients=5)
    for number in range(50):
        assert quotas.take(str(number), 0) == 0
    assert len(quotas) == 5


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("203.0.113.9", [], "203.0.113.9"),
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),  # nobody's proxy: what it says doesn't count
        ("10.0.0.2", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.2", ["6.6.6.6", "198.51.100.1", "10.0.0.3"], "198.51.100.1"),  # the first was the client's own lie
        ("10.0.0.2", ["nonsense"], "10.0.0.2"),
        ("::ffff:203.0.113.9", [], "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", [], "2001:db8:1:2::/64"),
        ("fe80::1%eth0", [], "fe80::/64"),
        ("127.0.0.1", [], None),
        ("::1", [], None),
        ("127.0.0.1", ["198.51.100.1"], "198.51.100.1"),
    ],
)
def test_a_client_is_an_address_or_an_ipv6_site_and_a_strangers_header_counts_for_nothing(peer, forwarded, expected):
    assert client_of(peer, forwarded, PROXIES) == expected


def test_without_trusted_proxies_no_header_counts():
    assert client_of("127.0.0.1", ["198.51.100.1"], []) is None
