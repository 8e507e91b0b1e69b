import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.session.sealed import (
    MAX_FRAME_BYTES,
    MAX_PLAINTEXT_BYTES,
    PAD_BLOCK_BYTES,
    SealedInitiator,
    SealedResponder,
    SealError,
    generate_transport_key,
    transport_public_key,
)

SECRET = generate_transport_key()
PUBLIC = transport_public_key(SECRET)
PLAINTEXTS = st.lists(st.binary(max_size=700), min_size=1, max_size=6)


def joined(secret=SECRET, public=PUBLIC):
    buyer, provider = SealedInitiator(public), SealedResponder(secret)
    assert buyer.receive_hello(provider.receive_hello(buyer.hello())) is None
    return buyer, provider


def hear(end, frames):
    for frame in frames:
        end.open(frame)
    end.expect_closed()


@settings(max_examples=40)
@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=2000)), max_size=12))
def test_any_conversation_arrives_as_it_was_said(talk):
    ends = joined()
    for from_buyer, said in talk:
        sender, reader = ends if from_buyer else ends[::-1]
        assert reader.open(sender.seal(said)) == said
    for sender, reader in (ends, ends[::-1]):
        assert reader.open(sender.seal(b"bye", final=True)) == b"bye"
        assert reader.closed
        reader.expect_closed()


