"""Options of commands that set settings: their names, types, bounds and help are those of the declaration."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import click
from msgspec import inspect as types

from app.cli.dollars import Dollars
from app.config import Config
from app.settings_schema import Setting, as_toml, settings_of
from chain.money import format_usd

Command = Callable[..., Any]

SHORT = {"allow_below_cost": "--allow-loss", "model_name": "--name"}
"""Names that are shorter than the setting's own, and taken as well."""


class SettingOption(click.Option):
    """An option whose help is the setting's docstring, read from the source only when it is shown."""

    def __init__(self, param_decls: Sequence[str] | None = None, *, setting: Setting, **attributes: Any) -> None:
        super().__init__(param_decls, type=_type(setting), **attributes)
        self.setting = setting

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """What ``--help`` shows."""
        self.help = help_text(self.setting)
        return super().get_help_record(ctx)


def declared(name: str) -> Setting:
    """A setting by its name."""
    return next(setting for setting in settings_of(Config) if setting.name == name)


def help_text(setting: Setting) -> str:
    """What ``--help`` says about it."""
    said = setting.help.replace("``", "")
    return said if setting.default in {None, ""} else f"{said}  [default: {_default(setting)}]"


def setting_option(name: str, option: str = "") -> Callable[[Command], Command]:
    """Give a command the option of one setting; its parameter has the setting's name.

    Where the option isn't given its value is ``None``: the file and the variables decide.

    Args:
        name: The setting's name.
        option: What the option is called, where that isn't the setting's own option.
    """
    setting = declared(name)
    names = [option or setting.option]
    if isinstance(setting.type, types.BoolType):
        names = [f"{setting.option}/--no-{setting.option.removeprefix('--')}"]
    if name in SHORT:
        names.append(SHORT[name])
    return click.option(*names, name, cls=SettingOption, setting=setting, default=None)


def setting_options(command: Command) -> Command:
    """Give a command an option for every setting above the first section; its parameter ``settings`` holds them all.

    Lists are left out: they stand in the file.
    """
    names = [s.name for s in settings_of(Config) if not s.section and not isinstance(s.default, tuple)]

    @functools.wraps(command)
    def run(*args: Any, **given: Any) -> Any:
        chosen = {name: given.pop(name) for name in names}
        return command(*args, settings=chosen, **given)

    wrapped: Command = run
    for name in reversed(names):
        wrapped = setting_option(name)(wrapped)
    return wrapped


def _type(setting: Setting) -> click.ParamType[Any]:
    if setting.choices:
        return click.Choice(setting.choices)
    match setting.type:
        case types.BoolType():
            return click.BOOL
        case types.IntType() if setting.name.endswith("_nano"):
            return Dollars()
        case types.IntType() as info:
            return click.IntRange(info.ge, info.le if info.lt is None else info.lt - 1)
        case types.FloatType() as info:
            return click.FloatRange(info.ge, info.le)
    return click.STRING


def _default(setting: Setting) -> str:
    if setting.name.endswith("_nano"):
        return format_usd(setting.default).removeprefix("$")
    return as_toml(setting.default).strip('"')
