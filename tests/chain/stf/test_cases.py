"""The constructed cases reach what they say, and they reach everything there is."""

from random import Random

import pytest
from msgspec.structs import replace

from chain.signing import keccak256
from chain.state import RollupState
from chain.stf import Code, apply, apply_inbox, open_batch
from chain.tx_format import TxType
from chain.witness import build_witness, encode_messages, named_messages
from tests.chain.support import forced
from tests.chain.witness_reading import execute_witness, read_witness, root_of_witness
from tests.fuzz.cases import case_kinds, cases
from tests.fuzz.scenarios import SCENARIOS
from tests.fuzz.world import World

SEED = 20_260_101

ANY_SENDER = {Code.MISSING_SENDER, Code.MALLEABLE_SIGNATURE, Code.BAD_SIGNATURE, Code.OVERFLOW}
REACHABLE = {
    TxType.CREATE_ACCOUNT: {Code.MISSING_RECEIVER, Code.BAD_ALLOCATION, Code.OVERFLOW},
    TxType.TRANSFER: ANY_SENDER | {Code.OVERDRAFT, Code.MISSING_RECEIVER},
    TxType.WITHDRAW: ANY_SENDER | {Code.OVERDRAFT, Code.MISSING_RECEIVER, Code.BAD_ALLOCATION},
    TxType.OPEN_CHANNEL: ANY_SENDER
    | {Code.OVERDRAFT, Code.MISSING_RECEIVER, Code.CHANNEL_UNAVAILABLE, Code.BAD_ALLOCATION},
    TxType.TOP_UP: ANY_SENDER | {Code.OVERDRAFT, Code.CHANNEL_UNAVAILABLE},
    TxType.REDEEM: {
        Code.CHANNEL_UNAVAILABLE,
        Code.BAD_VOUCHER,
        Code.MALLEABLE_SIGNATURE,
        Code.MISSING_RECEIVER,
        Code.OVERFLOW,
    },
    TxType.CLOSE_TOGETHER: ANY_SENDER | {Code.CHANNEL_UNAVAILABLE, Code.BAD_VOUCHER, Code.MISSING_RECEIVER},
    TxType.START_CLOSE: ANY_SENDER | {Code.CHANNEL_UNAVAILABLE},
    TxType.EXPIRE: {Code.CHANNEL_UNAVAILABLE, Code.TOO_EARLY, Code.MISSING_RECEIVER, Code.OVERFLOW},
    TxType.STAKE: ANY_SENDER | {Code.OVERDRAFT, Code.STAKE_VIOLATION},
    TxType.UNSTAKE: ANY_SENDER | {Code.OVERDRAFT, Code.STAKE_VIOLATION},
    TxType.FINISH_UNSTAKE: {Code.MISSING_SENDER, Code.STAKE_VIOLATION, Code.OVERFLOW},
    TxType.SLASH: {
        Code.MISSING_SENDER,
        Code.BAD_SIGNATURE,
        Code.MISSING_RECEIVER,
        Code.MALLEABLE_SIGNATURE,
        Code.BAD_SLASH_EVIDENCE,
        Code.STAKE_VIOLATION,
        Code.BAD_ALLOCATION,
        Code.OVERFLOW,
    },
    TxType.COLLECT_FEES: {Code.MISSING_RECEIVER, Code.OVERFLOW},
    TxType.PRUNE: {Code.MISSING_SENDER, Code.STAKE_VIOLATION},
}
"""Every code in which a well-formed transaction of a type can end, besides ``OK``."""


@pytest.fixture(scope="module")
def every_kind():
    return list(cases(case_kinds(), SEED))


def test_every_case_comes_to_the_code_it_was_built_for_and_every_code_is_among_them(every_kind):
    seen = set()
    for case in every_kind:
        verdict = case.verdict()
        assert case.intended in (None, verdict), case.name
        seen.add(verdict)
    assert seen == set(Code)


