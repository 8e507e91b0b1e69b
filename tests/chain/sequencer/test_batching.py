"""The open batch cuts its frames as L1 takes them, and alike when it is taken up again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chain.codec import MAX_BODY_BYTES, MAX_FRAME_ITEMS, decode_batch, is_inbox_body
from chain.sequencer.batching import OpenBatch
from chain.signing import keccak256
from chain.tx_format import TxType
from chain.txs import TX_SIZES

KINDS = sorted(TX_SIZES)


def root(number: int) -> bytes:
    return keccak256(number.to_bytes(4, "big"))


def new_batch() -> OpenBatch:
    return OpenBatch(batch_id=3, l2_time_s=1_000, inbox_from=5, prev_root=root(0))


def fill(batch: OpenBatch, messages: int, kinds: list[int]) -> list[bytes | None]:
    """What the sequencer's head does, with roots that count the frames; returns the items."""
    items: list[bytes | None] = []

    def close() -> None:
        batch.close_frame(root(len(batch.frames) + 1))

    for _ in range(messages):
        batch.add_message()
        items.append(None)
        if batch.is_frame_due:
            close()
    for kind in kinds:
        raw = bytes([kind]) + bytes(TX_SIZES[kind] - 1)
        if batch.ends_frame_before(raw):
            close()
        before = batch.size_with(len(raw))
        batch.add_tx(raw)
        items.append(raw)
        if batch.is_frame_due:
            close()
        assert batch.size_with(0) >= before - MAX_BODY_BYTES
    return items


@given(st.integers(0, 20), st.lists(st.sampled_from(KINDS), max_size=40))
def test_frames_are_as_long_as_l1_takes_them_and_hold_every_item_in_order(messages: int, kinds: list[int]) -> None:
    batch = new_batch()
    items = fill(batch, messages, kinds)
    if not items:
        return
    most = batch.size_with(0)
    if batch.is_frame_open:
        batch.close_frame(root(len(batch.frames) + 1))

    decoded = decode_batch(batch.blob())

    assert decoded.header.inbox_to == 5 + messages
    bodies = [frame.body for frame in decoded.frames if not is_inbox_body(frame.body)]
    assert b"".join(bodies) == b"".join(raw for raw in items if raw is not None)
    assert all(len(body) <= MAX_BODY_BYTES for body in bodies)
    assert len(batch.blob()) <= most


@given(st.integers(0, 20), st.lists(st.sampled_from(KINDS), max_size=40))
def test_a_batch_that_is_taken_up_again_has_the_same_frames(messages: int, kinds: list[int]) -> None:
    batch, again = new_batch(), new_batch()
    items = fill(batch, messages, kinds)

    again.refill(iter(items), (frame.post_root for frame in batch.frames))

    assert again == batch


def test_slashes_leave_their_frame_when_it_is_full_by_bytes() -> None:
    batch = new_batch()
    fill(batch, 0, [TxType.SLASH] * MAX_FRAME_ITEMS)
    batch.close_frame(root(99))

    fit = MAX_BODY_BYTES // TX_SIZES[TxType.SLASH]
    assert len(batch.frames) == -(-MAX_FRAME_ITEMS // fit)
    assert {len(frame.body) for frame in batch.frames[:-1]} == {fit * TX_SIZES[TxType.SLASH]}


def test_eight_of_every_other_kind_fit_into_a_frame() -> None:
    long = {TxType.OPEN_CHANNEL, TxType.SLASH}
    others = [size for kind, size in TX_SIZES.items() if kind not in long]

    assert MAX_FRAME_ITEMS * max(others) == MAX_BODY_BYTES
    assert all(TX_SIZES[kind] <= MAX_BODY_BYTES for kind in long)


def test_a_slash_leaves_no_room_for_the_seven_closes_that_cost_most_beside_it() -> None:
    assert TX_SIZES[TxType.SLASH] + 7 * TX_SIZES[TxType.CLOSE_TOGETHER] > MAX_BODY_BYTES
