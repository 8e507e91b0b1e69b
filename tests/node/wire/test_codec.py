import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.wire import codec
from node.wire import messages as m
from node.wire.wire_error import WireError

KEY = b"k" * 32
SAMPLES = [
    m.Publish(1, (b"offer",)),
    m.Query(2, b"", 10),
    m.Open(1, KEY, 1000),
    m.Open(3, KEY, 1000, b"first"),
    m.Accept(2, 1000),
    m.Data(1, b"frame"),
    m.Credit(1, 5),
    m.Close(1, "done", "bye"),
    m.Ack(7),
    m.Ping(1, 7),
]


def outcome(reader, data):
    try:
        reader.read(data)
    except WireError as error:
        return error.code
    return "message"


@pytest.mark.parametrize("message", SAMPLES, ids=lambda message: type(message).__name__)
def test_every_node_message_survives_the_wire(message):
    assert codec.node_reader().read(codec.encode(message)) == message


@pytest.mark.parametrize(
    "message",
    [
        m.Published(1),
        m.Page(1, (m.Listing(KEY, b"offer"),), b"cursor"),
        m.Incoming(2, KEY, 1000),
        m.Incoming(4, KEY, 1000, b"first"),
        m.Accepted(1, 1000),
        m.Pong(1, 2),
        m.Failure("limit_rate", "slow down"),
    ],
    ids=lambda message: type(message).__name__,
)
def test_every_relay_message_survives_the_wire(message):
    assert codec.relay_reader().read(codec.encode(message)) == message


@given(st.binary(max_size=200))
def test_garbage_is_a_message_or_a_coded_error_and_nothing_else(data):
    for reader in (codec.node_reader(), codec.relay_reader(), codec.hello_reader(), codec.auth_reader()):
        assert outcome(reader, data) in {"message", "protocol"}


@given(st.sampled_from(SAMPLES), st.data())
def test_a_changed_byte_never_does_worse_than_a_coded_error(message, data):
    raw = bytearray(codec.encode(message))
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    assert outcome(codec.node_reader(), bytes(raw)) in {"message", "protocol"}


@pytest.mark.parametrize(
    "raw",
    [
        ["open", 0, KEY, 1000],
        ["open", 2**53, KEY, 1000],
        ["open", 1, KEY[:31], 1000],
        ["open", 1, KEY, 0],
        ["open", 1, KEY, m.MAX_WINDOW_BYTES + 1],
        ["open", 1, KEY, 1000, "surplus"],
        ["data", 1, "text"],
        ["data", 1, b"x" * (m.MAX_FRAME_BYTES + 1)],
        ["credit", 1, -1],
        ["close", 1, "Not A Code", ""],
        ["close", 1, "x" * 49, ""],
        ["close", 1, "done\n", ""],
        ["close", 1, "done", "r" * 241],
        ["publish", 1, [b""]],
        ["publish", 1, [b"x" * (m.MAX_OFFER_BYTES + 1)]],
        ["publish", 1, [b"x"] * (m.MAX_OFFERS_PER_NODE + 1)],
        ["query", 1, b"x" * 41, 10],
        ["query", 1, b"", 0],
        ["welcome", KEY],
        ["unknown"],
        [],
        {},
        None,
    ],
    ids=lambda raw: repr(raw)[:30],
)
def test_a_message_outside_its_bounds_is_refused(raw):
    with pytest.raises(WireError) as caught:
        codec.node_reader().read(msgspec.msgpack.encode(raw))
    assert caught.value.code == "protocol"


def test_deep_nesting_is_refused():
    with pytest.raises(WireError):
        codec.node_reader().read(b"\x91" * 100_000)


def test_invalid_utf8_is_refused():
    with pytest.raises(WireError):
        codec.node_reader().read(b"\x94\xa5close\x01\xa2\xff\xfe\xa0")


def test_an_oversized_message_is_refused_before_it_is_decoded():
    with pytest.raises(WireError) as caught:
        codec.node_reader(10).read(b"x" * 11)
    assert caught.value.code == "limit_frame"


@pytest.mark.parametrize(("low", "high"), [(0, 1), (1, 1), (1, 9)])
def test_the_newest_common_version_is_chosen(low, high):
    assert codec.choose_version(low, high) == 1


@pytest.mark.parametrize(("low", "high"), [(2, 9), (0, 0), (5, 1)])
def test_no_common_version_is_a_coded_error(low, high):
    with pytest.raises(WireError) as caught:
        codec.choose_version(low, high)
    assert caught.value.code == "version"
    assert caught.value.fix
