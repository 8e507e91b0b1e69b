"""The keystore: a folder of Web3 V3 files, one a wallet, that other Ethereum tools read too.

Key derivation runs in threads, so the loop never waits for it. Files are never overwritten: importing what is there
fails.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Callable
from pathlib import Path

import msgspec

from chain.signing import address_of
from wallet.account import UnlockedAccount
from wallet.addresses import checksum_address
from wallet.ethereum import eth_account
from wallet.files import file_error, make_private_directory, read_bounded, write_new_private_file
from wallet.v3 import MAX_FILE_BYTES, SCRYPT_N, check_key_file, open_key, seal_key
from wallet.wallet_error import WalletError

MNEMONIC_WORDS = (12, 15, 18, 21, 24)
MAX_ACCOUNT_INDEX = 2**31 - 1

_FILE_NAME = re.compile(r"(?:UTC--.*--)?(?:0x)?([0-9a-f]{40})(?:\.json)?", re.ASCII | re.IGNORECASE)
_PRIVATE_KEY = re.compile(r"(?:0x)?([0-9a-f]{64})", re.ASCII | re.IGNORECASE)


class KeystoreEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One wallet in the keystore, still locked."""

    address: bytes
    path: Path
    created_ms: int
    """When its file was written."""

    @property
    def address_hex(self) -> str:
        """The checksummed address."""
        return checksum_address(self.address)


class NewWallet:
    """A wallet made from fresh words; they are shown once and kept nowhere."""

    __slots__ = ("address", "mnemonic")

    def __init__(self, address: bytes, mnemonic: str) -> None:
        self.address = address
        self.mnemonic = mnemonic

    def __repr__(self) -> str:
        return f"<NewWallet {checksum_address(self.address)}>"


class Keystore:
    """Wallets under one folder.

    Args:
        directory: Where the files are; made (0700) with the first one.
        scrypt_n: The work factor of files written here; tests lower it.
    """

    def __init__(self, directory: Path, *, scrypt_n: int = SCRYPT_N) -> None:
        self._directory = directory
        self._scrypt_n = scrypt_n

    @property
    def directory(self) -> Path:
        """Where the files are."""
        return self._directory

    async def create(self, passphrase: str) -> bytes:
        """Make a wallet from fresh randomness; returns its 20-byte address.

        Raises:
            WalletError: ``empty_passphrase``, ``disk_full`` or ``keystore_unusable``.
        """
        return await self._keep(_random_key, passphrase)

    async def create_with_mnemonic(self, passphrase: str, *, words: int = 12) -> NewWallet:
        """Make a wallet from fresh BIP-39 words, which restore it anywhere (``m/44'/60'/0'/0/0``).

        Raises:
            WalletError: ``bad_mnemonic`` for an impossible number of words; as :meth:`create`.
        """
        if words not in MNEMONIC_WORDS:
            raise WalletError("A mnemonic has 12, 15, 18, 21 or 24 words.", code="bad_mnemonic")
        _check_passphrase(passphrase)
        mnemonic = await asyncio.to_thread(_fresh_mnemonic, words)
        return NewWallet(await self.import_mnemonic(mnemonic, passphrase), mnemonic)

    async def import_private_key(self, private_key: str, passphrase: str) -> bytes:
        """Keep a private key written as 64 hexadecimal digits; returns its address.

        Raises:
            WalletError: ``bad_key``, ``wallet_exists``; as :meth:`create`.
        """
        return await self._keep(lambda: _parse_private_key(private_key), passphrase)

    async def import_mnemonic(self, words: str, passphrase: str, account_index: int = 0) -> bytes:
        """Keep the wallet of BIP-39 words at ``m/44'/60'/0'/0/account_index``; returns its address.

        Raises:
            WalletError: ``bad_mnemonic``, ``wallet_exists``; as :meth:`create`.
        """
        index = _checked_index(account_index)
        return await self._keep(lambda: _mnemonic_key(words, index), passphrase)

    async def import_v3(self, data: bytes, file_passphrase: str, passphrase: str) -> bytes:
        """Keep the wallet in a V3 file, sealed again under ``passphrase``; returns its address.

        Args:
            data: The file's bytes.
            file_passphrase: Opens the file.
            passphrase: Seals it here.

        Raises:
            WalletError: ``bad_keystore``, ``wrong_passphrase``, ``wallet_exists``; as :meth:`create`.
        """
        check_key_file(data)
        return await self._keep(lambda: open_key(data, file_passphrase), passphrase)

    async def accounts(self) -> list[KeystoreEntry]:
        """The wallets here, the oldest first. Needs no passphrase.

        Raises:
            WalletError: ``keystore_unusable``.
        """
        return await asyncio.to_thread(self._list)

    async def unlock(self, address: bytes | None, passphrase: str) -> UnlockedAccount:
        """Open one wallet: the named one, or the only one.

        Raises:
            WalletError: ``no_wallet``, ``ambiguous_wallet``, ``wrong_passphrase``, ``bad_keystore``.
        """
        entry = await self._find(address)
        return await asyncio.to_thread(_unlock, entry, passphrase)

    async def export_v3(self, address: bytes | None = None) -> bytes:
        """The wallet's file as it is, still sealed under its passphrase.

        Raises:
            WalletError: ``no_wallet``, ``ambiguous_wallet`` or ``keystore_unusable``.
        """
        entry = await self._find(address)
        return await asyncio.to_thread(read_bounded, entry.path, MAX_FILE_BYTES)

    async def export_private_key(self, address: bytes | None, passphrase: str) -> str:
        """The bare key as ``0x`` hex: whoever reads it owns the money. Ask before calling.

        Raises:
            WalletError: As :meth:`unlock`.
        """
        entry = await self._find(address)
        private_key = await asyncio.to_thread(_open_entry, entry, passphrase)
        return "0x" + private_key.hex()

    async def _keep(self, make_key: Callable[[], bytes], passphrase: str) -> bytes:
        _check_passphrase(passphrase)
        return await asyncio.to_thread(self._seal, make_key, passphrase)

    def _seal(self, make_key: Callable[[], bytes], passphrase: str) -> bytes:
        private_key = make_key()
        address = address_of(private_key)
        if any(entry.address == address for entry in self._list()):
            raise _exists(address)
        make_private_directory(self._directory)
        sealed = seal_key(private_key, passphrase, self._scrypt_n)
        try:
            write_new_private_file(self._directory / f"0x{address.hex()}.json", sealed)
        except FileExistsError:
            raise _exists(address) from None
        return address

    def _list(self) -> list[KeystoreEntry]:
        entries: list[KeystoreEntry] = []
        try:
            for path in self._directory.iterdir():
                match = _FILE_NAME.fullmatch(path.name)
                if match and path.is_file():
                    created_ms = path.stat().st_mtime_ns // 1_000_000
                    entries.append(KeystoreEntry(address=bytes.fromhex(match[1]), path=path, created_ms=created_ms))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise file_error(error, self._directory) from None
        return sorted(entries, key=lambda entry: (entry.created_ms, entry.address))

    async def _find(self, address: bytes | None) -> KeystoreEntry:
        entries = await self.accounts()
        if not entries:
            raise WalletError("There is no wallet here yet.", code="no_wallet", fix="Make one: idlewatt wallet new.")
        if address is None:
            if len(entries) > 1:
                raise WalletError("There are several wallets here.", code="ambiguous_wallet", fix="Name one.")
            return entries[0]
        for entry in entries:
            if entry.address == address:
                return entry
        raise WalletError("There is no wallet with that address here.", code="no_wallet", fix="Import it first.")


