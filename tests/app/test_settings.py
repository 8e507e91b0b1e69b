"""Settings are declared once: options, variables, help and the list follow from the declaration."""

import ast
import json
import tomllib
from pathlib import Path

import click
import msgspec
import pytest

import app
from app.cli import run
from app.cli.serve import command as serve
from app.config import Config
from app.settings_schema import Setting, as_toml, settings_of
from node.engine.options import EngineOptions
from node.hardware.rules import AvailabilityRules, EnergyRules
from node.runtime.settings import NodeSettings

SETTINGS = settings_of(Config)
HOLDERS = {NodeSettings, EngineOptions, EnergyRules, AvailabilityRules, Config}
OTHER_THINGS = {("Demo", "relay")}
"""Fields of the app that are called like a setting and hold something else: here a process."""
BUYERS = {"chat.py", "market.py"}
"""Their ``--model`` is the one to buy from."""
APP = Path(app.__file__).parent


def setting(name: str) -> Setting:
    return next(found for found in SETTINGS if found.name == name)


def trees():
    for path in sorted(APP.rglob("*.py")):
        yield path, ast.parse(path.read_text())


def test_every_setting_has_one_name_one_variable_one_option_and_help():
    for what in (lambda s: s.name, lambda s: s.variable, lambda s: s.option):
        assert len({what(found) for found in SETTINGS}) == len(SETTINGS)
    assert [found.name for found in SETTINGS if not found.help or not found.bounds] == []


def test_every_field_of_the_declaring_structs_is_a_setting():
    declared = {(holder, name) for holder in HOLDERS for name in holder.__struct_fields__}
    sections = {(holder, name) for holder in (NodeSettings, Config) for name in ("energy", "availability")}
    found = {(found.holder, found.field) for found in SETTINGS}
    inherited = {(holder, name) for holder in (NodeSettings, EngineOptions) for name in holder.__struct_fields__}
    assert found == declared - sections - inherited


def test_no_class_of_the_app_declares_a_setting_again():
    names = {found.field for found in SETTINGS}
    again = [
        (described.name, field.target.id)
        for _, tree in trees()
        for described in ast.walk(tree)
        if isinstance(described, ast.ClassDef)
        for field in described.body
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and field.target.id in names
    ]
    assert set(again) - OTHER_THINGS == {("Config", "keyring"), ("Config", "log_level")}


def test_no_command_declares_a_settings_option_again():
    options = {found.option for found in SETTINGS}
    again = [
        (path.name, call.args[0].value)
        for path, tree in trees()
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        and ast.unparse(call.func) == "click.option"
        and isinstance(call.args[0], ast.Constant)
        and call.args[0].value in options
        # Those of the group take their help from the declaration, late.
        and "LateHelp" not in ast.unparse(call)
        and not (call.args[0].value == "--model" and path.name in BUYERS)
    ]
    assert again == []


