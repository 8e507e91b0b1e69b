"""Batches, messages and events are read through an RPC that gives little at once, in whatever words it refuses."""

from __future__ import annotations

import pytest

from chain.errors import ChainUnavailableError
from chain.l1.bridge import Bridge
from chain.l1.discover import read_deployment
from chain.l1.embedded.server import L1Server
from chain.l1.protocol import Deployment
from chain.l1.rollup_l1 import JsonRpcRollupL1
from tests.chain.l1 import capped as providers
from tests.chain.l1.capped import Caps, capped
from tests.chain.l1.conftest import ALICE, NANO, Clock, post, sign
from tests.chain.l1.spam import force_tx_head, send_repeated

WORDS = [providers.INFURA, providers.ALCHEMY, providers.QUICKNODE, providers.PUBLIC, providers.CUTS]


async def test_a_replay_reads_everything_in_every_providers_words(
    l1: L1Server, deployment: Deployment, rollup: JsonRpcRollupL1, bridge: Bridge, clock: Clock
) -> None:
    for _ in range(2):
        await bridge.deposit(sign, ALICE, ALICE, NANO)
        await post(rollup, clock)
    batches, messages = await rollup.batches(0, 16), await rollup.inbox_messages(0, 16)

    for words in WORDS:
        caps = Caps(max_blocks=2, max_logs=1, words=words)
        async with capped(l1.url, caps) as url:
            reader = JsonRpcRollupL1(url, await read_deployment(url, deployment.rollup_address))
            try:
                assert await reader.batches(0, 16) == batches
                assert await reader.inbox_messages(0, 16) == messages
                assert await reader.events(0, await reader.block_number()) == []
            finally:
                await reader.aclose()
        assert caps.refused > 0


@pytest.mark.parametrize("caps", [Caps(max_logs=7), Caps(max_answer_bytes=40_000), Caps(refuses_logs=True)])
async def test_messages_of_one_block_are_read_by_their_numbers(
    l1: L1Server, deployment: Deployment, rollup: JsonRpcRollupL1, caps: Caps
) -> None:
    assert rollup.signer is not None
    (receipt,) = await send_repeated(rollup.signer, deployment.inbox_address, force_tx_head(), 100)

    async with capped(l1.url, caps if not caps.refuses_logs else Caps(refuses_logs=True)) as url:
        reader = JsonRpcRollupL1(url, deployment)
        try:
            messages = await reader.inbox_messages(0, 256)
        finally:
            await reader.aclose()

    assert [message.index for message in messages] == list(range(100))
    assert {message.l1_block for message in messages} == {receipt["blockNumber"]}
    assert [int.from_bytes(message.body, "big") for message in messages] == list(range(100, 0, -1))


async def test_a_provider_without_the_history_says_so(
    l1: L1Server, deployment: Deployment, rollup: JsonRpcRollupL1, clock: Clock
) -> None:
    await post(rollup, clock)

    async with capped(l1.url, Caps(prunes_below=10_000)) as url:
        reader = JsonRpcRollupL1(url, deployment)
        try:
            assert len(await reader.batches(0, 1)) == 1, "read from receipts, which are there"
            with pytest.raises(ChainUnavailableError) as refused:
                await reader.events(0, 9)
        finally:
            await reader.aclose()

    assert refused.value.code == "l1_pruned"


async def test_what_a_provider_takes_is_asked_for_again_and_more_after_a_while(
    l1: L1Server, deployment: Deployment, rollup: JsonRpcRollupL1
) -> None:
    caps = Caps(max_blocks=64)
    async with capped(l1.url, caps) as url:
        reader = JsonRpcRollupL1(url, deployment)
        try:
            await reader.events(0, 9_999)
            refused_first = caps.refused
            await reader.events(0, 999)
        finally:
            await reader.aclose()

    assert 8 <= refused_first <= 40
    assert caps.refused - refused_first <= 3
