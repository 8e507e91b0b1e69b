"""Sequencers on an L1 in memory, for moments that a real L1 can't be brought into; the e2e tests use the real one."""

import asyncio
from collections.abc import Callable

import pytest

from chain.sequencer import Sequencer, SequencerConfig
from tests.chain.support import MemoryL1, owner
from tests.patience import PATIENCE_S


@pytest.fixture
def l1() -> MemoryL1:
    return MemoryL1()


@pytest.fixture
def quick() -> SequencerConfig:
    """Nothing happens by itself within a test's time, except what L1 shows."""
    return SequencerConfig(
        batch_interval_s=60, poll_s=0.01, inbox_confirmations=0, min_fee_nano=0, retry_s=0.01, max_retry_s=0.02
    )


@pytest.fixture
def start(l1, quick, tmp_path):
    """Starts a sequencer on the test's database."""

    def build(config: SequencerConfig = quick, l1: MemoryL1 = l1, name: str = "l2.db", **options) -> Sequencer:
        return Sequencer(l1, tmp_path / name, config=config, **options)

    return build


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that happens soon, looking whenever the loop had a turn."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.005)


async def fund(sequencer: Sequencer, l1: MemoryL1, number: int, amount_nano: int = 1_000_000) -> int:
    """Give ``owner(number)`` an account with money; returns the account's number."""
    account = await sequencer.create_account(owner(number))
    before = sequencer.head.state.account(account)
    assert before is not None
    l1.deposit(owner(number), amount_nano, hint=account)
    sequencer.poke()

    def credited() -> bool:
        leaf = sequencer.head.state.account(account)
        return leaf is not None and leaf.balance_nano >= before.balance_nano + amount_nano

    await until(credited)
    return account
