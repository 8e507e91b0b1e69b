import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from node.relay.resumable_stream import ResumableStream
from node.wire import messages as m
from node.wire.codec import node_reader, relay_reader
from node.wire.wire_error import WireError


def sent(stream):
    return [relay_reader().read(data) for data in iter(stream.next, None)]


def data(circuit, number):
    return m.Data(circuit, number.to_bytes(4, "big"))


def test_circuits_take_turns():
    stream = ResumableStream()
    for number in range(3):
        stream.put_on_circuit(1, data(1, number))
    stream.put_on_circuit(3, data(3, 0))
    stream.put_on_circuit(5, data(5, 0))
    assert [message.circuit for message in sent(stream)] == [1, 3, 5, 1, 1]


def test_control_goes_before_circuits_and_urgent_before_control():
    stream = ResumableStream()
    stream.put_on_circuit(1, data(1, 0))
    stream.put(m.Published(1))
    stream.put_urgent(m.Pong(1, 0))
    assert [type(message) for message in sent(stream)] == [m.Pong, m.Published, m.Data]


def test_a_newer_urgent_message_replaces_the_older():
    stream = ResumableStream()
    for nonce in range(100):
        stream.put_urgent(m.Pong(nonce, 0))
    assert sent(stream) == [m.Pong(99, 0)]


def test_credit_that_waits_is_added_up_and_weighs_as_one_message():
    stream = ResumableStream()
    for _ in range(10_000):
        stream.put_credit(1, 2)
    assert stream.buffered_bytes < 200
    assert sent(stream) == [m.Credit(1, 20_000)]


def test_the_end_of_a_circuit_comes_after_its_frames():
    stream = ResumableStream()
    stream.put_on_circuit(1, data(1, 0))
    stream.put_on_circuit(1, m.Close(1, "done"))
    assert [type(message) for message in sent(stream)] == [m.Data, m.Close]


def test_a_dropped_circuit_weighs_nothing():
    stream = ResumableStream()
    stream.put_on_circuit(1, data(1, 0))
    stream.put_credit(1, 5)
    stream.put_credit(3, 5)
    stream.drop_circuit(1)
    stream.drop_circuit(3)
    stream.drop_circuit(7)
    assert stream.buffered_bytes == 0
    assert sent(stream) == []


def test_an_ack_is_due_after_many_messages_or_many_bytes():
    stream = ResumableStream()
    for _ in range(15):
        stream.note_received(10)
    assert stream.next() is None
    stream.note_received(10)
    assert sent(stream) == [m.Ack(16)]
    stream.note_received(100_000)
    assert sent(stream) == [m.Ack(17)]


@pytest.mark.parametrize("received", [2, 100])
def test_acknowledging_what_was_never_sent_is_refused(received):
    stream = ResumableStream()
    stream.put(m.Published(1))
    stream.put(m.Published(2))
    stream.next()
    with pytest.raises(WireError):
        stream.acknowledge(received)


def test_an_acknowledgement_can_not_be_taken_back():
    stream = ResumableStream()
    stream.put(m.Published(1))
    stream.next()
    stream.acknowledge(1)
    with pytest.raises(WireError):
        stream.resume(0)


class LostAndFound(RuleBasedStateMachine):
    """Two links over a line that loses everything in flight whenever it breaks."""

    def __init__(self):
        super().__init__()
        self.near, self.far = ResumableStream(), ResumableStream()
        self.line = []
        self.said = {1: [], 3: []}
        self.heard = {1: [], 3: []}
        self.number = 0

    @rule(circuit=st.sampled_from([1, 3]))
    def say(self, circuit):
        self.number += 1
        self.said[circuit].append(self.number)
        self.near.put_on_circuit(circuit, data(circuit, self.number))

    @rule(count=st.integers(1, 5))
    def send(self, count):
        for _ in range(count):
            raw = self.near.next()
            if raw is not None:
                self.line.append(raw)

    @rule(count=st.integers(1, 40))
    def arrive(self, count):
        for raw in self.line[:count]:
            message = node_reader().read(raw)
            self.far.note_received(len(raw))
            self.heard[message.circuit].append(int.from_bytes(message.frame, "big"))
        del self.line[:count]

    @rule()
    def acknowledge(self):
        self.near.acknowledge(self.far.received)

    @rule()
    def break_and_resume(self):
        self.line.clear()
        self.near.resume(self.far.received)

    @invariant()
    def nothing_is_heard_twice_or_out_of_order(self):
        for circuit, heard in self.heard.items():
            assert heard == self.said[circuit][: len(heard)]

    def teardown(self):
        self.break_and_resume()
        self.send(10_000)
        self.arrive(10_000)
        self.acknowledge()
        assert self.heard == self.said
        assert self.near.buffered_bytes == 0


TestNothingIsLostOrDoubled = LostAndFound.TestCase
TestNothingIsLostOrDoubled.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
