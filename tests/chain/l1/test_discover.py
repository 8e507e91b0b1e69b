"""A deployment read back from its contract alone."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from chain.errors import ChainRejectedError, ChainUnavailableError
from chain.l1.discover import read_deployment
from chain.l1.embedded.server import L1Server
from chain.l1.protocol import Deployment
from tests.chain.l1.conftest import Rpc


async def test_everything_but_the_deploying_block_is_read(l1: L1Server, deployment: Deployment, rpc: Rpc) -> None:
    found = await read_deployment(l1.url, deployment.rollup_address)

    genesis = await rpc("eth_getBlockByNumber", "0x0", False)
    assert found == replace(deployment, block_number=0, block_hash=bytes.fromhex(genesis["hash"][2:]))


async def test_an_address_without_a_rollup_is_told(l1: L1Server) -> None:
    with pytest.raises(ChainRejectedError) as refused:
        await read_deployment(l1.url, b"\x01" * 20)

    assert refused.value.code == "foreign_chain"


async def test_an_l1_that_is_not_there_is_told() -> None:
    with pytest.raises(ChainUnavailableError):
        await read_deployment("http://127.0.0.1:1", b"\x01" * 20)
