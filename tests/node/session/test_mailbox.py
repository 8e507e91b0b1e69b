"""A mailbox reads ahead within bounds, and tells of a link's end after everything that came before it."""

import asyncio

import pytest

from node.relay.circuit import CircuitClosedError
from node.session import messages as m
from node.session.mailbox import Mailbox
from tests.node.session.test_sealed_link import linked
from tests.patience import PATIENCE_S


async def taken(mailbox):
    """The next message, once there is one."""
    async with asyncio.timeout(PATIENCE_S):
        while (message := mailbox.take()) is None:
            mailbox.wake.clear()
            await mailbox.wake.wait()
    return message


async def test_what_was_said_before_the_end_is_read_before_it():
    async with linked() as (buyer, provider, *_), Mailbox(provider) as mailbox:
        for amount in range(3):
            await buyer.send(m.Settled(cumulative_nano=amount))
        await buyer.close()
        assert [await taken(mailbox) for _ in range(3)] == [m.Settled(cumulative_nano=amount) for amount in range(3)]
        for _ in range(2):
            with pytest.raises(CircuitClosedError):
                await taken(mailbox)
        assert mailbox.is_over
        assert not mailbox.is_empty


async def test_no_more_is_read_ahead_than_may_wait():
    async with linked() as (buyer, provider, *_), Mailbox(provider, most=4) as mailbox:
        for amount in range(10):
            await buyer.send(m.Settled(cumulative_nano=amount))
        first = await taken(mailbox)
        for _ in range(100):
            await asyncio.sleep(0)
        assert len(mailbox._messages) == 4
        assert [first, *[await taken(mailbox) for _ in range(9)]] == [
            m.Settled(cumulative_nano=amount) for amount in range(10)
        ]


async def test_one_that_is_closed_reads_no_more_and_is_closed_twice_without_harm():
    async with linked() as (buyer, provider, *_):
        mailbox = Mailbox(provider)
        mailbox.open()
        await mailbox.close()
        await mailbox.close()
        await buyer.send(m.Settled(cumulative_nano=1))
        assert await provider.receive() == m.Settled(cumulative_nano=1)


async def test_what_is_no_message_of_ours_is_the_end():
    async with linked() as (buyer, provider, *_), Mailbox(provider) as mailbox:
        await buyer._circuit.send(buyer._channel.seal(b"\x00not msgpack at all"))
        with pytest.raises(m.MessageError):
            await taken(mailbox)
