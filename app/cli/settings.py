"""``idlewatt settings``: every setting, its value, where that comes from, and what it may be."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from app.cli.common import emit, home_option, json_option, prepared_home
from app.config import Config, Given, given
from app.settings_schema import Setting, as_toml, settings_of


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One setting as it stands on this home."""

    name: str
    value: Any
    """None as well while what is set can't be used."""
    is_usable: bool = True
    origin: str
    """``default``, ``file``, ``variable`` or ``option``."""
    where: str
    """The file's path, or the variable's name; empty for a default."""
    default: Any
    bounds: str
    choices: tuple[str, ...]
    variable: str
    help: str


@click.command("settings", help="List every setting: its value, where that comes from, and what it may be.")
@home_option
@json_option
def command(home_path: str | None, as_json: bool) -> None:
    """Print the settings; what can't be used is refused after that, as every command does."""
    path = prepared_home(home_path).config_path
    found, _ = given(Config, path)
    rows = [_row(setting, found.get(setting.name)) for setting in settings_of(Config)]
    emit({"file": str(path), "settings": rows}, as_json=as_json, text="\n".join(map(_text, rows)))
    Config.load(path)


def _row(setting: Setting, entry: Given | None) -> Row:
    value, is_usable = setting.default, True
    if entry is not None:
        try:
            value = msgspec.convert(entry.value, setting.annotation, strict=False)
        except msgspec.ValidationError:
            value, is_usable = None, False  # what is wrong with it is said at the end
    return Row(
        name=setting.name,
        value=_exact(setting, value),
        is_usable=is_usable,
        origin=entry.origin if entry else "default",
        where=entry.where if entry else "",
        default=_exact(setting, setting.default),
        bounds=setting.bounds,
        choices=setting.choices,
        variable=setting.variable,
        help=setting.help.replace("``", "`"),
    )


def _exact(setting: Setting, value: Any) -> Any:
    """Money as a decimal string, since JSON numbers end at 2⁵³."""
    return str(value) if setting.name.endswith("_nano") and value is not None else value


def _text(row: Row) -> str:
    value = row.value if row.name.endswith("_nano") else as_toml(row.value)
    if not row.is_usable:
        value = "not usable"
    from_where = "the default" if row.origin == "default" else f"from {row.where}"
    return f"{row.name} = {value}  ({from_where}; {row.bounds})\n    {row.help}"
