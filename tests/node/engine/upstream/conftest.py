from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.node.engine.upstream.hostile import Upstream, upstream


@pytest.fixture
async def server() -> AsyncIterator[Upstream]:
    async with upstream() as running:
        yield running
