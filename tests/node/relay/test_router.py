"""The circuit router without sockets: two relays whose actions a test carries by hand."""

from collections import deque

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from node.relay import bus as b
from node.relay import router
from node.relay.limits import RelayLimits
from node.wire import messages as m
from node.wire.wire_error import WireError

LIMITS = RelayLimits(
    frame_bytes=100, window_bytes=1000, circuits_per_node=3, offers_per_node=2, offer_bytes=10, nodes=4
)
ANNA, BERT, CARL = (letter * 32 for letter in (b"a", b"b", b"c"))
WINDOW = 1000


class Net:
    """Routers that share a bus, and what each node was told."""

    def __init__(self, *names):
        self.routers = {name: router.CircuitRouter(name, LIMITS) for name in names}
        self.home = {}
        self.told = {}
        self.dropped = []
        self.cut = {}

    def join(self, node, relay):
        self.home[node] = relay
        self.told[node] = deque()
        self.routers[relay].add(node)
        self.do(relay, self.routers[relay].attach(node))

    def say(self, node, message):
        self.do(self.home[node], self.routers[self.home[node]].on_message(node, message))

    def do(self, relay, actions):
        for action in actions:
            match action:
                case router.SendToNode(node, message):
                    self.told[node].append(message)
                case router.DropCircuit(node, circuit):
                    self.dropped.append((node, circuit))
                case router.SendToRelay(other, message):
                    self.do(other, self.routers[other].on_bus(b.bus_reader().read(b.encode_bus(message))))
                case router.SendToAllRelays(message):
                    for other in self.routers:
                        if other != relay:
                            self.do(other, self.routers[other].on_bus(message))
                case router.EndSession(node, code, _reason):
                    self.cut[node] = code

    def hear(self, node):
        told = list(self.told[node])
        self.told[node].clear()
        return told

    def open(self, opener=ANNA, peer=BERT):
        self.say(opener, m.Open(1, peer, WINDOW))
        assert self.hear(peer) == [m.Incoming(2, opener, WINDOW)]
        self.say(peer, m.Accept(2, WINDOW))
        assert self.hear(opener) == [m.Accepted(1, WINDOW)]


@pytest.fixture(params=["one relay", "two relays"])
def net(request):
    names = ("north", "south") if request.param == "two relays" else ("north",)
    net = Net(*names)
    net.join(ANNA, names[0])
    net.join(BERT, names[-1])
    return net


def code_of(net, node, message):
    with pytest.raises(WireError) as caught:
        net.say(node, message)
    return caught.value.code


def test_frames_and_credit_cross_a_circuit(net):
    net.open()
    net.say(ANNA, m.Data(1, b"hi"))
    net.say(BERT, m.Data(2, b"ho"))
    net.say(BERT, m.Credit(2, 66))
    assert net.hear(BERT) == [m.Data(2, b"hi")]
    assert net.hear(ANNA) == [m.Data(1, b"ho"), m.Credit(1, 66)]


def test_a_close_reaches_the_other_end_and_frees_both(net):
    net.open()
    net.say(ANNA, m.Close(1, "done", "bye\x1b[31m"))
    assert net.hear(BERT) == [m.Close(2, "done", "bye")]
    assert net.dropped == [(ANNA, 1)]
    assert not any(north.circuits for north in net.routers.values())


def test_what_crosses_a_close_is_ignored(net):
    net.open()
    net.say(ANNA, m.Close(1, "done"))
    for message in (m.Data(2, b"late"), m.Credit(2, 5), m.Close(2, "done"), m.Accept(2, WINDOW)):
        net.say(BERT, message)
    assert net.hear(ANNA) == []


def test_an_unknown_peer_and_oneself_are_not_connected_to(net):
    net.say(ANNA, m.Open(1, CARL, WINDOW))
    net.say(ANNA, m.Open(3, ANNA, WINDOW))
    assert [(message.circuit, message.code) for message in net.hear(ANNA)] == [(1, "peer_unknown"), (3, "peer_unknown")]


def test_a_refusal_reaches_the_opener(net):
    net.say(ANNA, m.Open(1, BERT, WINDOW))
    net.say(BERT, m.Close(2, "done"))
    assert net.hear(ANNA) == [m.Close(1, "peer_refused")]


def test_an_opener_that_changes_its_mind_frees_the_other_end(net):
    net.say(ANNA, m.Open(1, BERT, WINDOW))
    net.say(ANNA, m.Close(1, "done"))
    assert net.hear(BERT) == [m.Incoming(2, ANNA, WINDOW), m.Close(2, "done")]
    assert not any(north.circuits for north in net.routers.values())


def test_a_node_without_a_free_circuit_is_not_opened_to(net):
    for circuit in (1, 3, 5):
        net.say(BERT, m.Open(circuit, ANNA, WINDOW))
    net.hear(ANNA)
    for circuit in (2, 4, 6):
        net.say(ANNA, m.Close(circuit, "done"))
    for circuit in (1, 3, 5):
        net.say(ANNA, m.Open(circuit, BERT, WINDOW))
    net.hear(BERT)
    assert code_of(net, ANNA, m.Open(7, BERT, WINDOW)) == "limit_circuits"
    net.routers["north"].remove(ANNA)


