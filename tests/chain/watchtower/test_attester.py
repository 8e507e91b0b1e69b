"""What a watchtower vouches for: only what it executed, whatever its L1 node tells."""

from __future__ import annotations

from msgspec.structs import replace

from chain.codec import BatchData, BatchHeader, Frame
from chain.l1.protocol import InboxMessage, PostedBatch
from chain.replay import ReplayedBatch
from chain.signing import address_of, keccak256, sign_digest
from chain.watchtower.attester import Attester
from tests.chain.support import DOMAIN

KEY = keccak256(b"a watchtower")
TRUE_HASH = keccak256(b"what the inbox holds")
MESSAGE = InboxMessage(
    index=4, kind="forced", owner=bytes(20), index_hint=0, amount_nano=0, body=b"told", at_s=1, l1_block=1
)


class Signer:
    address = address_of(KEY)

    def sign_digest(self, digest: bytes) -> bytes:
        return sign_digest(KEY, digest)


def replayed(number: int, *messages: InboxMessage) -> ReplayedBatch:
    header = BatchHeader(l2_time_s=1, inbox_to=4 + len(messages))
    posted = PostedBatch(
        batch_id=number, prev_root=bytes(32), post_root=bytes(32), inbox_hash=TRUE_HASH, blob=b"", l1_tx=bytes(32),
        l1_block=1, submitted_at_s=1,
    )  # fmt: skip
    batch = BatchData(header=header, frames=(Frame(post_root=bytes(32), body=b""),))
    return ReplayedBatch(posted=posted, batch=batch, messages=messages)


def vouched(attester: Attester) -> list[int]:
    return [word.batch_id for word in attester.words(0, 100)]


def test_the_first_batch_behind_a_snapshot_goes_without_a_word_if_it_executes_messages() -> None:
    """A node could tell the inbox's true hash and other messages: the word would be about a wrong batch."""
    attester = Attester(DOMAIN, Signer())

    attester.note(replayed(7, MESSAGE))
    attester.note(replayed(8, replace(MESSAGE, index=5)))

    assert vouched(attester) == [8]


def test_the_first_batch_behind_a_snapshot_that_executes_no_message_is_vouched_for() -> None:
    attester = Attester(DOMAIN, Signer())

    attester.note(replayed(7))

    assert vouched(attester) == [7]


def test_later_words_name_the_messages_that_were_executed_and_not_what_l1_tells() -> None:
    words = []
    for body in (b"told", b"other"):
        attester = Attester(DOMAIN, Signer())
        attester.note(replayed(7))
        attester.note(replayed(8, replace(MESSAGE, body=body)))
        words.append(attester.words(8, 9)[0].batch_hash)

    assert words[0] != words[1]
