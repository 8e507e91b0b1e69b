"""``wallet withdraw --fast``, ``liquidity`` and ``watch --attest``: what they refuse before anything is signed."""

from __future__ import annotations

import pytest

from app.cli import run
from chain.errors import EXIT_USAGE

CHAIN = "http://127.0.0.1:1"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["wallet", "withdraw", "--amount", "1", "--fast"], "--fast needs to know what it may cost"),
        (["wallet", "withdraw", "--amount", "1", "--within", "5"], "--within belongs to --fast"),
        (
            ["wallet", "withdraw", "--amount", "1", "--fast", "--max-fee", "0.1", "--wait"],
            "--fast pays the wallet's own address",
        ),
        (
            ["wallet", "withdraw", "--amount", "1", "--fast", "--max-fee", "0.1", "--to", "0x" + "11" * 20],
            "--fast pays the wallet's own address",
        ),
        (["liquidity", "--l1-funds", "0"], "--l1-funds must be above zero"),
        (["watch", "--bond", "1"], "--bond belongs to --attest"),
        (["watch", "--attest", "--once"], "--once only looks"),
        (["watch", "--attest", "--unbond"], "--unbond ends what --attest begins"),
        (["watch", "--attest", "--l1", CHAIN, "--rollup", "0x" + "12" * 20], "It isn't known where to publish"),
    ],
)
def test_options_that_contradict_each_other_are_refused_with_one_line(arguments, said, tmp_path, capsys):
    assert run([*arguments, "--home", str(tmp_path / "home")]) == EXIT_USAGE

    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_liquidity_without_a_chain_or_a_wallet_says_what_is_missing(tmp_path, capsys):
    home = str(tmp_path / "home")
    assert run(["liquidity", "--l1-funds", "5", "--home", home]) == 1
    assert "No chain is set." in capsys.readouterr().err