def test_a_full_peer_answers_with_a_code(net):
    for circuit in (1, 3, 5):
        net.say(BERT, m.Open(circuit, ANNA, WINDOW))
    last = list(net.routers)[-1]
    if len(net.routers) == 1:
        net.join(CARL, last)
    else:
        net.join(CARL, "south")
    net.say(CARL, m.Open(1, ANNA, WINDOW))
    assert net.hear(CARL)[0].code == "limit_circuits"


@pytest.mark.parametrize("circuit", [2, 1, 0xFFFF0])
def test_circuit_numbers_of_a_node_are_odd_and_rise(net, circuit):
    net.open()
    assert code_of(net, ANNA, m.Open(circuit, BERT, WINDOW)) == "circuit_reused"


@pytest.mark.parametrize("message", [m.Data(9, b""), m.Credit(8, 1), m.Close(4, "done"), m.Accept(6, WINDOW)])
def test_a_circuit_that_never_was_is_an_error(net, message):
    net.open()
    assert code_of(net, ANNA, message) == "circuit_unknown"


def test_sending_beyond_the_credit_is_an_error(net):
    net.open()
    for _ in range(6):
        net.say(ANNA, m.Data(1, b"x" * 100))
    assert code_of(net, ANNA, m.Data(1, b"x" * 100)) == "credit"


def test_empty_frames_cost_credit_too(net):
    net.open()
    for _ in range(15):
        net.say(ANNA, m.Data(1, b""))
    assert code_of(net, ANNA, m.Data(1, b"")) == "credit"


def test_a_first_frame_comes_with_the_circuit_and_costs_of_the_window_that_its_acceptance_brings(net):
    net.say(ANNA, m.Open(1, BERT, WINDOW, b"greeting"))
    assert net.hear(BERT) == [m.Incoming(2, ANNA, WINDOW, b"greeting")]
    net.say(BERT, m.Accept(2, WINDOW))
    for _ in range(14):
        net.say(ANNA, m.Data(1, b""))
    assert code_of(net, ANNA, m.Data(1, b"")) == "credit"


def test_a_first_frame_larger_than_a_frame_is_an_error(net):
    assert code_of(net, ANNA, m.Open(1, BERT, WINDOW, b"x" * 101)) == "limit_frame"


def test_granting_more_than_a_window_is_an_error(net):
    net.open()
    assert code_of(net, BERT, m.Credit(2, 1)) == "credit"


@pytest.mark.parametrize("window", [1, 327, 1001])
def test_windows_outside_the_limits_are_an_error(net, window):
    assert code_of(net, ANNA, m.Open(1, BERT, window)) == "credit"


def test_an_oversized_frame_is_an_error(net):
    net.open()
    assert code_of(net, ANNA, m.Data(1, b"x" * 101)) == "limit_frame"


def test_nothing_is_sent_on_a_circuit_that_is_not_open_yet(net):
    net.say(ANNA, m.Open(1, BERT, WINDOW))
    assert code_of(net, ANNA, m.Data(1, b"")) == "protocol"
    assert code_of(net, BERT, m.Credit(2, 1)) == "protocol"
    assert code_of(net, ANNA, m.Accept(1, WINDOW)) == "protocol"


def test_a_circuit_is_accepted_once(net):
    net.open()
    assert code_of(net, BERT, m.Accept(2, WINDOW)) == "protocol"


def test_offers_are_listed_while_their_node_is_connected(net):
    net.say(BERT, m.Publish(7, (b"cheap", b"fast")))
    assert net.hear(BERT) == [m.Published(7)]
    net.say(ANNA, m.Query(1, b"", 10))
    assert net.hear(ANNA) == [m.Page(1, (m.Listing(BERT, b"cheap"), m.Listing(BERT, b"fast")))]
    net.do(net.home[BERT], net.routers[net.home[BERT]].detach(BERT))
    net.say(ANNA, m.Query(2, b"", 10))
    assert net.hear(ANNA) == [m.Page(2, ())]


def test_too_many_and_too_large_offers_are_errors(net):
    assert code_of(net, ANNA, m.Publish(1, (b"a", b"b", b"c"))) == "limit_offers"
    assert code_of(net, ANNA, m.Publish(1, (b"x" * 11,))) == "limit_offer_bytes"


def test_a_node_that_is_gone_for_good_ends_its_circuits(net):
    net.open()
    net.say(BERT, m.Open(1, ANNA, WINDOW))
    net.hear(ANNA)
    net.do(net.home[BERT], net.routers[net.home[BERT]].remove(BERT))
    assert net.hear(ANNA) == [m.Close(1, "peer_gone"), m.Close(2, "peer_gone")]
    net.say(ANNA, m.Accept(2, WINDOW))
    assert not any(north.circuits for north in net.routers.values())


