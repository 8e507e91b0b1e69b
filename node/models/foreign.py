"""Says what a file is that should have been a GGUF model and isn't: a browser, git or a tracker brought it."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Final

from node.models.model_error import TO_WHOLE_FILE, ModelError, printable

HEAD_BYTES: Final = 256
_CONVERT: Final = "Convert it to GGUF with llama.cpp's scripts, or choose a GGUF file of it on the hub."
_FROM_A_PAGE: Final = "Download the file itself: `idlewatt models pull OWNER/NAME` does, and a page's download button."
_BEGINNINGS: Final[tuple[tuple[bytes, str, str], ...]] = (
    (
        b"version https://git-lfs.github.com/spec/",
        "a Git LFS pointer: git brought the model's address instead of the model",
        "Run `git lfs pull` in its folder, or pull it with `idlewatt models pull OWNER/NAME`.",
    ),
    (b"<!doctype html", "a web page", _FROM_A_PAGE),
    (b"<html", "a web page", _FROM_A_PAGE),
    (b"<?xml", "an error page of a server, in XML", _FROM_A_PAGE),
    (b"{", "JSON text, such as a server's error", _FROM_A_PAGE),
    (b"pk\x03\x04", "a zip archive, or PyTorch's weights", f"Unpack it. {_CONVERT}"),
    (b"\x1f\x8b", "a gzip archive", "Unpack it."),
    (b"\xfd7zxz", "an xz archive", "Unpack it."),
    (b"(\xb5/\xfd", "a zstd archive", "Unpack it."),
    (b"7z\xbc\xaf", "a 7z archive", "Unpack it."),
    (b"lmgg", "a model in llama.cpp's format of 2023 (GGML)", _CONVERT),
    (b"fmgg", "a model in llama.cpp's format of 2023 (GGMF)", _CONVERT),
    (b"tjgg", "a model in llama.cpp's format of 2023 (GGJT)", _CONVERT),
    (b"algg", "an adapter in llama.cpp's format of 2023 (GGLA)", _CONVERT),
    (bytes(16), "empty at its beginning: a download reserved the room, and never brought the bytes", TO_WHOLE_FILE),
)
"""How it begins in lower case, what it is, and what to do."""


def no_gguf(head: bytes, shown: str) -> ModelError:
    """What to raise of a file that doesn't begin as a GGUF does.

    Args:
        head: Its first bytes, up to `HEAD_BYTES`.
        shown: Its name, as it may stand in a message.
    """
    if not head:
        return ModelError(f"{shown} is not a GGUF model file: it is empty.", fix=TO_WHOLE_FILE)
    begin = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    what, fix = next(
        ((what, fix) for mark, what, fix in _BEGINNINGS if begin.startswith(mark)),
        (_other(head), "Choose a file in GGUF format."),
    )
    about = f": it is {what}" if what else ""
    return ModelError(f"{shown} is not a GGUF model file{about}.", fix=fix)


def _other(head: bytes) -> str:
    if len(head) > 9 and head[8:10] == b'{"':
        return "a safetensors file"
    text = head.removesuffix(b"\n").decode("utf-8", "replace")
    return f"text that begins {printable(text, 40)!r}" if text.isprintable() else ""


def no_file(path: Path) -> ModelError:
    """What to raise of a path at which there is no ordinary file.

    Raises:
        OSError: If it can't be looked at.
    """
    shown, why = printable(path.name), ""
    try:
        mode = path.stat().st_mode
        kinds = (
            (stat.S_ISDIR, "a folder"),
            (stat.S_ISFIFO, "a pipe"),
            (stat.S_ISSOCK, "a socket"),
            (stat.S_ISBLK, "a device"),
            (stat.S_ISCHR, "a device"),
        )
        why = next((f": it is {kind}" for test, kind in kinds if test(mode)), "")
    except (FileNotFoundError, NotADirectoryError):
        why = ": it is a link to a file that is gone" if path.is_symlink() else ""
    except (RuntimeError, OSError):  # Python 3.12 and older raise the first for links in a circle
        if not path.is_symlink():
            raise
        why = ": it is a link that leads in a circle"
    return ModelError(f"There is no model file {shown}{why}.", fix="Check the path.")
