"""A buyer's request with a provider that never ends it: words that change nothing don't hold it up for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import chain, repeat

import pytest

from node.buyer.session import BuyerSession, ResponseTimeouts
from node.session import buyer_io as io
from node.session import messages as m
from node.session.buyer import TOKEN_BYTES, UNBILLED_BYTES
from node.session.mailbox import Mailbox
from node.session.terms import bill_nano
from tests.node.session import metered
from tests.patience import PATIENCE_S

QUICK = ResponseTimeouts(quote_s=PATIENCE_S, first_token_s=0.05, next_token_s=0.05, settled_s=0.05)
QUOTE = m.Quote(
    request_id="r1",
    input_tokens=9,
    max_output_tokens=256,
    prices=metered.PRICES,
    ceiling_nano=bill_nano(metered.PRICES, 9, 256),
    credit_tokens=64,
)
STALLED = m.Stalled(owed_nano=1)
EMPTY = m.Delta(text="", tokens=0)
WORD = m.Delta(text="word", tokens=1)


class Talkative:
    """A provider's end of a link: it says the same things whatever it hears, as fast as they are taken."""

    def __init__(self, says: Iterator[m.Message]) -> None:
        self._says = says
        self.heard: list[m.Message] = []

    async def send(self, message: m.Message) -> None:
        self.heard.append(message)

    async def receive(self) -> m.Message:
        await asyncio.sleep(0)
        return next(self._says)


async def outcome_with(says: Iterator[m.Message]) -> tuple[io.Finished | io.Failed, BuyerSession]:
    buying = metered.BuyerSide.asking(metered.ask())

    async def sign(amount_nano: int):
        return metered.voucher(amount_nano)

    async def nothing(*_: object) -> None:
        pass

    async with Mailbox(Talkative(says)) as mailbox:
        session = BuyerSession(
            mailbox,
            buying.state.terms,
            metered.ask(),
            sign=sign,
            adopt=nothing,
            keep=nothing,
            report=nothing,
            timeouts=QUICK,
        )
        async with asyncio.timeout(PATIENCE_S):
            return await session.run(), session


@pytest.mark.parametrize("begun", [(QUOTE,), (QUOTE, WORD)], ids=["before the first token", "after it"])
@pytest.mark.parametrize("idle", [STALLED, EMPTY], ids=["stalled", "empty"])
async def test_a_provider_that_only_says_that_it_is_there_is_silent(begun, idle):
    outcome, session = await outcome_with(chain(begun, repeat(idle)))
    assert isinstance(outcome, io.Failed)
    assert outcome.code == "provider_silent"
    assert session.state.output_tokens == len(begun) - 1


async def test_text_that_nobody_bills_can_not_fill_the_buyers_memory():
    outcome, session = await outcome_with(chain([QUOTE], repeat(m.Delta(text="x" * m.MAX_DELTA_CHARS, tokens=0))))
    assert isinstance(outcome, io.Failed)
    assert (outcome.code, session.state.signed_nano) == ("protocol", session.state.base_nano)
    assert session.state.output_bytes <= UNBILLED_BYTES + TOKEN_BYTES
