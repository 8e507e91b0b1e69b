"""Calldata is read as Solidity reads it, whoever shaped it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from web3 import Web3

from chain.l1.artifacts import artifact
from chain.l1.calldata import SELECTOR, Submission, read_submission, write_submission

BATCH = Submission(batch_id=7, prev_root=b"\x01" * 32, inbox_hash=b"\x02" * 32, blob=b"a batch of 21 bytes..")


def word(number: int) -> bytes:
    return number.to_bytes(32, "big")


def call(offset: int, tail: bytes, batch_id: int = 7) -> bytes:
    """The head with an offset of one's own, and what follows it."""
    return SELECTOR + word(batch_id) + BATCH.prev_root + BATCH.inbox_hash + word(offset) + tail


def test_the_one_encoding_is_web3s() -> None:
    contract = Web3().eth.contract(abi=artifact("Rollup").abi)
    arguments = [BATCH.batch_id, BATCH.prev_root, BATCH.inbox_hash, BATCH.blob]

    assert write_submission(BATCH) == bytes.fromhex(contract.encode_abi("submitBatch", arguments)[2:])
    assert read_submission(write_submission(BATCH)) == BATCH


@pytest.mark.parametrize(
    "data",
    [
        call(128, word(21) + BATCH.blob),
        call(128, word(21) + BATCH.blob + b"\0" * 5),
        call(128, word(21) + BATCH.blob + b"\xff" * 11),
        call(128, word(21) + BATCH.blob + b"\0" * 11 + b"and more"),
        call(160, b"\xff" * 32 + word(21) + BATCH.blob),
        call(131, b"abc" + word(21) + BATCH.blob),
    ],
    ids=["no padding", "half the padding", "dirty padding", "trailing bytes", "a gap", "an odd offset"],
)
def test_a_strange_encoding_says_the_same(data: bytes) -> None:
    assert read_submission(data) == BATCH


@pytest.mark.parametrize(
    ("data", "blob"),
    [
        (call(0, b"", batch_id=3), BATCH.prev_root[:3]),
        (call(96, b"\xaa" * 96), b"\xaa" * 96),
        (call(96, b"\xaa" * 99), b"\xaa" * 96),
        (call(128, word(0)), b""),
    ],
    ids=["length in the number", "length in the offset", "length in the offset, bytes behind", "nothing"],
)
def test_a_tail_may_lie_within_the_head(data: bytes, blob: bytes) -> None:
    found = read_submission(data)

    assert found is not None
    assert found.blob == blob


@pytest.mark.parametrize(
    "data",
    [
        b"",
        SELECTOR,
        b"\x12\x34\x56\x78" + write_submission(BATCH)[4:],
        write_submission(BATCH)[: 4 + 127],
        call(128, word(21) + BATCH.blob[:-1]),
        call(128, word(2**64) + BATCH.blob),
        call(128, word(2**256 - 1) + BATCH.blob),
        call(2**64, word(21) + BATCH.blob),
        call(2**256 - 128, word(21) + BATCH.blob),
        call(129, word(0)),
    ],
    ids=[
        "empty", "selector alone", "another function", "half a head", "short by one", "long length", "endless length",
        "far offset", "offset that wraps", "length cut off",
    ],
)  # fmt: skip
def test_what_solidity_refuses_is_no_submission(data: bytes) -> None:
    assert read_submission(data) is None


@given(st.binary(max_size=400), st.booleans())
def test_any_bytes_are_read_or_refused(data: bytes, has_selector: bool) -> None:
    found = read_submission(SELECTOR + data if has_selector else data)

    assert found is None or found.blob in data


@given(st.integers(0, 2**256 - 1), st.binary(min_size=32, max_size=32), st.binary(max_size=200))
def test_what_is_written_is_read(batch_id: int, root: bytes, blob: bytes) -> None:
    batch = Submission(batch_id=batch_id, prev_root=root, inbox_hash=root[::-1], blob=blob)

    assert read_submission(write_submission(batch)) == batch