def test_the_scenarios_are_every_type_with_every_code_that_it_can_end_in():
    reached = {kind: {one.code for one in SCENARIOS if one.tx_type is kind} for kind in TxType}
    assert reached == {kind: codes | {Code.OK} for kind, codes in REACHABLE.items()}
    assert len({one.name for one in SCENARIOS}) == len(SCENARIOS)


def test_every_scenario_stands_at_every_place_of_a_frame(every_kind):
    names = {case.name for case in every_kind}
    for one in SCENARIOS:
        assert {f"{one.name}@{place}" for place in range(8)} <= names


def test_the_same_seed_gives_the_same_cases_and_another_one_others():
    assert list(cases(40, 1)) == list(cases(40, 1))
    assert list(cases(40, 1)) != list(cases(40, 2))


@pytest.mark.parametrize("one", SCENARIOS, ids=lambda one: one.name)
def test_a_transaction_ends_alone_as_it_does_in_a_frame_and_by_force_it_is_no_op_or_the_same(one):
    rng = Random(f"{SEED}/{one.name}")
    world = World(rng)
    raw = one.build(world, rng)
    state = RollupState.from_leaves(world.finished(5))
    open_batch(state, world.now_s)
    before, mark = state.root(), state.mark()
    assert apply(state, raw, world.rules).code is one.code
    after = state.root()
    assert (after == before) == (one.code is not Code.OK)
    state.rollback(mark)
    assert state.root() == before
    if len(raw) <= 128:
        by_force = Code.UNKNOWN_TYPE if one.tx_type is TxType.COLLECT_FEES else one.code
        assert apply_inbox(state, forced(5, raw), world.rules).code is by_force
        assert state.meta.inbox_cursor == 6


class TestWitnesses:
    @pytest.fixture(scope="class")
    def some(self):
        return list(cases(300, SEED + 1))

    def test_one_leads_to_the_state_root_and_executes_to_the_same_code_and_root(self, some):
        for case in some:
            state, reader = case.state(), case.inbox().__getitem__
            root, leaves = state.root(), dict(state.items())
            witness = build_witness(state, case.header, case.frame, case.rules, reader)
            assert (state.root(), dict(state.items())) == (root, leaves), case.name
            assert root_of_witness(witness) == root, case.name
            read = read_witness(witness.encode())
            assert read == witness
            code, post = case.run()
            found = execute_witness(read, case.header, case.frame, case.rules, reader, is_last=case.is_last)
            assert found[0] is code, case.name
            if code is Code.OK:
                assert found[1] == post, case.name

    def test_the_contents_of_named_messages_are_packed_in_their_order(self, some):
        named = [(case, named_messages(case.frame.body, case.inbox())) for case in some if case.messages]
        assert any(len(messages) > 1 for _, messages in named)
        for case, messages in named:
            packed = encode_messages(messages)
            sizes = [41 if message.kind == "deposit" else 11 + len(message.body) for message in messages]
            assert len(packed) == sum(sizes)
            assert messages == list(case.messages[: len(messages)])

    def test_another_body_names_no_messages(self, some):
        case = next(case for case in some if case.messages)
        assert named_messages(b"", case.inbox()) == []
        assert named_messages(b"\0", case.inbox()) == []
        assert named_messages(b"\x02" + bytes(9), case.inbox()) == []

    def test_a_changed_leaf_or_sibling_leads_elsewhere(self, some):
        case = next(case for case in some if case.intended is Code.OK)
        state = case.state()
        witness = build_witness(state, case.header, case.frame, case.rules, case.inbox().__getitem__)
        key, leaf = next((key, leaf) for key, leaf in witness.leaves if leaf is not None)
        assert root_of_witness(witness, {key: None}) != state.root()
        for place, sibling in enumerate(witness.siblings):
            siblings = list(witness.siblings)
            siblings[place] = keccak256(sibling)
            assert root_of_witness(replace(witness, siblings=tuple(siblings))) != state.root()
        assert root_of_witness(witness, {key: leaf}) == state.root()
