"""Reading a batch's submission back from calldata, as Solidity reads it.

The contract takes canonical calldata alone, but a reader that is stricter than the contract could be blinded by
whatever the contract takes. So this one reads everything that Solidity's own decoder reads: any offset, also one that
points into the head, padding of any content or none, and bytes behind the end.
"""

from __future__ import annotations

from typing import Final

import msgspec

from chain.signing import keccak256

SUBMIT_BATCH: Final = "submitBatch(uint256,bytes32,bytes32,bytes)"
SELECTOR: Final = keccak256(SUBMIT_BATCH.encode())[:4]
_WORD: Final = 32
_HEAD: Final = 4 * _WORD
"""The words of the four arguments; offsets count from their beginning."""
_MAX_OFFSET: Final = 2**64 - 1
"""Solidity refuses offsets and lengths above it."""


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """What a call of `submitBatch` hands over."""

    batch_id: int
    prev_root: bytes
    inbox_hash: bytes
    blob: bytes


def read_submission(data: bytes) -> Submission | None:
    """What the contract sees of a transaction's data; ``None`` where Solidity reverts before the contract's own code.

    Args:
        data: A transaction's whole data, of any content.
    """
    arguments = data[len(SELECTOR) :]
    if data[: len(SELECTOR)] != SELECTOR or len(arguments) < _HEAD:
        return None
    start = _word(arguments, 3 * _WORD)
    if start > _MAX_OFFSET or start + _WORD > len(arguments):
        return None
    length = _word(arguments, start)
    begin = start + _WORD
    if length > _MAX_OFFSET or begin + length > len(arguments):
        return None
    return Submission(
        batch_id=_word(arguments, 0),
        prev_root=arguments[_WORD : 2 * _WORD],
        inbox_hash=arguments[2 * _WORD : 3 * _WORD],
        blob=arguments[begin : begin + length],
    )


def write_submission(submission: Submission) -> bytes:
    """The one encoding that the contract takes."""
    blob = submission.blob
    words = (
        submission.batch_id.to_bytes(_WORD, "big"),
        submission.prev_root,
        submission.inbox_hash,
        _HEAD.to_bytes(_WORD, "big"),
        len(blob).to_bytes(_WORD, "big"),
    )
    return SELECTOR + b"".join(words) + blob + bytes(-len(blob) % _WORD)


def _word(arguments: bytes, offset: int) -> int:
    return int.from_bytes(arguments[offset : offset + _WORD], "big")
