"""``config.toml`` as a file: read as people's editors leave it, and written without losing what a person wrote."""

from __future__ import annotations

import codecs
import os
import stat
import tempfile
import tomllib
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from chain.errors import IdlewattError
from node.values.text import plain

MAX_FILE_BYTES = 1 << 20
MAX_SHOWN_CHARS = 4096 + 1000
"""Of an error's line: a path and what is wrong with it."""
_LOOKED_AT_BYTES = 4096


class ConfigError(IdlewattError):
    """``config.toml``, an ``IDLEWATT_…`` variable or an option holds something that can't be used."""

    default_code = "bad_config"

    def __init__(self, message: str, *, fix: str = "") -> None:
        # It repeats what stands in a file or a variable, which may hold a terminal's control sequences.
        super().__init__(plain(message, MAX_SHOWN_CHARS), fix=plain(fix, MAX_SHOWN_CHARS))


def read_toml(path: Path, max_bytes: int = MAX_FILE_BYTES) -> dict[str, Any]:
    """What the file holds, empty where there is none; a byte order mark and CRLF are taken.

    Raises:
        ConfigError: If it can't be read, is too large, is not UTF-8 or not TOML.
    """
    try:
        _, text = _text(path, max_bytes)
        # A price is what is written, not the nearest float.
        return tomllib.loads(text.replace("\r\n", "\n"), parse_float=Decimal)
    except (FileNotFoundError, NotADirectoryError):
        return {}  # where a file stands in the home's way, whoever needs the home says so
    except (ValueError, ArithmeticError, RecursionError, OSError) as error:
        raise ConfigError(f"The file {path} can't be read: {_reason(error)}.", fix="Mend or remove it.") from None


def update_toml(path: Path, changes: Mapping[str, str | int], max_bytes: int = MAX_FILE_BYTES) -> None:
    """Set keys, and keep comments, order, line ends and the byte order mark as they are.

    Raises:
        ConfigError: If the file can't be read or written.
    """
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        mark, text = _text_if_any(path, max_bytes)
        document = tomlkit.parse(text)
        if all(document.get(name) == value for name, value in changes.items()):
            return
        for name, value in changes.items():
            item = tomlkit.item(value)
            if "\r\n" in text:
                item.trivia.trail = "\r\n"
            above = _above_first_section(tomlkit.dumps(document), f"{name} = {item.as_string()}{item.trivia.trail}")
            if name not in document and above:
                document = tomlkit.parse(above)
            else:
                document[name] = item
        _replace(path, mark + tomlkit.dumps(document).encode())
    except (ValueError, RecursionError, OSError, TOMLKitError) as error:
        raise ConfigError(
            f"The file {path} can't be written: {_reason(error)}.", fix="Mend its rights or its text."
        ) from None


def _above_first_section(text: str, line: str) -> str:
    """The text with a new key's line before the comments of the first section, empty where there are none.

    tomlkit would put it between those comments and the section that they are about.
    """
    lines = text.splitlines(keepends=True)
    header = next((number for number, one in enumerate(lines) if one.lstrip().startswith("[")), 0)
    at = header
    while at and lines[at - 1].lstrip().startswith("#"):
        at -= 1
    if at == header:
        return ""
    while at and not lines[at - 1].strip():
        at -= 1
    new = "".join([*lines[:at], line, *([] if at else [line[len(line.rstrip()) :]]), *lines[at:]])
    # What looks like a section may stand inside of a value.
    try:
        is_right = tomllib.loads(new) == tomllib.loads(text) | tomllib.loads(line)
    except ValueError:
        is_right = False
    return new if is_right else ""


def _text(path: Path, max_bytes: int) -> tuple[bytes, str]:
    """The byte order mark, if there is one, and the text behind it."""
    # Asked before it is opened: to open a pipe waits until somebody writes into it.
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("it is no file")
    with path.open("rb") as file:
        raw = file.read(max_bytes + 1)
    if len(raw) > max_bytes:
        raise ValueError(f"it has more than {max_bytes:,} bytes")
    mark = codecs.BOM_UTF8 if raw.startswith(codecs.BOM_UTF8) else b""
    # TOML has no NUL; in the other encodings every second byte or more of plain text is one.
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in raw[:_LOOKED_AT_BYTES]:
        raise ValueError("it is not UTF-8 text but UTF-16 or UTF-32: save it as UTF-8")
    return mark, raw.removeprefix(mark).decode("utf-8")


def _text_if_any(path: Path, max_bytes: int) -> tuple[bytes, str]:
    try:
        return _text(path, max_bytes)
    except FileNotFoundError:
        return b"", ""


def _reason(error: Exception) -> str:
    match error:
        case UnicodeDecodeError():
            return f"it is not UTF-8 text (byte {error.start})"
        case OSError():
            return error.strerror or str(error)
        case RecursionError():
            return "it is nested too deeply"
        case _:
            return str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__


def _replace(path: Path, content: bytes) -> None:
    """Put a file in its place whole; where a link leads elsewhere, there."""
    place = Path(os.path.realpath(path))
    with tempfile.NamedTemporaryFile("wb", dir=place.parent, prefix=".config-", delete=False) as handle:
        try:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
            Path(handle.name).replace(place)
        except BaseException:
            Path(handle.name).unlink(missing_ok=True)
            raise
