"""A provider serves beyond its soft credit only on channels that L1 has."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from chain.errors import IdlewattError
from node.rollup.verification import Verification
from tests.wallet.test_lying_rpc import USD, one, place_in

SOFT_NANO = 1_000_000


async def test_credit_ends_where_nothing_is_proven(tmp_path: Path) -> None:
    async with place_in(tmp_path) as place:
        verification = Verification(place.world.l1.url, SOFT_NANO)
        info = await place.client.info()
        real = await place.client.channel(place.channel)
        assert real is not None

        await verification.check_credit(place.client, info, real, 2 * USD)

        made_up = await place.make_up(77)
        await verification.check_credit(place.client, info, made_up, SOFT_NANO - 1)
        with pytest.raises(IdlewattError) as refused:
            await verification.check_credit(place.client, info, made_up, SOFT_NANO)
        assert refused.value.code == "unconfirmed"

        place.lie(rollup_channel=one(payee="0x" + "11" * 20))
        with pytest.raises(IdlewattError, match="not proven"):
            await verification.check_credit(place.client, info, replace(real, payee="0x" + "11" * 20), SOFT_NANO)
        await verification.forget()


async def test_an_l1_that_cannot_be_asked_leaves_the_soft_credit(tmp_path: Path) -> None:
    async with place_in(tmp_path) as place:
        verification = Verification("http://127.0.0.1:9", SOFT_NANO)
        info = await place.client.info()
        real = await place.client.channel(place.channel)
        assert real is not None

        assert await verification.verifier(place.client, info) is None
        await verification.check_credit(place.client, info, real, SOFT_NANO - 1)
        with pytest.raises(IdlewattError, match="not proven"):
            await verification.check_credit(place.client, info, real, SOFT_NANO)
