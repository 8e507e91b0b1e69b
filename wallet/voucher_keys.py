"""Hot voucher keys on disk, so that a channel goes on working while its wallet is locked.

A file here can lose one channel's deposit. It can always be derived again from the wallet, so losing it loses nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from pathlib import Path

from wallet.account import VoucherKey
from wallet.files import file_error, read_bounded, write_new_private_file
from wallet.wallet_error import WalletError

_FILE_NAME = re.compile(r"0x([0-9a-f]{40})\.key", re.ASCII)
_FILE_BYTES = 65
"""64 hexadecimal digits and a newline."""


class VoucherKeyStore:
    """Voucher keys under one folder (``keystore/hot`` in a home), one 0600 file each."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def save(self, key: VoucherKey) -> None:
        """Keep a key; harmless when it is there already.

        Raises:
            WalletError: ``disk_full`` or ``keystore_unusable``.
        """
        await asyncio.to_thread(self._save, key)

    async def load(self, signer: bytes) -> VoucherKey:
        """The key of one ``signer`` address.

        Raises:
            WalletError: ``no_voucher_key`` if it isn't here; ``bad_keystore`` if its file is damaged.
        """
        return await asyncio.to_thread(self._load, signer)

    async def remove(self, signer: bytes) -> None:
        """Delete the key of a closed channel; harmless when it is gone already.

        Raises:
            WalletError: ``keystore_unusable``.
        """
        await asyncio.to_thread(self._remove, signer)

    async def signers(self) -> list[bytes]:
        """The addresses of the keys here, in order.

        Raises:
            WalletError: ``keystore_unusable``.
        """
        return await asyncio.to_thread(self._signers)

    def _path(self, signer: bytes) -> Path:
        return self._directory / f"0x{signer.hex()}.key"

    def _save(self, key: VoucherKey) -> None:
        try:
            write_new_private_file(self._path(key.address), key.reveal().hex().encode() + b"\n")
        except FileExistsError:
            self._load(key.address)

    def _load(self, signer: bytes) -> VoucherKey:
        path = self._path(signer)
        if not path.exists():
            raise WalletError(
                "The channel's voucher key is not here.", code="no_voucher_key", fix="Unlock the wallet to derive it."
            )
        text = read_bounded(path, _FILE_BYTES)
        key: VoucherKey | None = None
        with contextlib.suppress(ValueError, WalletError):
            key = VoucherKey(bytes.fromhex(text.decode("ascii").strip()))
        if key is None or key.address != signer:
            raise WalletError(
                f"The voucher key file {path.name} is damaged.",
                code="bad_keystore",
                fix="Delete it; the wallet derives it again.",
            )
        return key

    def _remove(self, signer: bytes) -> None:
        try:
            self._path(signer).unlink(missing_ok=True)
        except OSError as error:
            raise file_error(error, self._path(signer)) from None

    def _signers(self) -> list[bytes]:
        try:
            matches = [_FILE_NAME.fullmatch(path.name) for path in self._directory.iterdir()]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise file_error(error, self._directory) from None
        return sorted(bytes.fromhex(match[1]) for match in matches if match)
