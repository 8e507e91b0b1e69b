import asyncio
import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.relay.circuit import CircuitClosedError
from node.session import messages as m
from node.session.sealed import MAX_PLAINTEXT_BYTES, SealError, generate_transport_key, transport_public_key
from node.session.sealed_link import SealedLink
from tests.patience import PATIENCE_S

SECRET = generate_transport_key()
PUBLIC = transport_public_key(SECRET)


class Wire:
    """One end of a circuit over a relay that passes on only so many frames, and then ends it in its own words."""

    peer = "ab" * 32

    def __init__(self, passes=None, code="done"):
        self.passes = passes
        self.code = code
        self.inbox = asyncio.Queue()
        self.other = None
        self.ended = ""
        self.full = False

    async def dial(self, first):
        self.other.inbox.put_nowait(first)
        return self

    async def send(self, frame):
        if self.ended:
            raise CircuitClosedError("It ended.", code=self.ended)
        if self.full:
            await asyncio.Event().wait()
        if self.passes is None or self.passes > 0:
            self.other.inbox.put_nowait(frame)
        if self.passes is not None:
            self.passes -= 1

    async def receive(self):
        frame = await self.inbox.get()
        if isinstance(frame, str):
            self.inbox.put_nowait(frame)
            raise CircuitClosedError("It ended.", peer_code=frame)
        return frame

    async def close(self, code="done", reason=""):
        if not self.ended:
            self.ended = code
            self.inbox.put_nowait(code)
            self.other.inbox.put_nowait(self.code if self.passes is not None else code)


@contextlib.asynccontextmanager
async def linked():
    here, there = Wire(), Wire()
    here.other, there.other = there, here
    async with asyncio.TaskGroup() as tasks:
        buyer = tasks.create_task(SealedLink.connect(here.dial, PUBLIC, timeout_s=PATIENCE_S))
        provider = tasks.create_task(SealedLink.accept(there, SECRET, timeout_s=PATIENCE_S))
    yield buyer.result(), provider.result(), here, there


async def hear(link):
    heard = []
    try:
        while True:
            heard.append(await link.receive())
    except (CircuitClosedError, SealError, m.MessageError) as error:
        return heard, error


DELTAS = st.lists(st.integers(1, 400).map(lambda size: m.Delta(text="x" * size, tokens=1)), max_size=5)
CODES = st.sampled_from(["done", "failed", "peer_gone", "relay_lost", "unpaid"])


@settings(max_examples=60)
@given(DELTAS, CODES, CODES, st.data())
def test_a_relay_that_cuts_a_session_anywhere_is_told_from_a_peer_that_ends_it(said, code, relays_code, data):
    async def story():
        async with linked() as (buyer, provider, _here, there):
            passes = data.draw(st.integers(0, len(said) + 1))
            there.passes, there.code = passes, relays_code
            for message in said:
                await provider.send(message)
            await provider.close(code)
            heard, error = await hear(buyer)
            assert heard == said[:passes]
            if passes > len(said):
                assert not buyer.cut
                assert error.code == code
            else:
                assert buyer.cut
                assert error.code == ("seal_broken" if relays_code == "done" else relays_code)

    asyncio.run(story())


async def test_the_code_of_an_end_is_the_peers_and_not_the_relays():
    async with linked() as (buyer, provider, _here, there):
        there.passes, there.code = 1, "a_lie"
        await provider.close("unpaid")
        _heard, error = await hear(buyer)
        assert (error.code, buyer.cut) == ("unpaid", False)
        assert (await hear(buyer))[1].wire_code == "a_lie"
        assert not buyer.cut


@pytest.mark.parametrize("code", ["", "No Code", "x" * 60, "é"])
async def test_an_end_without_a_proper_code_travels_as_a_failure(code):
    async with linked() as (buyer, provider, _here, _there):
        await provider.close(code)
        assert (await hear(buyer))[1].code == "failed"


async def test_both_may_end_and_each_may_end_twice():
    async with linked() as (buyer, provider, _here, _there):
        await provider.close()
        await provider.close()
        assert (await hear(buyer))[1].code == "done"
        await buyer.close()
        assert not buyer.cut
        assert not provider.cut


async def test_an_own_end_is_no_cut():
    async with linked() as (buyer, _provider, _here, _there):
        await buyer.close("done")
        assert (await hear(buyer))[1].code == "done"
        assert not buyer.cut


async def test_an_end_does_not_wait_for_a_peer_that_takes_nothing():
    async with linked() as (buyer, provider, _here, there):
        there.full = True
        await provider.close("unpaid", farewell_timeout_s=0.01)
        assert (await hear(buyer))[1].code == "unpaid"
        assert buyer.cut


async def test_after_a_message_that_was_cut_short_no_orderly_end_is_claimed():
    async with linked() as (buyer, provider, _here, there):
        there.full = True
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await provider.send(m.Delta(text="half", tokens=1))
        there.full = False
        await provider.close("failed")
        assert (await hear(buyer))[1].code == "failed"
        assert buyer.cut


@pytest.mark.parametrize("last", [b"", b"\x02", b"\x02No Code", b"\x02\xff", b"\x00a message"])
async def test_a_malformed_last_frame_is_refused(last):
    async with linked() as (buyer, provider, _here, there):
        await there.send(provider._channel.seal(last, final=True))
        assert (await hear(buyer))[1].code == "protocol"


async def test_a_last_frame_in_the_middle_of_a_message_is_refused():
    async with linked() as (buyer, provider, _here, there):
        await there.send(provider._channel.seal(b"\x01" + b"x" * (MAX_PLAINTEXT_BYTES - 1)))
        await there.send(provider._channel.seal(b"\x02done", final=True))
        heard, error = await hear(buyer)
        assert not heard
        assert isinstance(error, m.MessageError)
