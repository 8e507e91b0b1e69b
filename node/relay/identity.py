"""A relay's own key: made once, kept in a file, so that nodes meet the same relay after a restart."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from nacl.signing import SigningKey

from node.relay.circuit import RelayError

_FILE_NAME: Final = "relay.key"
_SEED_BYTES: Final = 32


def load_identity(directory: Path) -> SigningKey:
    """Read the relay's Ed25519 key, or make one and keep it (file 0600, folder 0700). Blocks.

    Args:
        directory: Where ``relay.key`` lies: the key's 32-byte seed and nothing else.

    Raises:
        RelayError: ``key_damaged`` if the file has another length, ``home_unwritable`` if it can't be read or written.
    """
    path = directory / _FILE_NAME
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.exists():
            seed = path.read_bytes()
            if len(seed) != _SEED_BYTES:
                raise RelayError(f"The relay's key file {path} is damaged.", code="key_damaged", fix="Remove it.")
            return SigningKey(seed)
        key = SigningKey.generate()
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(bytes(key))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise RelayError(
            f"The relay's key can't be kept in {directory} ({error.strerror}).",
            code="home_unwritable",
            fix="Check the directory's rights and free space.",
        ) from None
    return key
