"""A sequencer in a process of its own that transfers as fast as it can and says what was acknowledged, to be killed.

Usage: ``python -m tests.chain.sequencer.killable DATABASE L1_URL DEPLOYMENT_JSON FIRST_NONCE``; the operator's and the
sender's keys are the tests' ``key(0)`` and ``key(1)``.
"""

import asyncio
import sys
from pathlib import Path

import msgspec

from chain.l1.protocol import Deployment
from chain.l1.rollup_l1 import JsonRpcRollupL1
from chain.sequencer import Sequencer, SequencerConfig
from chain.txs import Transfer
from tests.chain.support import key, signed

CONFIG = SequencerConfig(
    batch_interval_s=0.05, poll_s=0.05, inbox_confirmations=0, min_fee_nano=0, max_pending_txs=100_000
)


async def main(database: str, url: str, deployment_json: str, first_nonce: int) -> None:
    deployment = msgspec.json.decode(deployment_json, type=Deployment)
    l1 = JsonRpcRollupL1(url, deployment, key(0))
    async with Sequencer(l1, Path(database), config=CONFIG) as sequencer:
        nonce = first_nonce
        while True:
            raws = [signed(Transfer(1, 2, 1, 0), 1, n, sequencer.ledger.rules.domain) for n in range(nonce, nonce + 5)]
            for receipt in await asyncio.gather(*map(sequencer.submit, raws)):
                sys.stdout.write(receipt.l2_tx + "\n")
            sys.stdout.flush()
            nonce += 5


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4], int(sys.argv[4])))
