"""`idlewatt devnet --l1` as a person types it."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from app.cli import cli


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--l1", "127.0.0.1:8545"], "http://host:port"),
        (["--l1-dev-funds"], "Give --l1 as well"),
        (["--rollup", "0x" + "11" * 20], "Give --l1 as well"),
        (["--l1", "http://127.0.0.1:1", "--rollup", "0x11"], "takes a rollup's address"),
    ],
)
def test_wrong_usage_says_what_to_do_and_starts_nothing(tmp_path: Path, options: list[str], said: str) -> None:
    result = CliRunner().invoke(cli, ["devnet", "--home", str(tmp_path), *options])

    text = result.output + (result.exception.line() if hasattr(result.exception, "line") else "")
    assert said in text
    assert not (tmp_path / "devnet" / "deployment.json").exists()
