"""A state's snapshot reads back as the same state, and nothing else passes for one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.snapshot import HEADER_BYTES, MAX_LEAVES, Snapshot, SnapshotError, SnapshotReader, most_leaves
from chain.state import RollupState
from chain.types import META_KEY, Account, Channel, Meta, Withdrawal, account_key, channel_key, withdrawal_key
from tests.chain.support import owner

DEPLOYMENT = b"\x07" * 32


def some_state(accounts: int = 3, channels: int = 1, withdrawals: int = 1, gap: int = 0) -> RollupState:
    """A state with so many leaves of each kind, and numbers that were pruned."""
    meta = Meta(
        next_account=1 + accounts + gap,
        next_channel=1 + channels,
        next_withdrawal=1 + withdrawals,
        inbox_cursor=9,
        l2_time_s=77,
    )
    leaves: list[tuple[int, object]] = [(META_KEY, meta)]
    leaves += [(account_key(1 + i), Account(owner=owner(i % 200), balance_nano=i)) for i in range(accounts)]
    for i in range(channels):
        channel = Channel(payer=1, payee=2, signer=owner(5), deposit_nano=i, expiry_s=9)
        leaves.append((channel_key(1 + i), channel))
    for i in range(withdrawals):
        leaves.append((withdrawal_key(1 + i), Withdrawal(recipient=owner(3), amount_nano=i, account=1, nonce=i)))
    return RollupState.from_leaves(leaves)  # type: ignore[arg-type]


def written(state: RollupState, batch_count: int = 5) -> bytes:
    return b"".join(Snapshot(DEPLOYMENT, batch_count, state).chunks())


def read(data: bytes, step: int = 1 << 16, **limits: int) -> tuple[SnapshotReader, RollupState]:
    reader = SnapshotReader(**limits)
    for start in range(0, len(data), step):
        reader.feed(data[start : start + step])
    return reader, reader.finish()


@given(
    st.integers(1, 40), st.integers(0, 20), st.integers(0, 20), st.integers(0, 5), st.integers(1, 2**63), st.integers(1)
)
def test_a_state_reads_back_as_it_was_in_pieces_of_any_size(accounts, channels, withdrawals, gap, batches, step):
    state = some_state(accounts, channels, withdrawals, gap)

    reader, again = read(written(state, batches), step=min(step, 10_000))

    assert again.root() == state.root()
    assert dict(again.items()) == dict(state.items())
    assert reader.header is not None
    assert (reader.header.deployment, reader.header.batch_count) == (DEPLOYMENT, batches)


@given(st.data())
def test_no_changed_byte_passes(data):
    content = bytearray(written(some_state()))
    # The deployment and the count are what L1 is asked about.
    places = [*range(9), *range(49, len(content))]
    place = data.draw(st.sampled_from(places))
    content[place] ^= data.draw(st.integers(1, 255))

    with pytest.raises(SnapshotError) as refused:
        read(bytes(content))

    assert "\n" not in refused.value.line()


@given(st.binary(max_size=3_000))
def test_no_bytes_raise_anything_else(data):
    with pytest.raises(SnapshotError):
        read(data)


@given(st.integers(0, 1_600))
def test_one_that_is_cut_off_is_refused(length):
    content = written(some_state())

    with pytest.raises(SnapshotError):
        read(content[: min(length, len(content) - 1)])


def test_a_stream_without_an_end_is_refused_at_its_first_byte_too_many():
    content, reader = written(some_state()), SnapshotReader()
    reader.feed(content)

    with pytest.raises(SnapshotError, match="goes on"):
        reader.feed(b"\0")


def test_a_stream_that_is_none_is_refused_at_its_first_bytes():
    with pytest.raises(SnapshotError, match="no snapshot"):
        SnapshotReader().feed(b"HTTP")


def test_leaves_that_are_there_twice_or_out_of_order_are_refused():
    content = written(some_state(accounts=3, channels=0, withdrawals=0))
    size = 5 + content[HEADER_BYTES + 4]
    first, second = (content[HEADER_BYTES + size * i : HEADER_BYTES + size * (i + 1)] for i in range(2))
    rest = content[HEADER_BYTES + 2 * size :]

    for leaves in (first + first + rest, second + first + rest):
        with pytest.raises(SnapshotError, match="out of order"):
            read(content[:HEADER_BYTES] + leaves)


def test_no_more_leaves_are_read_than_numbers_were_allocated():
    state = some_state()
    content = bytearray(written(state))
    assert most_leaves(state.meta) == len(state.items()) == 6
    content[HEADER_BYTES - 4 : HEADER_BYTES] = (7).to_bytes(4, "big")

    with pytest.raises(SnapshotError, match="more leaves"):
        SnapshotReader().feed(bytes(content[:HEADER_BYTES]))
    with pytest.raises(SnapshotError, match="more leaves"):
        read(written(state), max_leaves=5)
    assert MAX_LEAVES >= 10**7


def test_a_leaf_of_a_number_that_was_never_allocated_is_refused():
    for number in (4, (1 << 30) - 1):
        state = some_state()
        state.write(account_key(number), Account(owner=owner(9)))
        state.write(account_key(1), None)

        with pytest.raises(SnapshotError, match="none of its kind"):
            read(written(state))


def test_a_snapshot_stays_what_it_was_while_the_state_goes_on():
    state = some_state()
    before, snapshot = state.root(), Snapshot(DEPLOYMENT, 1, state)

    state.write(account_key(1), None)

    _, again = read(b"".join(snapshot.chunks()))
    assert again.root() == before
