import pytest
from msgspec.structs import replace

from chain.codec import BatchHeader, Frame, decode_batch, encode_batch, encode_inbox_body
from chain.errors import ChainUnavailableError
from chain.l1.protocol import PostedBatch
from chain.replay import Replayer, ReplayError, replay_l1, rules_of
from chain.state import RollupState
from chain.stf import Code, apply, apply_inbox, execute_frame, open_batch
from chain.txs import CreateAccount, Expire, Transfer
from tests.chain.support import RULES, MemoryL1, deposit, forced, owner, rebuild_state, signed

MESSAGES = [deposit(index, owner(index + 1), 1_000) for index in range(3)]


def body_of(count: int, start: int = 0) -> bytes:
    return b"".join(CreateAccount(owner(100 + number)).encode() for number in range(start, start + count))


class Chain:
    """Builds right batches, so that tests can make them wrong."""

    def __init__(self) -> None:
        self.state = RollupState.genesis()

    def batch(self, *bodies: bytes, inbox_to: int = 0, l2_time_s: int = 5, batch_id: int = 0) -> PostedBatch:
        prev_root = self.state.root()
        header = BatchHeader(l2_time_s=l2_time_s, inbox_to=inbox_to)
        open_batch(self.state, l2_time_s)
        frames = [Frame(post_root=self.run(body), body=body) for body in bodies]
        return posted(header, frames, prev_root, batch_id)

    def run(self, body: bytes) -> bytes:
        if body[:1] == b"\0":
            start, count = int.from_bytes(body[1:9], "big"), body[9]
            for message in MESSAGES[start : start + count]:
                apply_inbox(self.state, message, RULES)
        else:
            size = {1: 21, 2: 85}
            while body:
                apply(self.state, body[: size[body[0]]], RULES)
                body = body[size[body[0]] :]
        return self.state.root()


def posted(header: BatchHeader, frames: list[Frame], prev_root: bytes, batch_id: int = 0) -> PostedBatch:
    return PostedBatch(
        batch_id=batch_id,
        prev_root=prev_root,
        post_root=frames[-1].post_root,
        inbox_hash=bytes(32),
        blob=encode_batch(header, frames),
        l1_tx=bytes(32),
        l1_block=1,
        submitted_at_s=1,
    )


def replayer() -> Replayer:
    follower = Replayer(RULES)
    follower.add_messages(MESSAGES)
    return follower


def refused(follower: Replayer, batch: PostedBatch) -> ReplayError:
    root = follower.state.root()
    with pytest.raises(ReplayError) as caught:
        follower.advance(batch)
    assert follower.state.root() == root
    return caught.value


def test_right_batches_lead_to_the_same_state():
    chain, follower = Chain(), replayer()
    for batch in (
        chain.batch(encode_inbox_body(0, 2), body_of(8), body_of(1, 8), inbox_to=2),
        chain.batch(encode_inbox_body(2, 1), inbox_to=3, l2_time_s=9, batch_id=1),
        chain.batch(signed(Transfer(1, 2, 100, 1), 1, 0), inbox_to=3, l2_time_s=9, batch_id=2),
    ):
        verified = follower.advance(batch)
        assert verified.posted == batch
        assert follower.state.root() == batch.post_root
    assert follower.state.root() == chain.state.root()
    assert follower.next_batch == 3


@pytest.mark.parametrize("frame_number", [0, 1, 2])
def test_a_lying_root_is_found_in_its_frame(frame_number):
    batch = Chain().batch(encode_inbox_body(0, 2), body_of(8), body_of(1, 8), inbox_to=2)
    decoded = decode_batch(batch.blob)
    frames = list(decoded.frames)
    frames[frame_number] = replace(frames[frame_number], post_root=b"\x66" * 32)
    error = refused(replayer(), posted(decoded.header, frames, batch.prev_root))
    assert (error.batch_id, error.frame, error.tx_code) == (0, frame_number, Code.WRONG_ROOT)
    assert "frame" in error.message
    assert "wrong root" in error.message


@pytest.mark.parametrize(
    ("bodies", "inbox_to", "code"),
    [
        ([b""], 0, Code.MALFORMED),
        ([CreateAccount(owner(1)).encode()[:-1]], 0, Code.MALFORMED),
        ([b"\0"], 1, Code.MALFORMED),
        ([b"\x10" + bytes(80)], 0, Code.UNKNOWN_TYPE),
        ([signed(Transfer(1, 2, 1, 0), 1, 0)], 0, Code.MISSING_SENDER),
        ([Expire(1).encode()], 0, Code.CHANNEL_UNAVAILABLE),
        ([body_of(9)], 0, Code.TOO_MANY_IN_FRAME),
        ([encode_inbox_body(0, 9)], 3, Code.TOO_MANY_IN_FRAME),
        ([encode_inbox_body(1, 1)], 3, Code.INBOX_ORDER),
        ([encode_inbox_body(0, 0)], 3, Code.INBOX_ORDER),
        ([encode_inbox_body(0, 3)], 2, Code.INBOX_ORDER),
        ([encode_inbox_body(2**64 - 1, 8)], 3, Code.INBOX_ORDER),
        ([body_of(1)], 2, Code.INBOX_ORDER),
        ([encode_inbox_body(0, 1)], 2, Code.WRONG_CURSOR),
    ],
)
def test_every_kind_of_wrong_frame_has_its_code(bodies, inbox_to, code):
    header = BatchHeader(l2_time_s=5, inbox_to=inbox_to)
    follower = replayer()
    frames = [Frame(post_root=bytes(32), body=body) for body in bodies]
    error = refused(follower, posted(header, frames, follower.state.root()))
    assert (error.frame, error.tx_code) == (0, code)


