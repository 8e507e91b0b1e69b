"""The devnet's directory: its lock, its operator's key, and the deployment that it keeps."""

from __future__ import annotations

import fcntl
import os
import secrets
import tempfile
from pathlib import Path

import msgspec

from chain.errors import IdlewattError
from chain.l1.protocol import Deployment
from chain.signing import SECP256K1_N

_KEY_BYTES = 32


class L1Identity(msgspec.Struct, frozen=True):
    """What tells one foreign L1 from another: an anvil that was started again is another chain."""

    chain_id: int
    genesis_hash: bytes


class DevnetHome:
    """A devnet's files, held by one process at a time.

    ``l1.db`` is the embedded chain; ``operator.key`` funds, deploys and sequences on it; ``deployment.json`` says where
    the contracts are, and ``l1-….json`` where they are on another L1; ``l2-….db`` is the sequencer's, one a deployment.

    Args:
        path: The directory; made with mode 0700 if it isn't there.

    Raises:
        IdlewattError: With code ``devnet_running`` if another process holds it, ``home_unusable`` if it can't be used.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _unusable(path, error) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise IdlewattError(
                "A devnet is already running on this home.",
                code="devnet_running",
                fix="Use the running one, stop it first, or choose another --home.",
            ) from error

    def release(self) -> None:
        """Let another process have the directory."""
        os.close(self._lock)

    @property
    def l1_database(self) -> Path:
        """The embedded chain's file."""
        return self.path / "l1.db"

    def l2_database(self, deployment_id: bytes) -> Path:
        """The sequencer's file for one deployment: a reset L1 never meets the L2 of another."""
        return self.path / f"l2-{deployment_id[:8].hex()}.db"

    def snapshot(self, deployment_id: bytes) -> Path:
        """The file with the last final state of one deployment, for whoever joins."""
        return self.path / f"snapshot-{deployment_id[:8].hex()}.bin"

    def operator_key(self) -> bytes:
        """The operator's private key, random for each home, made on first use.

        Raises:
            IdlewattError: If the file can't be used or holds no key; the message never holds its content.
        """
        file = self.path / "operator.key"
        try:
            if not file.exists():
                _write_durably(file, _new_key().hex().encode())
            key = bytes.fromhex(file.read_text(encoding="ascii").strip())
        except OSError as error:
            raise _unusable(self.path, error) from error
        except ValueError:
            key = b""
        if len(key) != _KEY_BYTES or not 0 < int.from_bytes(key, "big") < SECP256K1_N:
            raise IdlewattError(
                f"{file} holds no private key.", code="devnet_damaged", fix="Move the devnet's directory away."
            ) from None
        return key

    def deployment(self, l1: L1Identity | None = None) -> Deployment | None:
        """The contracts deployed on the home's own L1, or on another one; ``None`` before the first start there.

        Raises:
            IdlewattError: If the file is damaged; with code ``old_devnet`` if another version wrote it.
        """
        file = self._deployment_file(l1)
        try:
            content = file.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unusable(self.path, error) from error
        try:
            return msgspec.json.decode(content, type=Deployment)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            if _is_old(content):
                raise self.made_by_another_version() from error
            raise IdlewattError(
                f"{file} is damaged.", code="devnet_damaged", fix="Move the devnet's directory away."
            ) from error

    def made_by_another_version(self) -> IdlewattError:
        """The error for a home whose contracts are not this version's."""
        return IdlewattError(
            "This devnet was made by another version of Idlewatt, whose contracts this one doesn't speak to.",
            code="old_devnet",
            fix=f"Choose another --home, or remove {self.path}; what it holds is test money.",
        )

    def keep_deployment(self, deployment: Deployment, l1: L1Identity | None = None) -> None:
        """Remember a deployment, durably.

        Raises:
            IdlewattError: If it can't be written.
        """
        try:
            _write_durably(self._deployment_file(l1), msgspec.json.encode(deployment))
        except OSError as error:
            raise _unusable(self.path, error) from error

    def archive_deployment(self, deployment: Deployment) -> Path:
        """Put a deployment aside whose L1 is gone; returns where it went."""
        target = self.path / f"deployment-{deployment.block_hash[:8].hex()}.json"
        self._deployment_file(None).replace(target)
        return target

    def _deployment_file(self, l1: L1Identity | None) -> Path:
        name = "deployment" if l1 is None else f"l1-{l1.chain_id}-{l1.genesis_hash[:8].hex()}"
        return self.path / f"{name}.json"


class _OldDeployment(msgspec.Struct):
    """What every version kept."""

    rollup_address: bytes
    inbox_address: bytes
    genesis_root: bytes


def _is_old(content: bytes) -> bool:
    try:
        msgspec.json.decode(content, type=_OldDeployment)
        fields = msgspec.json.decode(content, type=dict)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return not fields.keys() >= set(Deployment.__struct_fields__)


def _new_key() -> bytes:
    while True:
        key = secrets.token_bytes(_KEY_BYTES)
        if 0 < int.from_bytes(key, "big") < SECP256K1_N:
            return key


def _write_durably(file: Path, content: bytes) -> None:
    """Write a file of mode 0600 so that a crash leaves the whole of it or nothing."""
    descriptor, scratch = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        Path(scratch).replace(file)
    except BaseException:
        Path(scratch).unlink(missing_ok=True)
        raise
    directory = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _unusable(path: Path, error: OSError) -> IdlewattError:
    return IdlewattError(
        f"The devnet's directory {path} can't be used: {error.strerror or error}.",
        code="home_unusable",
        fix="Check its rights and the free space, or choose another --home.",
    )
