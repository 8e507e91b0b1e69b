"""The watchtower inside a node: when it runs, whom it tells, and that it proves with an unlocked wallet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from chain.devnet import Devnet, DevnetConfig, DevnetParams
from chain.sequencer import SequencerConfig
from chain.views import DisputeStage
from chain.villains import VILLAINS
from node.local.limits import NodeLimits
from node.local.node import LocalNode
from node.values import Notice
from tests.node.conftest import PASSPHRASE, QUICK, RunNode
from tests.patience import PATIENCE_S


@pytest.fixture
def limits() -> NodeLimits:
    return NodeLimits(l1=QUICK)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.02)


def disputes(node: LocalNode) -> tuple:
    return node._watchtower.disputes


def shown(node: LocalNode) -> tuple:
    view = node._safety.view
    return view.disputes if view is not None else ()


async def test_a_node_without_anything_at_stake_runs_none(run_node: RunNode, devnet) -> None:
    async with run_node("a", chain=devnet.l2_url) as node:
        await node._chain.rollup()

        assert await node._watchtower._wanted() is None
        assert node._watchtower.view is None


async def test_a_stake_is_reason_enough(run_node: RunNode, devnet) -> None:
    async with run_node("b", chain=devnet.l2_url) as node:
        await node.create_wallet("main", PASSPHRASE)
        await node.faucet("main")
        await node.stake("main", 1_000)

        await until(lambda: node._watchtower.view is not None and node._watchtower.view.verified_batches)

        assert node._watchtower.view.is_proving


async def test_it_stays_off_where_that_is_set(run_node: RunNode, devnet) -> None:
    async with run_node("c", chain=devnet.l2_url, watch="off") as node:
        await asyncio.wait_for(node._watchtower.run(), PATIENCE_S)

        assert node._watchtower.view is None


async def test_a_node_proves_what_its_sequencer_lied_about_and_says_so(run_node: RunNode, tmp_path: Path) -> None:
    params = DevnetParams.with_window(3_600, reveal_delay_blocks=2)
    quick_sequencer = SequencerConfig(batch_interval_s=0.1, poll_s=0.05)
    villain = VILLAINS["mint"]
    async with (
        Devnet(
            tmp_path / "net",
            params=params,
            config=DevnetConfig(sequencer=quick_sequencer, reveal_block_s=0.1),
            villain=villain,
        ) as devnet,
        run_node("d", chain=devnet.ready.l2_url, watch="on") as node,
        node.subscribe() as events,
    ):
        await node.create_wallet("main", PASSPHRASE)
        # The account comes with an honest batch, its money with a forged one.
        granted = asyncio.create_task(node.faucet("main"))
        await until(lambda: [one.stage for one in disputes(node)] == [DisputeStage.REVERTED])
        granted.cancel()
        await asyncio.wait([granted])

        said: list[str] = []
        async with asyncio.timeout(PATIENCE_S):
            async for event in events:
                if isinstance(event, Notice):
                    said.append(event.text)
                if any("taken back" in text for text in said):
                    break
        dispute = disputes(node)[0]
        assert dispute.code == villain.code
        assert dispute.reward_wei == 5 * 10**17
        assert any("is wrong at frame" in text for text in said)
        await until(lambda: [one.stage for one in shown(node)] == [DisputeStage.REVERTED])