def test_every_setting_is_used():
    used = {
        node.attr
        for folder in ("app", "node")
        for path in (APP.parent / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
    }
    assert {found.field for found in SETTINGS} - used == set()


def test_serve_has_an_option_for_every_setting_above_the_sections():
    offered = {name for option in serve.params for name in option.opts}
    wanted = {found.option for found in SETTINGS if not found.section and not isinstance(found.default, tuple)}
    assert wanted <= offered


@pytest.mark.parametrize(
    ("arguments", "name", "value"),
    [
        (["--price-in", "0.25"], "price_in_nano", 250_000_000),
        (["--min-deposit", "0.01"], "min_deposit_nano", 10_000_000),
        (["--slots", "7"], "slots", 7),
        (["--share-prefixes"], "share_prefixes", True),
        (["--no-share-prefixes"], "share_prefixes", False),
        (["--allow-loss"], "allow_below_cost", True),
        (["--name", "my-model"], "model_name", "my-model"),
        (["--watch", "off"], "watch", "off"),
        ([], "slots", None),
    ],
)
def test_an_option_is_read_as_its_setting(arguments, name, value):
    with serve.make_context("serve", list(arguments)) as context:
        assert context.params[name] == value


@pytest.mark.parametrize(
    "arguments", [["--slots", "65"], ["--kv-type", "q5"], ["--main-gpu", "16"], ["--credit-tokens", "0"]]
)
def test_an_option_outside_the_declared_bounds_is_wrong_usage(arguments):
    with pytest.raises(click.UsageError):
        serve.make_context("serve", list(arguments))


def test_help_says_the_declaration(capsys):
    assert run(["serve", "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "--slots INTEGER RANGE Requests served at once. [default: 4] [1<=x<=64]" in shown
    assert "--price-in DOLLARS What a million input tokens cost" in shown
    assert "[default: 0.10]" in shown
    assert "--watch [auto|on|off]" in shown
    assert "``" not in shown


def test_bounds_are_said_in_words():
    said = {name: setting(name).bounds for name in ("slots", "gpu_layers", "watch", "keyring", "relay", "main_gpu")}
    assert said == {
        "slots": "1 to 64",
        "gpu_layers": "-1 to 10,000",
        "watch": "auto, on or off",
        "keyring": "true or false",
        "relay": "like ws://host:port",
        "main_gpu": "0 to 15",
    }
    assert setting("min_deposit_nano").bounds == "nano (billionths of a dollar), at least 0"
    assert setting("availability.pause_for").bounds == "a list of up to 64"


def test_a_value_is_shown_as_the_file_has_it():
    assert [as_toml(value) for value in (None, True, 3, 0.5, 'a "b"', ("x", "y"))] == [
        "not set",
        "true",
        "3",
        "0.5",
        r'"a \"b\""',
        '["x", "y"]',
    ]


def rows(capsys, home: Path) -> dict[str, dict]:
    run(["settings", "--json", "--home", str(home)])
    return {row["name"]: row for row in json.loads(capsys.readouterr().out)["settings"]}


def test_the_list_says_each_value_and_where_it_comes_from(tmp_path, capsys, monkeypatch):
    (tmp_path / "config.toml").write_text("slots = 2\nthreads = 3\nprice_in_nano = 5\n[energy]\nprice_per_kwh = 0.31\n")
    monkeypatch.setenv("IDLEWATT_THREADS", "9")

    shown = rows(capsys, tmp_path)

    assert list(shown) == [found.name for found in SETTINGS]
    assert (shown["slots"]["value"], shown["slots"]["origin"]) == (2, "file")
    assert shown["slots"]["where"] == str(tmp_path / "config.toml")
    assert (shown["threads"]["value"], shown["threads"]["origin"]) == (9, "variable")
    assert shown["threads"]["where"] == "IDLEWATT_THREADS"
    assert (shown["model"]["value"], shown["model"]["origin"]) == ("demo", "default")
    assert shown["price_in_nano"]["value"] == "5"
    assert shown["energy.price_per_kwh"]["value"] == "0.31"
    assert shown["kv_type"]["choices"] == ["f16", "q8_0", "q4_0"]
    assert shown["slots"]["help"] == "Requests served at once."


def test_the_list_is_shown_although_a_setting_is_not_usable(tmp_path, capsys):
    (tmp_path / "config.toml").write_text("slots = 99\nmodel = 'mine'\nprice_out = 1\n")

    assert run(["settings", "--home", str(tmp_path)]) == 1
    captured = capsys.readouterr()

    assert "slots = not usable" in captured.out
    assert 'model = "mine"' in captured.out
    assert "unknown setting `price_out`. Did you mean `price_out_nano`?" in captured.err


def test_the_list_of_an_untouched_home_is_the_defaults(tmp_path, capsys):
    shown = rows(capsys, tmp_path)
    assert {row["origin"] for row in shown.values()} == {"default"}
    defaults = msgspec.to_builtins(Config())
    assert shown["slots"]["value"] == defaults["slots"]
    assert shown["availability.foreign_gpu_percent"]["value"] == defaults["availability"]["foreign_gpu_percent"]


@pytest.mark.parametrize("value", ["a\x1b]0;x\x07", "\x9b31m", "a\u202eb", "\U000e0041"])
def test_a_value_is_written_so_that_no_terminal_obeys_it_and_toml_reads_it_back(value):
    written = as_toml(value)

    assert written.isprintable()
    assert tomllib.loads(f"value = {written}")["value"] == value