def test_only_so_many_nodes_are_held(net):
    north = net.routers["north"]
    for number in range(4 - north.nodes):
        north.add(bytes([number]) * 32)
    with pytest.raises(WireError) as caught:
        north.add(CARL)
    assert caught.value.code == "limit_nodes"


def test_handshake_messages_are_refused_later(net):
    assert code_of(net, ANNA, m.Ack(0)) == "protocol"


def test_a_relay_that_joins_learns_who_is_there():
    net = Net("north", "south")
    net.join(ANNA, "north")
    net.say(ANNA, m.Publish(1, (b"offer",)))
    net.routers["late"] = router.CircuitRouter("late", LIMITS)
    net.do("late", [router.SendToAllRelays(b.RelayUp("late"))])
    net.join(BERT, "late")
    net.say(BERT, m.Query(1, b"", 10))
    assert net.hear(BERT) == [m.Page(1, (m.Listing(ANNA, b"offer"),))]


def test_a_relay_that_leaves_takes_its_nodes_and_circuits_along():
    net = Net("north", "south")
    net.join(ANNA, "north")
    net.join(BERT, "south")
    net.open()
    gone = net.routers.pop("south")
    net.do("south", [router.SendToAllRelays(b.RelayDown("south"))])
    assert [message.code for message in net.hear(ANNA)] == ["peer_gone"]
    assert gone.circuits_of(BERT) == 1
    net.say(ANNA, m.Open(3, BERT, WINDOW))
    assert [message.code for message in net.hear(ANNA)] == ["peer_unknown"]


def test_an_identity_that_connects_elsewhere_is_cut_here():
    net = Net("north", "south")
    net.join(ANNA, "north")
    net.join(ANNA, "south")
    assert net.cut == {ANNA: "replaced"}


def test_a_peer_whose_entry_is_stale_is_reported_unknown():
    net = Net("north", "south")
    net.join(ANNA, "north")
    net.routers["north"].directory.put(BERT, "south", ())
    net.say(ANNA, m.Open(1, BERT, WINDOW))
    assert [message.code for message in net.hear(ANNA)] == ["peer_unknown"]


def test_an_acceptance_for_an_opener_that_vanished_is_answered():
    net = Net("north", "south")
    net.join(BERT, "south")
    source = b.CircuitEnd("north", ANNA, 1)
    net.do("south", net.routers["south"].on_bus(b.BusOpen(source, BERT, WINDOW)))
    net.say(BERT, m.Accept(2, WINDOW))
    assert net.hear(BERT) == [m.Incoming(2, ANNA, WINDOW), m.Close(2, "peer_gone", "The opener has gone.")]
    assert net.routers["south"].on_bus(b.BusCancel(CARL, source, "done")) == []


class Bookkeeping(RuleBasedStateMachine):
    """Three nodes on two relays do anything that is allowed; the books must always balance."""

    nodes = (ANNA, BERT, CARL)

    def __init__(self):
        super().__init__()
        self.net = Net("north", "south")
        for node, relay in zip(self.nodes, ("north", "south", "south"), strict=True):
            self.net.join(node, relay)

    def ends(self, node):
        return self.net.routers[self.net.home[node]]._nodes[node].ends

    @rule(node=st.sampled_from(nodes), peer=st.sampled_from(nodes), first=st.binary(max_size=100))
    def open(self, node, peer, first):
        held = self.net.routers[self.net.home[node]]._nodes[node]
        if len(held.ends) < LIMITS.circuits_per_node:
            self.net.say(node, m.Open(held.last_opened + 2, peer, WINDOW, first))

    @rule(node=st.sampled_from(nodes), pick=st.integers(0, 2), size=st.integers(0, 100), what=st.integers(0, 3))
    def use(self, node, pick, size, what):
        circuits = list(self.ends(node).items())
        if pick >= len(circuits):
            return
        number, end = circuits[pick]
        if what == 0:
            self.net.say(node, m.Close(number, "done"))
        elif end.state == "offered":
            self.net.say(node, m.Accept(number, WINDOW))
        elif end.state == "open" and what == 1 and end.send_credit_bytes >= size + 64:
            self.net.say(node, m.Data(number, b"x" * size))
        elif end.state == "open" and what == 2 and end.receive_credit_bytes < WINDOW:
            self.net.say(node, m.Credit(number, WINDOW - end.receive_credit_bytes))

    @precondition(lambda self: True)
    @rule(node=st.sampled_from(nodes))
    def vanish_and_return(self, node):
        relay = self.net.home[node]
        self.net.do(relay, self.net.routers[relay].remove(node))
        self.net.join(node, relay)

    @invariant()
    def both_ends_agree(self):
        for node in self.nodes:
            for number, end in self.ends(node).items():
                if end.state != "open":
                    continue
                other = self.ends(end.peer.node)[end.peer.circuit]
                assert other.peer == b.CircuitEnd(self.net.home[node], node, number)
                assert end.send_credit_bytes == other.receive_credit_bytes
                assert 0 <= end.send_credit_bytes <= WINDOW


TestTheBooksBalance = Bookkeeping.TestCase
TestTheBooksBalance.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
