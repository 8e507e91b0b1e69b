"""What the rollup takes of calldata, the reader reads: a share of ``python -m tests.fuzz.calldata``."""

from __future__ import annotations

import pytest

from chain.l1.calldata import Submission, read_submission
from chain.l1.embedded.evm import CallRequest, ExecutionFailedError
from chain.signing import address_of, keccak256
from tests.chain.contracts.harness import KEYS, Ledger
from tests.fuzz.calldata import SHARE, difference, run_share, unlike_solidity
from tests.fuzz.sharing import shares
from tests.fuzz.submissions import MUTATIONS, Intake, Taken, calls, reader_code

CASES = 800


@pytest.fixture(scope="module")
def reader() -> bytes:
    return reader_code()


@pytest.fixture(scope="module")
def intake(reader: bytes) -> Intake:
    return Intake(reader)


def test_a_share_of_the_fuzz_run_finds_no_disagreement(reader: bytes) -> None:
    tally = run_share(CASES, 7, reader)

    assert tally.disagreements == []
    assert tally.cases == CASES
    assert set(tally.shapes) == {"right", *MUTATIONS}
    expected = {"taken", "not_canonical", "solidity's own decoder", "wrong_batch_id", "wrong_inbox_hash", "truncated"}
    assert expected <= set(tally.outcomes)
    assert tally.outcomes["taken"] < tally.outcomes["read by the reader"]


def test_a_run_is_cut_into_shares_with_seeds_of_their_own() -> None:
    assert list(shares(25_000, 3, SHARE)) == [(10_000, 3), (10_000, 4), (5_000, 5)]


def strict(data: bytes) -> Submission | None:
    """A reader as strict as eth_abi: it wants the padding to be there, and nothing but zeros."""
    found = read_submission(data)
    if found is None:
        return None
    end = data.index(found.blob) + len(found.blob) if found.blob else len(data)
    padding = data[end : end + -len(found.blob) % 32]
    return found if len(padding) == -len(found.blob) % 32 and not any(padding) else None


def test_a_reader_that_is_stricter_than_solidity_would_be_found(intake: Intake) -> None:
    found = {shape for shape, data in calls(intake, 400, 1) if unlike_solidity(intake, data, strict(data)) is not None}

    assert {"dirty padding", "no padding"} <= found


def test_a_rollup_that_takes_what_nobody_reads_would_be_found(intake: Intake) -> None:
    right = next(data for shape, data in calls(intake, 1, 1) if shape == "right")
    taken = intake.take(right)

    assert isinstance(taken, Taken)
    assert difference(intake, right, read_submission(right), taken) is None
    assert difference(intake, right[:-1] + b"\1", read_submission(right), taken) is not None
    assert difference(intake, right, None, taken) is not None
    assert difference(intake, right, read_submission(right), "not_canonical") is not None


def test_the_embedded_l1s_evm_reads_alike(intake: Intake, reader: bytes, ledger: Ledger) -> None:
    contract = ledger.deploy_compiled([], "0x" + reader.hex())
    for shape, data in calls(intake, 60, 11):
        found = read_submission(data)
        try:
            answer = ledger.evm.call(CallRequest(sender=address_of(KEYS[0]), to=contract.address, data=data))
        except ExecutionFailedError:
            assert found is None, shape
            continue
        assert found is not None, shape
        assert answer[:96] == found.batch_id.to_bytes(32, "big") + found.prev_root + found.inbox_hash
        assert answer[96:] == keccak256(found.blob)
