"""Asking nodes, and waiting for what they tell of themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from chain.client import RollupClient
from chain.l1.connection import L1Connection
from node.local.node import LocalNode
from node.values import ChatEvent, ChatMessage, ChatTurn, NodeChanged, NodeSnapshot, RejectionView, Sampling
from tests.patience import PATIENCE_S

FEE_NANO = 1_000


def turn(text: str = "hello", **changes) -> ChatTurn:
    """A short question."""
    values = {"messages": (ChatMessage("user", text),), "max_tokens": 40, "sampling": Sampling(seed=1)}
    return ChatTurn(**(values | changes))


async def ask(node: LocalNode, question: ChatTurn) -> list[ChatEvent]:
    """All that comes back."""
    events = []
    async with node.chat(question) as stream:
        async for event in stream:
            events.append(event)
    return events


async def later(l1_url: str, seconds: int) -> None:
    """Let an embedded L1's clock, and with its next batch the rollup's, run so many seconds ahead."""
    connection = L1Connection(l1_url)
    try:
        await connection.web3.provider.make_request("evm_increaseTime", [seconds])
    finally:
        await connection.aclose()


async def balances(url: str, *nodes: LocalNode) -> list[int]:
    """What the rollup says that the nodes' wallets hold."""
    async with RollupClient(url) as client:
        accounts = [
            await client.account(bytes.fromhex(node.snapshot().wallets[0].address.removeprefix("0x"))) for node in nodes
        ]
    return [account.balance_nano if account else 0 for account in accounts]


async def until(
    node: LocalNode, condition: Callable[[NodeSnapshot], object], timeout_s: float = PATIENCE_S
) -> NodeSnapshot:
    """The first snapshot that fulfils a condition, driven by the node's own events.

    A node tells of a job a moment after the other side has its last frame.
    """
    async with asyncio.timeout(timeout_s):
        async with node.subscribe() as events:
            if condition(node.snapshot()):
                return node.snapshot()
            async for event in events:
                if isinstance(event, NodeChanged) and condition(node.snapshot()):
                    return node.snapshot()
    raise AssertionError("the events ended")


async def rejected(node: LocalNode, reason: str) -> RejectionView:
    """What a node counted under a reason for not taking a request, once it counted any."""

    def found(snapshot: NodeSnapshot) -> RejectionView | None:
        return next((view for view in snapshot.rejections if view.reason == reason), None)

    view = found(await until(node, found))
    assert view is not None
    return view
