"""Batches are framed on chain exactly as the Python codec frames them."""

from __future__ import annotations

import secrets
from collections.abc import Callable

import pytest

from chain.codec import BatchHeader, Frame, encode_batch
from chain.signing import keccak256
from tests.chain.contracts.harness import Handle, Reverted

HEADER = BatchHeader(l2_time_s=1_800_000_000, inbox_to=5)


@pytest.fixture
def libraries(odd: Callable[..., Handle]) -> Handle:
    return odd("Libraries")


def plain_root(leaves: list[bytes]) -> bytes:
    """The frames' root by the book: pad with zeros to a power of two, hash pairs, and keep empty parents empty."""
    size = 1
    while size < len(leaves):
        size *= 2
    level = leaves + [bytes(32)] * (size - len(leaves))
    while len(level) > 1:
        pairs = zip(level[::2], level[1::2], strict=True)
        level = [bytes(32) if left == right == bytes(32) else keccak256(left + right) for left, right in pairs]
    return level[0]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 8, 9, 31, 33])
def test_frames_are_merkleized_with_zero_padding(libraries: Handle, count: int) -> None:
    leaves = [secrets.token_bytes(32) for _ in range(count)]

    assert libraries.call("merkleize", leaves) == plain_root(leaves)


@pytest.mark.parametrize("lengths", [[0], [1], [680], [0, 0, 0], [33, 1, 700, 31, 32], [10] * 40])
def test_a_batch_of_the_codec_is_read_alike(libraries: Handle, lengths: list[int]) -> None:
    frames = [Frame(post_root=secrets.token_bytes(32), body=secrets.token_bytes(length)) for length in lengths]
    blob = encode_batch(HEADER, frames)

    assert libraries.call("header", blob) == (HEADER.l2_time_s, HEADER.inbox_to)
    root, post_root, count = libraries.call("digest", blob)
    assert root == plain_root([frame.leaf() for frame in frames])
    assert (post_root, count) == (frames[-1].post_root, len(frames))


def test_a_cut_at_any_byte_is_noticed(libraries: Handle) -> None:
    frames = [Frame(post_root=bytes([i]) * 32, body=b"body" * i) for i in (1, 2)]
    blob = encode_batch(HEADER, frames)
    whole = {17, 17 + 34 + 4, len(blob)}

    for length in range(len(blob)):
        if length in whole:
            continue
        function = "header" if length < 17 else "digest"
        with pytest.raises(Reverted, match="Truncated"):
            libraries.call(function, blob[:length])


def test_a_length_beyond_the_end_is_noticed(libraries: Handle) -> None:
    blob = bytes.fromhex("01") + bytes(16) + b"\xff\xff" + bytes(32) + bytes(0xFFFE)

    with pytest.raises(Reverted) as refused:
        libraries.call("digest", blob)

    assert (refused.value.name, refused.value.arguments) == ("Truncated", (17,))


def test_a_batch_without_frames_is_noticed(libraries: Handle) -> None:
    with pytest.raises(Reverted, match="NoFrames"):
        libraries.call("digest", encode_batch(HEADER, []))


@pytest.mark.parametrize("version", [0, 2, 255])
def test_an_unknown_version_is_noticed(libraries: Handle, version: int) -> None:
    with pytest.raises(Reverted, match="UnknownVersion"):
        libraries.call("header", bytes([version]) + bytes(16))
