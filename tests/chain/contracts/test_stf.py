"""The contract comes to the same code and root as Python, for every code, type and place; a wrong witness reverts."""

from __future__ import annotations

from random import Random

import pytest
from msgspec.structs import replace

from chain.stf import Code
from chain.tx_format import TxType
from tests.fuzz.cases import cases, kinds
from tests.fuzz.prover import Prover, Reverted, difference, examine, shipped
from tests.fuzz.scenarios import SCENARIOS
from tests.fuzz.sharing import shares
from tests.fuzz.stf import SHARE, run_share
from tests.fuzz.witnesses import WrongCall, inbox_case, right_case, wrong_calls

WRONG = list(wrong_calls())


@pytest.fixture(scope="module")
def prover() -> Prover:
    return shipped()


def differences(prover: Prover, *starts: str) -> tuple[list[str], set[Code]]:
    """How the contract differs on one case of every kind whose name starts so, and the codes that they came to."""
    found, codes = [], set()
    for name, make in kinds():
        if name.startswith(starts):
            call, code, root = examine(make(Random(name)))
            codes.add(code)
            how = difference(prover, call, code, root)
            if how is not None:
                found.append(f"{name}: {how}")
    return found, codes


@pytest.mark.parametrize("tx_type", TxType, ids=lambda tx_type: tx_type.name.lower())
def test_the_contract_agrees_on_every_code_of_a_type_at_every_place(prover: Prover, tx_type: TxType) -> None:
    found, codes = differences(prover, f"{tx_type.name.lower()}/")

    assert found == []
    assert codes == {one.code for one in SCENARIOS if one.tx_type is tx_type}


def test_the_contract_agrees_on_deposits_wherever_they_stand(prover: Prover) -> None:
    assert differences(prover, "deposit/") == ([], {Code.OK})


def test_the_contract_agrees_on_what_breaks_a_frame_as_a_whole(prover: Prover) -> None:
    found, codes = differences(prover, "frame/")

    assert found == []
    assert codes >= {Code.MALFORMED, Code.UNKNOWN_TYPE, Code.TOO_MANY_IN_FRAME, Code.INBOX_ORDER, Code.WRONG_CURSOR}


def test_a_share_of_the_fuzz_run_finds_no_disagreement() -> None:
    tally = run_share(300, seed=20_261_122)

    assert (tally.cases, tally.disagreements) == (300, [])


def test_a_long_run_is_split_into_shares_of_their_own_seeds() -> None:
    assert list(shares(9_000, 5, SHARE)) == [(4_000, 5), (4_000, 6), (1_000, 7)]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.name)
def test_a_wrong_witness_reverts(prover: Prover, wrong: WrongCall) -> None:
    with pytest.raises(Reverted) as refused:
        prover.execute(wrong.call)

    assert refused.value.name == wrong.error


def test_the_witnesses_and_messages_that_wrong_ones_are_made_from_are_right(prover: Prover) -> None:
    for case in (right_case(), inbox_case()):
        call, code, root = examine(case)
        assert code is Code.OK
        assert difference(prover, call, code, root) is None


def test_the_seconds_in_which_messages_arrived_change_nothing(prover: Prover) -> None:
    """The inbox doesn't hold them against its hashes, so a prover may say what it likes."""
    case = inbox_case()
    call, code, root = examine(case)
    other = tuple(replace(message, at_s=message.at_s ^ 2**63 + 7) for message in case.messages)

    changed, _, _ = examine(replace(case, messages=other))

    assert changed.messages != call.messages
    assert difference(prover, changed, code, root) is None


def test_a_disagreement_is_noticed(prover: Prover) -> None:
    call, code, root = examine(next(iter(cases(1, seed=3))))

    assert difference(prover, call, Code((code + 1) % 19), root) is not None
    call, code, _ = examine(right_case())
    assert difference(prover, call, code, bytes(32)) is not None
    assert difference(prover, WRONG[0].call, code, bytes(32)) is not None
