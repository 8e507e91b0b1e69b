import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.codec import (
    HEADER_BYTES,
    MAX_BLOB_BYTES,
    MAX_BODY_BYTES,
    BatchFormatError,
    BatchHeader,
    Frame,
    decode_batch,
    decode_inbox_body,
    encode_batch,
    encode_inbox_body,
    is_inbox_body,
)
from chain.signing import keccak256

u64 = st.integers(0, 2**64 - 1)
FRAMES = st.lists(
    st.builds(Frame, post_root=st.binary(min_size=32, max_size=32), body=st.binary(max_size=200)),
    min_size=1,
    max_size=12,
)


@settings(max_examples=60)
@given(st.builds(BatchHeader, l2_time_s=u64, inbox_to=u64), FRAMES)
def test_a_batch_reads_back(header, frames):
    batch = decode_batch(encode_batch(header, frames))
    assert batch.header == header
    assert list(batch.frames) == frames


@settings(max_examples=60)
@given(st.one_of(st.binary(max_size=300), st.binary(max_size=300).map(lambda rest: b"\1" + bytes(16) + rest)))
def test_bytes_are_a_batch_or_refused(blob):
    try:
        batch = decode_batch(blob)
    except BatchFormatError:
        return
    assert encode_batch(batch.header, batch.frames) == blob


def test_every_cut_of_a_batch_is_refused():
    frames = [Frame(post_root=b"\1" * 32, body=b"abc"), Frame(post_root=b"\2" * 32, body=b"")]
    blob = encode_batch(BatchHeader(l2_time_s=1, inbox_to=2), frames)
    whole_frames = {HEADER_BYTES + 34 + 3, len(blob)}
    for length in range(len(blob)):
        if length not in whole_frames:
            with pytest.raises(BatchFormatError):
                decode_batch(blob[:length])


@pytest.mark.parametrize("blob", [b"", b"\2" + bytes(60), b"\1" + bytes(16), bytes(MAX_BLOB_BYTES + 1)])
def test_other_versions_and_empty_or_huge_batches_are_refused(blob):
    with pytest.raises(BatchFormatError):
        decode_batch(blob)


def test_what_l1_would_not_take_is_not_encoded():
    header = BatchHeader(l2_time_s=1, inbox_to=0)
    with pytest.raises(BatchFormatError):
        encode_batch(header, [Frame(post_root=bytes(32), body=bytes(65_536))])
    with pytest.raises(BatchFormatError):
        encode_batch(header, [Frame(post_root=bytes(32), body=bytes(MAX_BODY_BYTES))] * 140)


def test_a_batch_is_the_documented_bytes():
    frame = Frame(post_root=b"\xab" * 32, body=encode_inbox_body(3, 2))
    blob = encode_batch(BatchHeader(l2_time_s=7, inbox_to=5), [frame])
    body = "00" + f"{3:016x}" + "02"
    assert blob.hex() == "01" + f"{7:016x}{5:016x}" + "000a" + "ab" * 32 + body
    assert frame.leaf() == keccak256(b"\xab" * 32 + keccak256(bytes.fromhex(body)))


@given(u64, st.integers(0, 255))
def test_an_inbox_body_reads_back(start, count):
    body = encode_inbox_body(start, count)
    assert is_inbox_body(body)
    assert decode_inbox_body(body) == (start, count)
    assert decode_inbox_body(body[:-1]) is None
    assert not is_inbox_body(b"")


def test_a_frame_longer_than_l1_takes_is_neither_written_nor_read() -> None:
    header = BatchHeader(l2_time_s=1, inbox_to=0)
    frame = Frame(post_root=bytes(32), body=bytes(MAX_BODY_BYTES))
    blob = encode_batch(header, [frame])

    assert decode_batch(blob).frames == (frame,)
    with pytest.raises(BatchFormatError, match="longer than L1 takes"):
        encode_batch(header, [Frame(post_root=bytes(32), body=bytes(MAX_BODY_BYTES + 1))])
    longer = blob[:HEADER_BYTES] + (MAX_BODY_BYTES + 1).to_bytes(2, "big") + blob[HEADER_BYTES + 2 :] + b"\0"
    with pytest.raises(BatchFormatError, match="longer than L1 takes"):
        decode_batch(longer)
