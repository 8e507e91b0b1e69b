"""What a home's ``config.toml``, variables and options say, read into the settings as they are declared.

Every command reads it before anything else, the terminal app before its first frame: so it loads in milliseconds, and
what only writing needs is imported on writing.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, Self

import msgspec

from app.settings_schema import Setting, settings_of
from app.toml_file import ConfigError, read_toml, update_toml
from app.variables import OTHER_VARIABLES, PREFIX
from chain.errors import IdlewattError
from node.runtime.settings import NodeSettings

__all__ = ["Config", "ConfigError", "Given", "given", "remember"]

RENAMED: Mapping[str, str] = {"manners": "availability"}
"""Keys of earlier versions, and what they are called now."""
SECRETS = ("_KEY", "_TOKEN", "_SECRET")
"""How variables end that may hold the upstream's bearer token: any name is right for one."""
NEAR_KEY = 0.6
NEAR_VARIABLE = 0.75
"""How alike a variable must be to a known one to be taken for a mistake: others belong to other programs."""
MAX_SHOWN = 64


class Config(NodeSettings, frozen=True, kw_only=True):
    """Settings of one home: the node's, and what the commands themselves read."""

    keyring: bool = False
    """Whether the passphrase is looked for in the system's keyring."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The lowest level that is written to the log files."""

    @classmethod
    def load(cls, path: Path, **options: object) -> Self:
        """Read a home's settings; variables win over the file, and ``options`` that are not ``None`` over both.

        Args:
            path: The file; it may be missing.
            options: Settings by name, ``section.key`` in a section.

        Raises:
            ConfigError: If the file or a value can't be used; the line names which, and where to mend it.
        """
        found, problems = given(cls, path, **options)
        if problems:
            raise problems[0]
        try:
            # Not strict: variables are text, whatever the setting is.
            return msgspec.convert(_nested(found), cls, strict=False)
        except IdlewattError as error:
            # A struct's own check of what doesn't fit together. Not every message names the settings.
            named = {entry.where for name, entry in found.items() if name.rpartition(".")[2] in error.message}
            places = named or {entry.where for entry in found.values()}
            raise ConfigError(error.message, fix=f"{error.fix} See {', '.join(sorted(places))}.".lstrip()) from None
        except msgspec.ValidationError as error:
            raise _unusable(str(error), cls, found, path) from None


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody set."""

    value: Any
    origin: Literal["file", "variable", "option"]
    where: str
    """The file's path, or the name of the variable or option."""


def given(
    holder: type[msgspec.Struct], path: Path, **options: object
) -> tuple[dict[str, Given], tuple[ConfigError, ...]]:
    """What file, variables and options set, by the names of settings, not checked; and what of it is no setting."""
    declared = {setting.name: setting for setting in settings_of(holder)}
    found: dict[str, Given] = {}
    problems: list[ConfigError] = []
    try:
        data = read_toml(path)
    except ConfigError as error:
        data = {}
        problems.append(error)
    for section, key, value in _flat(data, {name.rpartition(".")[0] for name in declared}):
        name = _name(section, key)
        # A key in quotes may hold a dot, and then looks like a key in a section.
        if name in declared and "." not in key:
            found[name] = Given(value=value, origin="file", where=str(path))
        else:
            problems.append(_unknown(section, key, tuple(declared), path))
    for name, setting in declared.items():
        if (text := os.environ.get(setting.variable)) is not None:
            try:
                found[name] = Given(value=_written(setting, text), origin="variable", where=setting.variable)
            except ConfigError as error:
                problems.append(error)
    for name, value in options.items():
        if value is not None:
            where = declared[name].option
            readable = _as_text(value) if isinstance(value, str) else value
            found[name] = Given(value=readable, origin="option", where=where)
            if readable is None:
                problems.append(_no_text(name, where))
    problems += _unknown_variables(declared, found.get("upstream_key_env"))
    return found, tuple(problems)


def remember(path: Path, **values: str | int | None) -> None:
    """Write settings into ``config.toml``, keeping what a person wrote there; ``None`` leaves a setting alone.

    Raises:
        ConfigError: If the file can't be read or written.
    """
    changes = {name: value for name, value in values.items() if value is not None}
    if changes:
        update_toml(path, changes)


def _flat(data: Mapping[str, Any], sections: set[str], section: str = "") -> Iterator[tuple[str, str, Any]]:
    """Section, key and value of what stands below a table; what stands where a section belongs is one of its own."""
    for key, value in data.items():
        name = _name(section, key)
        if name in sections and "." not in key and isinstance(value, dict):
            yield from _flat(value, sections, name)
        else:
            yield section, key, value


def _name(section: str, key: str) -> str:
    return f"{section}.{key}" if section else key


