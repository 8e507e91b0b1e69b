"""What a home remembers in ``config.toml``: one declarative schema, validated on reading, comments kept on writing.

Every command reads it before anything else, the terminal app before its first frame: so it loads in milliseconds, and
what only writing needs is imported on writing.
"""

from __future__ import annotations

import os
import tempfile
import tomllib
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

import msgspec

from chain.errors import IdlewattError
from node.engine.options import EngineOptions
from node.engine.protocol import EngineError
from node.hardware.availability import AvailabilityPolicy
from node.hardware.rules import AvailabilityRules, EnergyRules
from node.hardware.tariff import tariff
from node.hardware.week import HoursError

VARIABLE_PREFIX = "IDLEWATT_"
ADDRESS_SCHEMES = {"relay": ("ws", "wss"), "chain": ("http", "https"), "upstream": ("http", "https")}
Nano = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class ConfigError(IdlewattError):
    """``config.toml`` or an ``IDLEWATT_…`` variable holds something that can't be used."""

    default_code = "bad_config"


class Config(EngineOptions, frozen=True, kw_only=True):
    """Settings of one home; ``IDLEWATT_<NAME>`` variables win over the file, command-line options over both."""

    relay: str | None = None
    """The relay's websocket address."""
    chain: str | None = None
    """The rollup's RPC address."""
    model: str = "demo"
    """What ``serve`` and F3 rent out."""
    upstream: str | None = None
    """An OpenAI-compatible server to rent out instead of a file."""
    upstream_key_env: Annotated[str, msgspec.Meta(pattern="^[A-Za-z_][A-Za-z0-9_]{0,63}$")] | None = None
    """The name of the variable that holds the upstream's bearer token."""
    price_in_nano: Nano = 100_000_000
    """Nano per million input tokens."""
    price_out_nano: Nano = 200_000_000
    """Nano per million output tokens."""
    requests_per_buyer: Annotated[int, msgspec.Meta(ge=1, le=4_096)] = 4
    """With so many here already, a buyer gets no place in line."""
    model_folders: tuple[str, ...] | None = None
    """Further folders to look for models in."""
    watch: Annotated[str, msgspec.Meta(pattern="^(auto|on|off)$")] = "auto"
    """Whether a watchtower runs inside the node; ``auto`` while it has a stake, or channels that it is paid from."""
    allow_below_cost: bool = False
    """Whether a price may be below what the power for it costs."""
    energy: EnergyRules = EnergyRules()
    """What power costs."""
    availability: AvailabilityRules = AvailabilityRules()
    """When the machine is somebody else's."""
    keyring: bool = False
    """Whether the passphrase is looked for in the system's keyring."""
    log_level: Annotated[str, msgspec.Meta(pattern="^(debug|info|warning|error)$")] = "info"
    """The least level that reaches the log files."""

    def engine_options(self) -> EngineOptions:
        """The engine's part."""
        return msgspec.convert(self, EngineOptions, from_attributes=True)

    @classmethod
    def load(cls, path: Path, **options: object) -> Self:
        """Read a home's settings; ``options`` that are not ``None`` win.

        Raises:
            ConfigError: If the file or a value can't be used; the line names which.
        """
        given = {name: value for name, value in options.items() if value is not None}
        settings = {**_in_file(path), **_in_environment(cls.__struct_fields__), **given}
        try:
            for name, schemes in ADDRESS_SCHEMES.items():
                if isinstance(address := settings.get(name), str):
                    settings[name] = _address(name, address, schemes)
            # Not strict: variables are text, whatever the setting is.
            config = msgspec.convert(settings, cls, strict=False)
            tariff(config.energy.price_per_kwh, config.energy.tariff)
            AvailabilityPolicy(config.availability)
            return config
        except EngineError as error:
            raise ConfigError(f"A setting is not usable: {error.message}", fix=f"Mend it in {path}.") from None
        except HoursError as error:
            raise ConfigError(error.message, fix=f"{error.fix} It stands in {path}.") from None
        except msgspec.ValidationError as error:
            said, _, place = str(error).partition(" - at `$.")
            raise ConfigError(
                f"The setting {place.rstrip('`')} is not usable: {said}.",
                fix=f"Mend it in {path} or on the command line.",
            ) from None


def _in_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(), parse_float=Decimal)  # a price is what is written, not the nearest float
    except FileNotFoundError:
        return {}
    except (ValueError, OSError) as error:
        raise ConfigError(f"The file {path} can't be read: {error}.", fix="Mend or remove it.") from None


def _in_environment(names: tuple[str, ...]) -> Mapping[str, str]:
    variables = {name: os.environ.get(f"{VARIABLE_PREFIX}{name.upper()}") for name in names}
    return {name: value for name, value in variables.items() if value is not None}


def _address(name: str, value: str, schemes: tuple[str, ...]) -> str:
    wrong = msgspec.ValidationError(f"Should look like {schemes[0]}://host:port - at `$.{name}`")
    try:
        parts = urlsplit(value)
    except ValueError:
        raise wrong from None
    if parts.scheme not in schemes or not parts.hostname:
        raise wrong
    return value.rstrip("/")


def remember(path: Path, **values: str | int | None) -> None:
    """Write settings into ``config.toml``, keeping what a person wrote there; ``None`` leaves a setting alone.

    Raises:
        ConfigError: If the file can't be read or written.
    """
    changes = {name: value for name, value in values.items() if value is not None}
    if not changes:
        return
    import tomlkit
    from tomlkit.exceptions import ParseError

    try:
        document = tomlkit.parse(path.read_text()) if path.exists() else tomlkit.document()
        if all(document.get(name) == value for name, value in changes.items()):
            return
        document.update(changes)
        _replace(path, tomlkit.dumps(document))
    except (OSError, ParseError) as error:
        raise ConfigError(f"The file {path} can't be written: {error}.", fix="Mend its rights or its text.") from None


def _replace(path: Path, text: str) -> None:
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".config-", delete=False) as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    Path(handle.name).replace(path)
