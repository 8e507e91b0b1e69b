"""Web3 Secret Storage, version 3: checking a file before trusting it with time and memory, sealing and opening keys.

Source: https://ethereum.org/en/developers/docs/data-structures-and-encoding/web3-secret-storage/.
eth-account does the cryptography; a file from outside names its own work factors, so they are bounded before it runs.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from chain.signing import address_of
from wallet.ethereum import eth_account
from wallet.wallet_error import WalletError

MAX_FILE_BYTES = 64 * 1024
SCRYPT_N = 2**18
"""The work factor of new files: about a second on a laptop."""

MAX_SCRYPT_BYTES = 512 * 1024 * 1024
"""128 · n · r is the memory that scrypt takes; geth's files need half of this."""
MAX_SCRYPT_WORK = 2**24
"""Bounds n · r · p: eight times geth's."""
MAX_PBKDF2_ROUNDS = 10_000_000

_HexWord = Annotated[str, msgspec.Meta(pattern=r"^(0x)?[0-9a-fA-F]{64}\Z")]
_Hex = Annotated[str, msgspec.Meta(pattern=r"^(0x)?([0-9a-fA-F]{2}){1,256}\Z")]
_Iv = Annotated[str, msgspec.Meta(pattern=r"^(0x)?[0-9a-fA-F]{32}\Z")]
_HexAddress = Annotated[str, msgspec.Meta(pattern=r"^(0x)?[0-9a-fA-F]{40}\Z")]
_Factor = Annotated[int, msgspec.Meta(ge=1, le=2**31)]
_Length = Annotated[int, msgspec.Meta(ge=32, le=32)]


class _CipherParams(msgspec.Struct):
    iv: _Iv


class _ScryptParams(msgspec.Struct):
    n: _Factor
    r: _Factor
    p: _Factor
    salt: _Hex
    dklen: _Length = 32


class _Pbkdf2Params(msgspec.Struct):
    c: _Factor
    prf: Literal["hmac-sha256"]
    salt: _Hex
    dklen: _Length = 32


class _Crypto(msgspec.Struct):
    cipher: Literal["aes-128-ctr"]
    cipherparams: _CipherParams
    ciphertext: _HexWord
    kdf: Literal["scrypt", "pbkdf2"]
    kdfparams: dict[str, Any]
    mac: _HexWord


class _KeyFile(msgspec.Struct):
    version: Literal[3]
    crypto: _Crypto
    address: _HexAddress | None = None


def seal_key(private_key: bytes, passphrase: str, scrypt_n: int = SCRYPT_N) -> bytes:
    """Encrypt a private key as V3 JSON. Takes about a second and some memory: keep it off the event loop."""
    return msgspec.json.encode(eth_account().encrypt(private_key, passphrase, kdf="scrypt", iterations=scrypt_n))


def open_key(data: bytes, passphrase: str) -> bytes:
    """The private key in a V3 file. Keep it off the event loop.

    Raises:
        WalletError: ``bad_keystore`` if it is no such file or names absurd work factors; ``wrong_passphrase``.
    """
    key_file = check_key_file(data)
    plain = {"version": 3, "crypto": msgspec.to_builtins(key_file.crypto)}
    try:
        private_key = bytes(eth_account().decrypt(plain, passphrase))
    except MemoryError:
        raise WalletError("Unlocking that key file takes more memory than there is.", code="bad_keystore") from None
    except (ValueError, TypeError) as error:
        # After the checks above, only a wrong message authentication code can fail here.
        if "mac" in str(error).lower():
            raise WalletError("Wrong passphrase.", code="wrong_passphrase", fix="Try again.") from None
        raise WalletError("That key file can't be opened.", code="bad_keystore") from None
    _check_address(key_file.address, private_key)
    return private_key


def check_key_file(data: bytes) -> _KeyFile:
    """Read and bound a V3 file without doing any of its work.

    Raises:
        WalletError: ``bad_keystore``.
    """
    if len(data) > MAX_FILE_BYTES:
        raise WalletError("That file is too large to be a key file.", code="bad_keystore")
    try:
        raw = msgspec.json.decode(data)
        if isinstance(raw, dict):
            # Early programs capitalized the keys of their files.
            raw = {name.lower(): value for name, value in raw.items()}
        key_file = msgspec.convert(raw, _KeyFile)
        params = key_file.crypto.kdfparams
        if key_file.crypto.kdf == "scrypt":
            _check_scrypt(msgspec.convert(params, _ScryptParams))
        else:
            _check_pbkdf2(msgspec.convert(params, _Pbkdf2Params))
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        raise WalletError("That is not a Web3 V3 key file.", code="bad_keystore") from None
    return key_file


def _check_scrypt(params: _ScryptParams) -> None:
    if params.n < 2 or params.n & (params.n - 1):
        raise WalletError("That key file's work factor is not a power of two.", code="bad_keystore")
    if 128 * params.n * params.r > MAX_SCRYPT_BYTES or params.n * params.r * params.p > MAX_SCRYPT_WORK:
        raise WalletError("That key file asks for an absurd amount of work.", code="bad_keystore")


def _check_pbkdf2(params: _Pbkdf2Params) -> None:
    if params.c > MAX_PBKDF2_ROUNDS:
        raise WalletError("That key file asks for an absurd amount of work.", code="bad_keystore")


def _check_address(claimed: str | None, private_key: bytes) -> None:
    try:
        address = address_of(private_key)
    except ValueError:
        raise WalletError("That key file holds no private key.", code="bad_keystore") from None
    if claimed is not None and bytes.fromhex(claimed.removeprefix("0x")) != address:
        raise WalletError("That key file names another address than its key has.", code="bad_keystore")
