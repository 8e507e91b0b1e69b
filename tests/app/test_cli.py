"""The command line: every failure is one line and an exit status, facts go to stdout, and help costs nothing."""

import errno

import click
import pytest

import app.cli
from app.cli import innermost, report, run
from app.cli.common import json_ready
from chain.errors import IdlewattError, UsageError
from node.values import Prices


def test_help_lists_every_command(capsys):
    assert run(["--help"]) == 0
    shown = capsys.readouterr().out
    for name in app.cli.COMMANDS:
        assert f"  {name} " in shown


@pytest.mark.parametrize("name", list(app.cli.COMMANDS))
def test_every_command_explains_itself(name, capsys):
    assert run([name, "--help"]) == 0
    assert "Usage: idlewatt" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["relay", "--port", "70000"], ["serve", "--price-in", "cheap"], ["--relay", "ws://x", "market"]],
)
def test_wrong_usage_exits_with_2_and_a_line(arguments, capsys):
    assert run(arguments) == 2
    assert "Error: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (IdlewattError("It broke.", fix="Mend it."), 1, "idlewatt: It broke. Mend it.\n"),
        (UsageError("Not so."), 2, "idlewatt: Not so.\n"),
        (IdlewattError("No.", code="bad_address"), 1, "idlewatt: No.\n"),
        (UsageError("No.", code="bad_address"), 2, "idlewatt: No.\n"),
        (IdlewattError("No.", peer_code="bad_params"), 1, "idlewatt: No.\n"),
        (KeyboardInterrupt(), 130, "Interrupted.\n"),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            1,
            "idlewatt: The disk is full. Free some space and try again.\n",
        ),
        (ExceptionGroup("both", [ValueError(), IdlewattError("Ours.")]), 1, "idlewatt: Ours.\n"),
        (
            IdlewattError("A\x1b[31m\n\u202eline\x9b2J.", fix="\x1b]0;title\x07Mend it."),
            1,
            "idlewatt: A line. Mend it.\n",
        ),
    ],
)
def test_a_failure_is_one_line(error, status, said, capsys):
    assert report(error) == status
    assert capsys.readouterr().err == said


def test_what_nobody_foresaw_is_kept_in_a_file_and_not_shown(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["idlewatt", "status", "--home", str(tmp_path)])
    with pytest.raises(ZeroDivisionError) as unforeseen:
        raise ZeroDivisionError("inner detail")
    assert report(unforeseen.value) == 1

    shown = capsys.readouterr().err
    assert "inner detail" not in shown
    (crash,) = (tmp_path / "logs").glob("crash-*.log")
    assert str(crash) in shown
    assert "ZeroDivisionError: inner detail" in crash.read_text()


def test_the_first_of_our_own_errors_is_the_one_to_show():
    inner = ExceptionGroup("inner", [RuntimeError("x"), IdlewattError("ours")])
    assert str(innermost(ExceptionGroup("outer", [KeyError("y"), inner]))) == "ours"


def test_money_in_json_is_a_string_of_nano():
    assert json_ready(
        {"cost_nano": 5, "prices": Prices(input_nano_per_mtok=2**60, output_nano_per_mtok=0), "tokens": 7}
    ) == {
        "cost_nano": "5",
        "prices": {"input_nano_per_mtok": str(2**60), "output_nano_per_mtok": "0"},
        "tokens": 7,
    }


def test_the_passphrase_is_never_an_option():
    def options(command, path):
        if isinstance(command, click.Group):
            for name in command.list_commands(click.Context(command)):
                yield from options(command.get_command(click.Context(command), name), (*path, name))
        for parameter in command.params:
            yield (*path, parameter.name)

    secrets = [
        option for option in options(app.cli.cli, ()) if any(word in option[-1] for word in ("passphrase", "secret"))
    ]
    assert secrets == []
