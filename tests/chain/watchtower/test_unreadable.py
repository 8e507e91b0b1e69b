"""An L1 that hides a batch's data blinds nobody for the batches before it, and is told by the batch's number."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chain.errors import ChainUnavailableError
from chain.l1.rollup_l1 import JsonRpcRollupL1
from chain.watchtower import Watchtower
from tests.chain.in_front import Ask, in_front
from tests.villains.arena import arena, transfer
from wallet.rollup_follower import RollupFollower


async def test_watchers_and_wallets_follow_up_to_a_batch_that_can_not_be_read(template: Path, tmp_path: Path) -> None:
    async with arena(template, tmp_path) as where:
        hidden = await where.sequencer.post(transfer(where.sequencer.state, where.deployment))

        async def hide(body: bytes, ask: Ask) -> bytes:
            answered = json.loads(await ask(body))
            if (answered["result"] or {}) and "0x" + hidden.l1_tx.hex() in body.decode():
                answered["result"]["input"] = "0x"
            return json.dumps(answered).encode()

        async with in_front(where.server.url, hide) as url:
            l1 = JsonRpcRollupL1(url, where.deployment)
            tower, follower = Watchtower(l1), RollupFollower(l1)
            with pytest.raises(ChainUnavailableError, match=f"batch {hidden.batch_id} can't be read"):
                await tower.settle()
            with pytest.raises(ChainUnavailableError, match=f"batch {hidden.batch_id} can't be read"):
                await follower.catch_up()
            await l1.aclose()

        assert tower.view().verified_batches == follower.batch_count == hidden.batch_id
        assert "0x" + follower.state.root().hex() == tower.view().state_root == "0x" + hidden.prev_root.hex()
