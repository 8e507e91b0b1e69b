"""A devnet's home that another version made: refused in one line, before anybody is served."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from chain.devnet import Devnet
from chain.devnet.home import DevnetHome
from chain.errors import IdlewattError
from tests.chain.test_devnet import running


class TestOldHomes:
    @pytest.mark.parametrize("unknown", ["stf_address", "deployment_salt"])
    async def test_a_home_of_older_contracts_is_refused_before_anything_is_touched(
        self, tmp_path: Path, unknown: str
    ) -> None:
        async with running(tmp_path):
            pass
        file = tmp_path / "deployment.json"
        kept = msgspec.json.decode(file.read_bytes())
        file.write_bytes(msgspec.json.encode({key: value for key, value in kept.items() if key != unknown}))

        with pytest.raises(IdlewattError) as refused:
            async with Devnet(tmp_path):
                pytest.fail("started on an old home")

        assert refused.value.code == "old_devnet"
        assert "--home" in refused.value.fix
        assert str(tmp_path) in refused.value.fix
        DevnetHome(tmp_path).release()

    @pytest.mark.parametrize("contract", ["rollup", "inbox", "stf", "attestations"])
    async def test_a_home_whose_contracts_have_another_code_is_refused_before_anybody_is_served(
        self, tmp_path: Path, contract: str
    ) -> None:
        async with running(tmp_path):
            pass
        file = tmp_path / "deployment.json"
        kept = msgspec.json.decode(file.read_bytes())
        kept[f"{contract}_address"] = kept["asset_address"]
        file.write_bytes(msgspec.json.encode(kept))

        with pytest.raises(IdlewattError) as refused:
            async with Devnet(tmp_path):
                pytest.fail("started on another version's contracts")

        assert refused.value.code == "old_devnet"
        assert str(tmp_path) in refused.value.fix
        DevnetHome(tmp_path).release()