def _check_passphrase(passphrase: str) -> None:
    if not passphrase.strip():
        raise WalletError("The passphrase is empty.", code="empty_passphrase", fix="Choose one you can remember.")
    if any("\ud800" <= letter <= "\udfff" for letter in passphrase):
        raise WalletError("The passphrase is not valid text.", code="empty_passphrase", fix="Type it in UTF-8.")


def _unlock(entry: KeystoreEntry, passphrase: str) -> UnlockedAccount:
    return UnlockedAccount(_open_entry(entry, passphrase))


def _open_entry(entry: KeystoreEntry, passphrase: str) -> bytes:
    _check_passphrase(passphrase)
    private_key = open_key(read_bounded(entry.path, MAX_FILE_BYTES), passphrase)
    if address_of(private_key) != entry.address:
        raise WalletError(f"The file {entry.path.name} holds another wallet's key.", code="bad_keystore")
    return private_key


def _random_key() -> bytes:
    while True:
        candidate = secrets.token_bytes(32)
        try:
            address_of(candidate)
        except ValueError:
            # One draw in 2¹²⁸ is not a valid key.
            continue
        return candidate


def _parse_private_key(text: str) -> bytes:
    match = _PRIVATE_KEY.fullmatch(text.strip())
    private_key = bytes.fromhex(match[1]) if match else b""
    try:
        address_of(private_key)
    except ValueError:
        raise WalletError("That is not a private key.", code="bad_key", fix="Give 64 hexadecimal digits.") from None
    return private_key


def _checked_index(account_index: int) -> int:
    if not 0 <= account_index <= MAX_ACCOUNT_INDEX:
        raise WalletError("That account number is out of range.", code="bad_mnemonic", fix="Use 0 for the first.")
    return account_index


def _mnemonic_key(words: str, account_index: int) -> bytes:
    account = eth_account()
    from eth_utils.exceptions import ValidationError

    cleaned = " ".join(words.lower().split())
    if len(cleaned.split(" ")) not in MNEMONIC_WORDS:
        raise WalletError("A mnemonic has 12, 15, 18, 21 or 24 words.", code="bad_mnemonic")
    try:
        return bytes(account.from_mnemonic(cleaned, account_path=f"m/44'/60'/0'/0/{account_index}").key)
    except (ValidationError, ValueError):
        # The library's message would quote the words.
        raise WalletError(
            "Those words are not a mnemonic: one is wrong or out of place.", code="bad_mnemonic", fix="Check each word."
        ) from None


def _fresh_mnemonic(words: int) -> str:
    return str(eth_account().create_with_mnemonic(num_words=words)[1])


def _exists(address: bytes) -> WalletError:
    return WalletError(f"The wallet {checksum_address(address)} is already here.", code="wallet_exists")
