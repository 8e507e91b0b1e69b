"""A line to L1 that loses, repeats, delays and cuts what goes over it: nothing acknowledged is lost or posted twice."""

import asyncio

import pytest
from msgspec.structs import replace

from chain.errors import ChainUnavailableError
from chain.l1.rollup_l1 import JsonRpcRollupL1
from chain.sequencer import Sequencer
from chain.txs import Transfer
from tests.chain.bad_line import TROUBLES, bad_line
from tests.chain.sequencer.conftest import until
from tests.chain.sequencer.killable import CONFIG
from tests.chain.sequencer.real_l1 import FUNDS_NANO, deposit, real_l1, transactions_on_l1
from tests.chain.support import key, owner, rebuild_state, signed

PATIENT = replace(CONFIG, retry_s=0.05, max_retry_s=0.2)


async def started(l1: JsonRpcRollupL1, database) -> Sequencer:
    """A sequencer that found a moment in which L1 answered all it asks at its start."""
    while True:
        sequencer = Sequencer(l1, database, config=PATIENT)
        try:
            await sequencer.start()
        except ChainUnavailableError:
            continue
        return sequencer


@pytest.mark.parametrize("seed", [1, 2])
async def test_every_acknowledged_transaction_stands_on_l1_once(tmp_path, seed):
    async with real_l1(tmp_path) as (server, deployment, direct), bad_line(server.url, seed) as line:
        l1 = JsonRpcRollupL1(line.url, deployment, key(0))
        sequencer = await started(l1, tmp_path / "l2.db")
        try:
            acknowledged = []
            for number in (1, 2):
                assert await sequencer.create_account(owner(number)) == number
            await deposit(direct, owner(1), hint=1)
            await until(lambda: sequencer.queries.account(owner(1)).balance_nano)
            while not (len(acknowledged) >= 40 and line.met.keys() >= set(TROUBLES)):
                raw = signed(Transfer(1, 2, 1, 0), 1, len(acknowledged), sequencer.ledger.rules.domain)
                acknowledged.append((await sequencer.submit(raw)).l2_tx)
                await asyncio.sleep(0.02)
            line.is_bad = False
            await sequencer.flush()
            await until(lambda: not sequencer.ledger.pending_txs)
            assert not sequencer.halted
            head = sequencer.head.state
            assert (await rebuild_state(direct)).root() == head.root()
            assert head.account(2).balance_nano == len(acknowledged)
            assert head.account(1).balance_nano == FUNDS_NANO - len(acknowledged)
        finally:
            await sequencer.close()
            await l1.aclose()
        on_l1 = await transactions_on_l1(direct)
        assert len(on_l1) == len(set(on_l1)) == len(acknowledged) + 2
        assert [l2_tx for l2_tx in on_l1 if l2_tx in set(acknowledged)] == acknowledged