@settings(max_examples=40)
@given(PLAINTEXTS, st.data())
def test_any_flipped_bit_is_detected_and_breaks_the_channel(plaintexts, data):
    buyer, provider = joined()
    frames = [buyer.seal(text) for text in plaintexts]
    victim = data.draw(st.integers(0, len(frames) - 1))
    bit = data.draw(st.integers(0, len(frames[victim]) * 8 - 1))
    tampered = bytearray(frames[victim])
    tampered[bit // 8] ^= 1 << bit % 8
    for frame in frames[:victim]:
        provider.open(frame)
    with pytest.raises(SealError) as caught:
        provider.open(bytes(tampered))
    assert caught.value.code == "seal_broken"
    with pytest.raises(SealError):
        provider.open(frames[victim])
    with pytest.raises(SealError):
        provider.seal(b"more")


@settings(max_examples=40)
@given(PLAINTEXTS.filter(lambda texts: len(texts) > 1), st.data())
def test_dropping_doubling_swapping_or_cutting_frames_is_detected(plaintexts, data):
    buyer, provider = joined()
    frames = [buyer.seal(text, final=i == len(plaintexts) - 1) for i, text in enumerate(plaintexts)]
    at = data.draw(st.integers(0, len(frames) - 2))
    kind = data.draw(st.sampled_from(["drop", "double", "swap", "cut"]))
    if kind == "drop":
        heard = frames[:at] + frames[at + 1 :]
    elif kind == "double":
        heard = [*frames[: at + 1], *frames[at:]]
    elif kind == "swap":
        heard = [*frames[:at], frames[at + 1], frames[at], *frames[at + 2 :]]
    else:
        heard = frames[: at + 1]
    with pytest.raises(SealError):
        hear(provider, heard)


@settings(max_examples=40)
@given(st.integers(0, 3000), st.booleans())
def test_a_frame_length_tells_the_padded_blocks_and_no_more(length, final):
    buyer, _provider = joined()
    buyer.seal(b"")
    frame = buyer.seal(b"x" * length, final=final)
    assert len(frame) == (length // PAD_BLOCK_BYTES + 1) * PAD_BLOCK_BYTES + 17


@given(st.binary(max_size=400))
def test_garbage_for_a_hello_is_refused(garbage):
    with pytest.raises(SealError):
        SealedResponder(SECRET).receive_hello(garbage)
    buyer = SealedInitiator(PUBLIC)
    buyer.hello()
    with pytest.raises(SealError):
        buyer.receive_hello(garbage)


@given(st.binary(max_size=400))
def test_garbage_for_a_frame_is_refused(garbage):
    _buyer, provider = joined()
    with pytest.raises(SealError):
        provider.open(garbage)


def test_another_transport_key_can_not_answer():
    buyer = SealedInitiator(PUBLIC)
    impostor = SealedResponder(generate_transport_key())
    with pytest.raises(SealError):
        buyer.receive_hello(impostor.receive_hello(buyer.hello()))
    with pytest.raises(SealError):
        buyer.seal(b"a prompt")


@settings(max_examples=40)
@given(st.integers(0, 32 * 8 - 1))
def test_a_hello_changed_on_the_way_is_detected(bit):
    buyer, provider = SealedInitiator(PUBLIC), SealedResponder(SECRET)
    hello = bytearray(buyer.hello())
    hello[1 + bit // 8] ^= 1 << bit % 8
    with pytest.raises(SealError):
        buyer.receive_hello(provider.receive_hello(bytes(hello)))


@pytest.mark.parametrize("key", [bytes(32), b"\x01" + bytes(31)])
def test_keys_of_low_order_are_refused(key):
    with pytest.raises(SealError):
        SealedResponder(SECRET).receive_hello(b"\x01" + key)
    buyer = SealedInitiator(key)
    reply = SealedResponder(SECRET).receive_hello(buyer.hello())
    with pytest.raises(SealError):
        buyer.receive_hello(reply)


def test_another_version_is_refused():
    with pytest.raises(SealError, match="version"):
        SealedResponder(SECRET).receive_hello(b"\x02" + bytes(32))


def test_a_recorded_session_can_not_be_replayed_to_the_provider():
    buyer, provider = SealedInitiator(PUBLIC), SealedResponder(SECRET)
    hello = buyer.hello()
    buyer.receive_hello(provider.receive_hello(hello))
    frame = buyer.seal(b"do it once")
    second = SealedResponder(SECRET)
    second.receive_hello(hello)
    with pytest.raises(SealError):
        second.open(frame)


def test_a_frame_can_not_be_reflected_to_its_sender():
    buyer, _provider = joined()
    with pytest.raises(SealError):
        buyer.open(buyer.seal(b"echo"))


def test_the_largest_plaintext_fits_a_relay_frame_and_one_byte_more_does_not():
    buyer, provider = joined()
    frame = buyer.seal(b"x" * MAX_PLAINTEXT_BYTES)
    assert len(frame) <= MAX_FRAME_BYTES
    assert len(provider.open(frame)) == MAX_PLAINTEXT_BYTES
    with pytest.raises(SealError):
        buyer.seal(b"x" * (MAX_PLAINTEXT_BYTES + 1))
    with pytest.raises(SealError, match="larger"):
        provider.open(b"x" * (MAX_FRAME_BYTES + 1))


def test_nothing_is_sealed_or_opened_before_the_handshake():
    for end in (SealedInitiator(PUBLIC), SealedResponder(SECRET)):
        assert not end.ready
        with pytest.raises(SealError):
            end.seal(b"")
        with pytest.raises(SealError):
            end.open(b"")


def test_handshake_steps_out_of_turn_are_refused():
    buyer, provider = SealedInitiator(PUBLIC), SealedResponder(SECRET)
    with pytest.raises(SealError):
        buyer.receive_hello(b"")
    hello = buyer.hello()
    with pytest.raises(SealError):
        buyer.hello()
    reply = provider.receive_hello(hello)
    with pytest.raises(SealError):
        provider.receive_hello(hello)
    buyer.receive_hello(reply)
    with pytest.raises(SealError):
        buyer.receive_hello(reply)


def test_nothing_follows_the_final_frame():
    buyer, provider = joined()
    last = buyer.seal(b"bye", final=True)
    with pytest.raises(SealError):
        buyer.seal(b"more")
    provider.open(last)
    with pytest.raises(SealError):
        provider.open(last)


def test_each_side_ends_on_its_own():
    buyer, provider = joined()
    provider.open(buyer.seal(b"that was my question", final=True))
    assert provider.closed
    assert not buyer.closed
    assert buyer.open(provider.seal(b"an answer")) == b"an answer"


def test_keys_appear_in_no_representation_and_no_pickle():
    buyer, provider = joined()
    for end in (buyer, provider, SealedInitiator(PUBLIC)):
        assert "object at" not in repr(end)
        assert SECRET.hex() not in repr(end)
        with pytest.raises(TypeError):
            pickle.dumps(end)


@pytest.mark.parametrize("end", [SealedInitiator, SealedResponder])
def test_a_key_of_another_length_is_refused(end):
    with pytest.raises(SealError):
        end(b"short")