def _written(setting: Setting, text: str) -> Any:
    """A variable's value: text, which becomes what the setting is; a list is written as in the file."""
    readable = _as_text(text)
    if readable is None:
        raise _no_text(setting.name, setting.variable)
    text = readable
    if not isinstance(setting.default, tuple):
        return text
    try:
        return tomllib.loads(f"value = {text}", parse_float=Decimal)["value"]
    except (ValueError, ArithmeticError, RecursionError):
        raise ConfigError(
            f"The setting {setting.name} is not usable: {setting.variable} holds no list.",
            fix='Write it as in the file: ["one", "two"].',
        ) from None


def _as_text(value: str) -> str | None:
    """A variable or option as UTF-8, whatever the locale took its bytes for; ``None`` where they are anything else."""
    try:
        return os.fsencode(value).decode()
    except UnicodeError:
        return value if _is_text(value) else None


def _is_text(value: str) -> bool:
    """Whether no byte of it was taken for half a character."""
    return not any("\ud800" <= character <= "\udfff" for character in value)


def _no_text(name: str, where: str) -> ConfigError:
    return ConfigError(f"The setting {name} is not usable: {where} is not UTF-8 text.", fix=f"Mend {where}.")


def _nested(found: Mapping[str, Given]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, entry in found.items():
        *sections, key = name.split(".")
        table = tree
        for section in sections:
            table = table.setdefault(section, {})
        table[key] = entry.value
    return tree


def _unknown(section: str, key: str, known: tuple[str, ...], path: Path) -> ConfigError:
    sections = sorted({other.rpartition(".")[0] for other in known} - {""})
    if not section and key in sections:
        return ConfigError(f"The setting {key} is not usable: it is a section.", fix=f"Write [{key}] in {path}.")
    shown = f"`{_shown(key)}`" + (f" in [{_shown(section)}]" if section else "")
    return ConfigError(f"The file {path} has an unknown setting {shown}.", fix=_closest(section, key, known, sections))


def _closest(section: str, key: str, known: tuple[str, ...], sections: list[str]) -> str:
    if not section and (renamed := RENAMED.get(key)) is not None:
        return f"It is called `{renamed}` now."
    word = key.lower().replace("-", "_")
    if not section and "." in word and word in known:
        return f"`{word.rpartition('.')[2]}` belongs into [{word.rpartition('.')[0]}]."
    beside = [other.rpartition(".")[2] for other in known if other.rpartition(".")[0] == section]
    if near := _near(word, beside + (sections if not section else []), NEAR_KEY):
        return f"Did you mean `{near}`?"
    for other in known:
        place, _, end = other.rpartition(".")
        if end == word:
            return f"`{end}` belongs into [{place}]." if place else f"`{end}` belongs above the first section."
    return "Remove it, or update Idlewatt if a newer one wrote it; `idlewatt settings` lists what this one knows."


def _unknown_variables(declared: Mapping[str, Setting], key_variable: Given | None) -> Iterator[ConfigError]:
    known = {setting.variable for setting in declared.values()} | OTHER_VARIABLES
    for name in sorted(os.environ):
        is_named = key_variable is not None and key_variable.value == name
        if not name.startswith(PREFIX) or name in known or name.endswith(SECRETS) or is_named:
            continue
        endings = [other.removeprefix(PREFIX) for other in known]
        if near := _near(name.removeprefix(PREFIX), endings, NEAR_VARIABLE):
            yield ConfigError(
                f"The variable {_shown(name)} is no setting.", fix=f"Did you mean {PREFIX}{near}? Else unset it."
            )


def _unusable(said: str, holder: type[msgspec.Struct], found: Mapping[str, Given], path: Path) -> ConfigError:
    """What is wrong, in words that repeat no value: a variable may hold a secret by mistake."""
    said, _, place = said.partition(" - at `$.")
    name = re.sub(r"\[\d*\].*", "", place.rstrip("`"))
    setting = next((setting for setting in settings_of(holder) if setting.name == name), None)
    if setting is not None:
        unknown = re.search("unknown field `(.*)`", said)
        if unknown:
            near = _near(unknown[1], setting.item_keys, NEAR_KEY)
            said = f"It has an unknown setting `{_shown(unknown[1])}`" + (f", did you mean `{near}`" if near else "")
        elif setting.choices:
            said = f"It is {setting.bounds}"
        elif setting.example and "regex" in said:
            said = f"Should look like {setting.example}"
    entry = found.get(name)
    where = f"it in {path}" if entry is None or entry.origin == "file" else f"the {entry.origin} {entry.where}"
    return ConfigError(f"The setting {name} is not usable: {said}.", fix=f"Mend {where}.")


def _near(word: str, known: Iterable[str], likeness: float) -> str:
    """The known word that is closest, empty if none is."""
    import difflib  # only what is refused needs it

    return next(iter(difflib.get_close_matches(word, list(known), 1, likeness)), "")


def _shown(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text[:MAX_SHOWN])
