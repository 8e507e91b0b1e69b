"""Private files: written whole or not at all, readable by their owner alone, never over another file."""

from __future__ import annotations

import errno
import os
import secrets
from pathlib import Path

from chain.file_systems import NO_LINKS
from wallet.wallet_error import WalletError


def make_private_directory(directory: Path) -> None:
    """Make a 0700 folder where there is none, its parents too.

    Raises:
        WalletError: ``disk_full`` or ``keystore_unusable``.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise file_error(error, directory) from None


def write_new_private_file(path: Path, data: bytes) -> None:
    """Write a new 0600 file and have it on the disk when this returns; a crash leaves the whole file or none.

    Raises:
        FileExistsError: If the path is taken; what is there stays.
        WalletError: ``disk_full`` or ``keystore_unusable``.
    """
    make_private_directory(path.parent)
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        try:
            _write_synced(scratch, data)
            _give_name(scratch, path)
        finally:
            scratch.unlink(missing_ok=True)
        _sync_directory(path.parent)
    except FileExistsError:
        raise
    except OSError as error:
        raise file_error(error, path) from None


def read_bounded(path: Path, limit_bytes: int) -> bytes:
    """Read a file that should be small.

    Raises:
        WalletError: ``bad_keystore`` if it is larger than the limit; ``keystore_unusable`` if it can't be read.
    """
    try:
        with path.open("rb") as file:
            data = file.read(limit_bytes + 1)
    except OSError as error:
        raise file_error(error, path) from None
    if len(data) > limit_bytes:
        raise WalletError(f"The file {path.name} is too large to be a key file.", code="bad_keystore")
    return data


def file_error(error: OSError, path: Path) -> WalletError:
    """The coded error for a file system that refused."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return WalletError("The disk is full.", code="disk_full", fix=f"Free some space on the disk that holds {path}.")
    return WalletError(
        f"The key file can't be used ({error.strerror or type(error).__name__}).",
        code="keystore_unusable",
        fix=f"Check {path} and who owns it.",
    )


def _give_name(scratch: Path, path: Path) -> None:
    """Give a finished file its name.

    Raises:
        FileExistsError: If the name is taken.
        OSError: If the file system refuses.
    """
    try:
        # A link, unlike a rename, fails where the name is taken.
        os.link(scratch, path)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        # Without links the name is taken first, with nothing in it: a crash here leaves an empty file.
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        try:
            scratch.replace(path)
        except OSError:
            path.unlink()
            raise


def _write_synced(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
