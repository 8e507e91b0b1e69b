import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from chain.errors import UsageError
from node.relay.auth import answer_challenge, check_answer, make_challenge, node_id, node_key
from node.relay.backoff import backoff_s
from node.relay.connection_limiter import ConnectionLimiter, address_group
from node.relay.limits import RelayLimits, TokenBucket
from node.wire.messages import Hello
from node.wire.wire_error import WireError


def hello_of(key):
    return Hello(1, 1, bytes(key.verify_key), b"n" * 32)


def test_a_signed_challenge_convinces_the_relay_that_made_it():
    node, relay = SigningKey.generate(), SigningKey.generate()
    challenge = make_challenge(hello_of(node), 1, relay)
    check_answer(hello_of(node), challenge, answer_challenge(hello_of(node), challenge, node, token=b"", received=0))


def test_a_signature_for_one_relay_convinces_no_other():
    node, relay, other = (SigningKey.generate() for _ in range(3))
    hello = hello_of(node)
    auth = answer_challenge(hello, make_challenge(hello, 1, relay), node, token=b"", received=0)
    for challenge in (make_challenge(hello, 1, other), make_challenge(hello, 1, relay)):
        with pytest.raises(WireError) as caught:
            check_answer(hello, challenge, auth)
        assert caught.value.code == "auth"


def test_a_relay_that_names_a_key_it_does_not_hold_gets_no_signature():
    node, relay, other = (SigningKey.generate() for _ in range(3))
    hello = hello_of(node)
    honest = make_challenge(hello, 1, relay)
    forged = type(honest)(1, bytes(other.verify_key), honest.nonce, honest.proof)
    with pytest.raises(WireError, match="relay failed"):
        answer_challenge(hello, forged, node, token=b"", received=0)


def test_versions_that_were_talked_down_spoil_the_signature():
    node, relay = SigningKey.generate(), SigningKey.generate()
    challenge = make_challenge(hello_of(node), 1, relay)
    meant = Hello(1, 2, bytes(node.verify_key), b"n" * 32)
    with pytest.raises(WireError):
        answer_challenge(meant, challenge, node, token=b"", received=0)


@pytest.mark.parametrize("bad", ["", "zz" * 32, "AB" * 32, "ab" * 31, "ab" * 33, "ab " * 32])
def test_a_malformed_node_id_is_refused(bad):
    with pytest.raises(WireError):
        node_key(bad)


@given(st.binary(min_size=32, max_size=32))
def test_node_ids_and_keys_match(key):
    assert node_key(node_id(key)) == key


@given(st.integers(0, 10_000), st.floats(0, 1))
def test_backoff_is_bounded_and_never_zero(attempt, jitter):
    assert 0.125 <= backoff_s(attempt, jitter) <= 30


def test_backoff_doubles():
    assert [backoff_s(attempt, 0, first_s=1, longest_s=5) for attempt in range(4)] == [1, 2, 4, 5]


def test_a_bucket_pays_debt_back_at_its_rate():
    now = [0.0]
    bucket = TokenBucket(10, 20, clock=lambda: now[0])
    assert bucket.take(20) == 0
    assert bucket.take(5) == 0.5
    now[0] = 0.5
    assert bucket.take(0) == 0
    now[0] = 1000
    assert bucket.take(21) == 0.1


@pytest.mark.parametrize(
    ("host", "group"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unix", "unix"),
    ],
)
def test_an_ipv6_site_shares_one_allowance(host, group):
    assert address_group(host) == group


def test_a_gate_counts_by_address():
    limiter = ConnectionLimiter(1, 1)
    assert limiter.enter("a")
    assert not limiter.is_crowded("a")
    assert limiter.enter("a")
    assert limiter.is_crowded("a")
    assert not limiter.enter("a")
    assert limiter.enter("b")
    assert limiter.connections == 4
    limiter.leave("a")
    limiter.leave("b")
    assert limiter.connections == 2


@pytest.mark.parametrize(
    "limits", [{"nodes": 0}, {"idle_s": -1}, {"frame_bytes": 2**20}, {"window_bytes": 65_536}, {"offer_bytes": 2**16}]
)
def test_limits_that_can_not_work_are_refused(limits):
    with pytest.raises(UsageError):
        RelayLimits(**limits)
