"""A relay that refuses this version: what it says and what to do about it stand on the screens."""

from __future__ import annotations

import pytest

from node.local.limits import NodeLimits
from node.provider.limits import ProviderLimits
from node.relay.server import RelayServer
from node.values import Health, Phase
from screens.market import empty_text
from tests.node.conftest import RunNode
from tests.node.helpers import until

FIX = "Update Idlewatt or pass another --relay."


async def test_a_refused_node_shows_the_relays_reason_and_fix(run_node: RunNode) -> None:
    async with RelayServer(versions=(2, 2)) as relay, run_node("buyer", relay=relay.url) as node:
        snapshot = await until(node, lambda now: now.relay.fix)
        assert snapshot.relay.fix == FIX
        assert "refused (version)" in snapshot.relay.error
        check = next(item for item in snapshot.checklist if item.name == "relay")
        assert (check.health, check.detail, check.fix) == (Health.FAIL, snapshot.relay.error, FIX)
        assert empty_text(snapshot, filtered=False).endswith(f"{snapshot.relay.error} {FIX}")


@pytest.mark.parametrize("limits", [NodeLimits(provider=ProviderLimits(ready_timeout_s=0.1))])
async def test_a_seller_that_is_refused_reads_it_in_the_headline(run_node: RunNode) -> None:
    async with RelayServer(versions=(2, 2)) as relay, run_node("seller", relay=relay.url) as node:
        await node.create_wallet("main", "correct horse battery staple")
        await node.go_online()
        snapshot = await until(node, lambda now: now.phase is Phase.DEGRADED and now.relay.fix)
        assert snapshot.why == snapshot.relay.error
        assert snapshot.fix == FIX
