"""What a home remembers in ``config.toml``: one declarative schema, validated on reading, comments kept on writing."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any, ClassVar, Self
from urllib.parse import urlsplit

import tomlkit
from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource
from tomlkit.exceptions import ParseError

from chain.errors import IdlewattError
from chain.money import MAX_NANO


class ConfigError(IdlewattError):
    """``config.toml`` or an ``IDLEWATT_…`` variable holds something that can't be used."""

    default_code = "bad_config"


class Config(BaseSettings):
    """Settings of one home; ``IDLEWATT_<NAME>`` variables win over the file, command-line options over both."""

    model_config = SettingsConfigDict(env_prefix="IDLEWATT_", extra="ignore", frozen=True)
    toml_path: ClassVar[Path | None] = None

    relay: str | None = None
    """The relay's websocket address."""
    chain: str | None = None
    """The rollup's RPC address."""
    model: str = "demo"
    """What ``serve`` and F3 rent out."""
    price_in_nano: int = Field(default=100_000_000, ge=0, le=MAX_NANO)
    """Nano per million input tokens."""
    price_out_nano: int = Field(default=200_000_000, ge=0, le=MAX_NANO)
    """Nano per million output tokens."""
    slots: int = Field(default=4, ge=1, le=64)
    """Requests served at once."""
    context_length: int | None = Field(default=None, ge=64)
    """Tokens of context a slot has; the model's own when absent."""
    threads: int | None = Field(default=None, ge=1, le=1024)
    """Threads of the engine; the physical cores when absent."""
    gpu_layers: int = Field(default=-1, ge=-1)
    """Layers put on the GPU; -1 for all of them."""
    keyring: bool = False
    """Whether the passphrase is looked for in the system's keyring."""
    log_level: str = Field(default="info", pattern="^(debug|info|warning|error)$")
    """The least level that reaches the log files."""

    @field_validator("relay", "chain")
    @classmethod
    def _is_an_address(cls, value: str | None, info: Any) -> str | None:
        if value is None:
            return None
        schemes = ("ws", "wss") if info.field_name == "relay" else ("http", "https")
        parts = urlsplit(value)
        if parts.scheme not in schemes or not parts.hostname:
            raise ValueError(f"should look like {schemes[0]}://host:port")
        return value.rstrip("/")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Options first, then the environment, then the file."""
        sources: tuple[PydanticBaseSettingsSource, ...] = (init_settings, env_settings)
        return (*sources, TomlConfigSettingsSource(settings_cls, cls.toml_path)) if cls.toml_path else sources

    @classmethod
    def load(cls, path: Path, **options: object) -> Self:
        """Read a home's settings; ``options`` that are not ``None`` win.

        Raises:
            ConfigError: If the file or a value can't be used; the line names which.
        """
        given = {name: value for name, value in options.items() if value is not None}
        reader = type("HomeConfig", (cls,), {"toml_path": path, "__module__": __name__})
        try:
            return reader(**given)  # type: ignore[no-any-return]
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            name = ".".join(map(str, first["loc"]))
            raise ConfigError(
                f"The setting {name} is not usable: {first['msg']}.", fix=f"Mend it in {path} or on the command line."
            ) from None
        except (ParseError, ValueError, OSError) as error:
            raise ConfigError(f"The file {path} can't be read: {error}.", fix="Mend or remove it.") from None


def remember(path: Path, **values: str | int | None) -> None:
    """Write settings into ``config.toml``, keeping what a person wrote there; ``None`` leaves a setting alone.

    Raises:
        ConfigError: If the file can't be read or written.
    """
    changes = {name: value for name, value in values.items() if value is not None}
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
