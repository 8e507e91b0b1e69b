"""What a sequencer tells of its deployment is held against L1 before anything is sent there."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from chain.errors import ChainRejectedError
from chain.signing import checksum_address
from tests.wallet.world import World
from wallet.l1 import check_on_l1, open_bridge


async def test_no_bridge_leads_to_what_the_sequencer_made_up(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        info = await world.client.info()
        await (await open_bridge(info)).aclose()
        assert (await check_on_l1(info)).rollup_address == world.deployment.rollup_address
        thief = checksum_address(b"\x66" * 20)

        for lie in (
            {"inbox_address": thief},
            {"asset_address": thief},
            {"l1_chain_id": 1},
            {"l2_chain_id": 1},
            {"deployment": "0x" + "11" * 32},
            {"deployment_salt": "0x" + "11" * 32},
            {"rollup_address": info.asset_address},
            {"rollup_address": thief},
        ):
            with pytest.raises(ChainRejectedError) as refused:
                await open_bridge(replace(info, **lie))
            assert refused.value.code in {"foreign_contract", "foreign_chain"}, lie
