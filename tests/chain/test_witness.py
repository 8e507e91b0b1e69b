import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.codec import BatchHeader, Frame, encode_inbox_body
from chain.signing import keccak256
from chain.state import RollupState
from chain.stf import Code
from chain.tree import EMPTY, Tree
from chain.txs import Transfer
from chain.types import META_KEY, Meta, account_key
from chain.witness import Witness, build_witness
from tests.chain.support import RULES, funded_state, signed
from tests.chain.witness_reading import WitnessError, execute_witness, read_witness, root_of_witness

HEADER = BatchHeader(l2_time_s=5, inbox_to=3)


def frame_of(body: bytes) -> Frame:
    return Frame(post_root=bytes(32), body=body)


def no_inbox(index: int):
    raise KeyError(index)


@pytest.fixture
def witness() -> Witness:
    return build_witness(funded_state(), HEADER, frame_of(signed(Transfer(1, 9, 5, 1), 1, 0)), RULES, no_inbox)


def test_it_holds_what_was_read_and_written_absent_leaves_too(witness):
    assert [key for key, _ in witness.leaves] == [account_key(1), account_key(9), META_KEY]
    assert witness.leaves[1][1] is None


def test_an_execution_that_reads_nothing_needs_the_meta_leaf_alone():
    witness = build_witness(funded_state(), HEADER, frame_of(b""), RULES, no_inbox)
    assert [key for key, _ in witness.leaves] == [META_KEY]
    assert len(witness.siblings) == 32


def test_building_one_takes_back_what_it_executed_even_where_the_inbox_fails():
    state = funded_state()
    root = state.root()
    body = encode_inbox_body(3, 1)
    with pytest.raises(KeyError):
        build_witness(state, BatchHeader(l2_time_s=9, inbox_to=4), frame_of(body), RULES, no_inbox)
    assert state.root() == root
    assert state.meta.l2_time_s == 0


def test_an_execution_never_reaches_beyond_its_witness(witness):
    other = frame_of(signed(Transfer(2, 1, 5, 1), 2, 0))
    with pytest.raises(WitnessError, match="lacks a leaf"):
        execute_witness(witness, HEADER, other, RULES, no_inbox, is_last=True)
    lacking = Witness(leaves=witness.leaves[:-1], siblings=witness.siblings)
    with pytest.raises(WitnessError, match="meta leaf"):
        execute_witness(lacking, HEADER, other, RULES, no_inbox, is_last=True)


def test_changes_must_lie_within_it_and_its_siblings_must_fit(witness):
    with pytest.raises(WitnessError, match="was changed"):
        root_of_witness(witness, {account_key(2): None})
    with pytest.raises(WitnessError, match="too few"):
        root_of_witness(Witness(leaves=witness.leaves, siblings=witness.siblings[:-1]))
    with pytest.raises(WitnessError, match="too many"):
        root_of_witness(Witness(leaves=witness.leaves, siblings=(*witness.siblings, EMPTY)))


def test_it_is_the_documented_bytes():
    state = RollupState.genesis()
    data = build_witness(state, BatchHeader(l2_time_s=0, inbox_to=0), frame_of(b""), RULES, no_inbox).encode()
    meta = Meta().encode()
    assert data.hex() == "0001" + "c0000000" + "3d" + meta.hex() + "0020" + "00000000"


def test_bits_come_highest_first_and_hashes_in_the_order_of_the_walk():
    witness = Witness(leaves=((META_KEY, Meta()),), siblings=(b"\1" * 32, *[EMPTY] * 8, b"\2" * 32, *[EMPTY] * 22))
    assert witness.encode().hex().endswith("0020" + "80400000" + "01" * 32 + "02" * 32)
    assert read_witness(witness.encode()) == witness


def test_every_cut_and_every_addition_is_refused(witness):
    data = witness.encode()
    for length in range(len(data)):
        with pytest.raises(WitnessError):
            read_witness(data[:length])
    for more in (b"\0", bytes(32)):
        with pytest.raises(WitnessError):
            read_witness(data + more)


def test_leaves_out_of_order_twice_or_in_another_region_are_refused(witness):
    first, second, meta = witness.leaves
    for leaves in ((second, first, meta), (first, first, meta), ((first[0], meta[1]), meta), ((META_KEY, first[1]),)):
        with pytest.raises(WitnessError):
            read_witness(Witness(leaves=leaves, siblings=witness.siblings).encode())


@settings(max_examples=60)
@given(st.binary(max_size=300))
def test_bytes_are_a_witness_or_refused(data):
    try:
        witness = read_witness(data)
    except WitnessError:
        return
    assert witness.encode() == data


@settings(max_examples=60)
@given(
    st.dictionaries(st.integers(0, 60) | st.integers(0, 2**32 - 1), st.binary(min_size=32, max_size=32), max_size=25),
    st.sets(st.integers(0, 60) | st.integers(0, 2**32 - 1), min_size=1, max_size=10),
)
def test_a_multiproof_is_what_single_proofs_need_together(leaves, wanted):
    tree = Tree()
    for index, leaf in leaves.items():
        tree.set(index, leaf)
    root = tree.root()
    nodes = {index: leaves.get(index, EMPTY) for index in sorted(wanted)}
    siblings = iter(tree.multiproof(list(nodes)))
    for _ in range(32):
        parents = {}
        for index, node in nodes.items():
            if index >> 1 in parents:
                continue
            other = nodes[index ^ 1] if index ^ 1 in nodes else next(siblings)
            left, right = (other, node) if index & 1 else (node, other)
            parents[index >> 1] = EMPTY if left == right == EMPTY else keccak256(left + right)
        nodes = parents
    assert nodes[0] == root
    assert next(siblings, None) is None


def test_the_code_of_a_witness_is_the_code_of_the_state(witness):
    missing = frame_of(signed(Transfer(1, 9, 5, 1), 1, 0))
    code, _ = execute_witness(witness, HEADER, missing, RULES, no_inbox, is_last=True)
    assert code is Code.MISSING_RECEIVER