def test_inbox_frames_come_first():
    chain = Chain()
    good = chain.batch(encode_inbox_body(0, 1), body_of(1), inbox_to=1)
    frames = [*decode_batch(good.blob).frames, Frame(post_root=bytes(32), body=encode_inbox_body(1, 1))]
    for inbox_to, frame_number in ((1, 2), (2, 1)):
        header = BatchHeader(l2_time_s=5, inbox_to=inbox_to)
        error = refused(replayer(), posted(header, frames, good.prev_root))
        assert (error.frame, error.tx_code) == (frame_number, Code.INBOX_ORDER)


def test_a_batch_wrong_as_a_whole_is_refused_without_a_frame():
    chain, follower = Chain(), replayer()
    first = chain.batch(body_of(1))
    follower.advance(first)
    second = chain.batch(body_of(1, 5), l2_time_s=6, batch_id=1)
    header = decode_batch(second.blob).header
    frames = list(decode_batch(second.blob).frames)
    for wrong in (
        replace(second, batch_id=2),
        replace(second, batch_id=0),
        replace(second, prev_root=b"\1" * 32),
        replace(second, blob=second.blob[:-1]),
        replace(second, post_root=b"\1" * 32),
        posted(replace(header, l2_time_s=4), frames, second.prev_root, 1),
        posted(replace(header, inbox_to=4), frames, second.prev_root, 1),
        posted(replace(header, inbox_to=2**64 - 1), frames, second.prev_root, 1),
    ):
        assert refused(follower, wrong).frame is None
    follower.advance(second)


def test_a_failed_frame_is_atomic():
    state = RollupState.genesis()
    body = CreateAccount(owner(1)).encode() + signed(Transfer(1, 1, 1, 0), 1, 0)
    root = state.root()
    frame = Frame(post_root=bytes(32), body=body)
    code = execute_frame(state, BatchHeader(l2_time_s=5, inbox_to=0), frame, RULES, MESSAGES.__getitem__, is_last=True)
    assert code is Code.OVERDRAFT
    assert state.root() == root
    assert state.meta.l2_time_s == 0


async def test_the_state_is_rebuilt_from_l1_alone():
    chain, l1 = Chain(), MemoryL1()
    l1.messages = list(MESSAGES)
    l1.posted = [
        chain.batch(encode_inbox_body(0, 2), body_of(8), inbox_to=2),
        chain.batch(encode_inbox_body(2, 1), body_of(2, 8), inbox_to=3, l2_time_s=9, batch_id=1),
    ]
    assert (await rebuild_state(l1)).root() == chain.state.root()
    verified = [item async for item in replay_l1(l1)]
    assert [len(item.messages) for item in verified] == [2, 1]


async def test_forced_rubbish_does_not_stop_a_replay():
    l1 = MemoryL1()
    l1.messages = [forced(0, b"rubbish")]
    state = RollupState.genesis()
    open_batch(state, 5)
    apply_inbox(state, l1.messages[0], RULES)
    frame = Frame(post_root=state.root(), body=encode_inbox_body(0, 1))
    l1.posted = [posted(BatchHeader(l2_time_s=5, inbox_to=1), [frame], RollupState.genesis().root())]
    assert (await rebuild_state(l1)).root() == state.root()


async def test_a_batch_that_is_no_batch_or_names_missing_messages_is_named():
    l1, chain = MemoryL1(), Chain()
    good = chain.batch(body_of(1))
    l1.posted = [replace(good, blob=b"rubbish")]
    with pytest.raises(ReplayError, match="Batch 0 is malformed"):
        await rebuild_state(l1)
    frames = list(decode_batch(good.blob).frames)
    l1.posted = [posted(BatchHeader(l2_time_s=5, inbox_to=7), frames, good.prev_root)]
    with pytest.raises(ReplayError, match="inbox messages that L1 doesn't have"):
        await rebuild_state(l1)


async def test_another_genesis_and_an_l1_that_is_down_are_said_plainly():
    l1 = MemoryL1()
    l1._deployment = replace(l1._deployment, genesis_root=bytes(32))
    with pytest.raises(ReplayError, match="another genesis"):
        [item async for item in replay_l1(l1)]
    l1 = MemoryL1()
    l1.is_down = True
    with pytest.raises(ChainUnavailableError):
        await rebuild_state(l1)
    assert rules_of(await l1.deployment()) == RULES
