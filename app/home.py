"""A home: the folder with everything of one person. Paths, rights, and the lock of the running node."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import platformdirs

from app.variables import HOME_VARIABLE
from chain.errors import ErrorCode, IdlewattError

DIRECTORY_MODE = 0o700
MAX_PATH_BYTES = 400
"""SQLite opens paths of up to 512 bytes; the longest name in a home has less than a hundred."""
MAX_SOCKET_PATH_BYTES = 100
"""Unix socket paths end at 107 bytes on Linux; a home deeper than that gets its socket in the runtime folder."""


class HomeError(IdlewattError):
    """The home directory can't be used as it is."""

    default_code: ClassVar[ErrorCode] = "home_unusable"


class HomeBusyError(HomeError):
    """Another process already runs on this home."""

    default_code = "home_busy"


@dataclass(frozen=True)
class Home:
    """One home directory; two homes on one machine never touch each other."""

    root: Path

    @classmethod
    def resolve(cls, given: str | os.PathLike[str] | None) -> Home:
        """The home from ``--home``, else from ``IDLEWATT_HOME``, else the platform's data folder.

        Raises:
            HomeError: If the system can't say where that is.
        """
        chosen = given or os.environ.get(HOME_VARIABLE) or _platform_folder()
        try:
            return cls(Path(chosen).expanduser().absolute())
        except RuntimeError:
            raise HomeError(
                f"The home {os.fspath(chosen)} names a user who isn't known here.", fix="Write its whole path."
            ) from None
        except OSError:
            raise HomeError(
                "The folder that this was started in is gone.", fix="Go to another one, or pass an absolute --home."
            ) from None

    @property
    def config_path(self) -> Path:
        """``config.toml``."""
        return self.root / "config.toml"

    @property
    def keystore(self) -> Path:
        """The folder of Web3 V3 key files."""
        return self.root / "keystore"

    @property
    def database(self) -> Path:
        """The node's SQLite file."""
        return self.root / "node.db"

    @property
    def models(self) -> Path:
        """Where models are kept."""
        return self.root / "models"

    @property
    def tuning(self) -> Path:
        """The numbers of threads that models were measured to run best with."""
        return self.root / "threads.json"

    @property
    def logs(self) -> Path:
        """Where logs go."""
        return self.root / "logs"

    @property
    def devnet(self) -> Path:
        """The embedded chain's files."""
        return self.root / "devnet"

    @property
    def control_socket(self) -> Path:
        """The unix socket of the node that runs on this home."""
        inside = self.root / "node.sock"
        if len(os.fsencode(inside)) <= MAX_SOCKET_PATH_BYTES:
            return inside
        try:
            info = self.root.stat()
            return _private_runtime_folder() / f"{info.st_dev:x}-{info.st_ino:x}.sock"
        except OSError as error:
            raise HomeError(
                f"The path {self.root} is too long for a socket, and there is no temporary folder for one "
                f"({error.strerror or error}).",
                fix="Choose a --home with a shorter path, or set TMPDIR.",
            ) from None

    def below(self, name: str) -> Home:
        """A home inside this one, as the demo uses for each of its sides."""
        return Home(self.root / name)

    def prepare(self) -> Home:
        """Create the folders with owner-only rights, and prove that they can be written.

        Raises:
            HomeError: If that is impossible, with the system's reason.
        """
        if len(os.fsencode(self.root)) > MAX_PATH_BYTES:
            raise HomeError("The path of the home is too long for its databases.", fix="Choose a shorter --home.")
        try:
            for folder in (self.root, self.keystore, self.models, self.logs):
                folder.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
                if folder.stat().st_uid == os.geteuid() and folder.stat().st_mode & 0o077:
                    folder.chmod(DIRECTORY_MODE)
            probe = self.root / f".write-probe-{os.getpid()}"
            probe.write_bytes(b"idlewatt")
            probe.unlink()
        except OSError as error:
            raise self.unusable(error) from error
        return self

    def unusable(self, error: OSError) -> HomeError:
        """The one line that says what is wrong with this home."""
        if error.errno == errno.ENOSPC:
            return HomeError(
                f"The disk that holds {self.root} is full.", code="disk_full", fix="Free some space and try again."
            )
        return HomeError(
            f"The home {self.root} can't be used: {error.strerror or error}.",
            fix="Choose another with --home, or mend its rights.",
        )

    @contextmanager
    def locked(self, role: str = "node") -> Iterator[None]:
        """Hold the lock of this home's one running ``role``. The kernel releases it however the process ends.

        Raises:
            HomeBusyError: If another process holds it.
        """
        path = self.root / f"{role}.lock"
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self.unusable(error) from error
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise HomeBusyError(
                    f"A {role} is already running on the home {self.root}.",
                    fix="Stop it first, or choose another --home.",
                ) from None
            except OSError as error:
                # As on a network's disk whose server or mount has no locks.
                raise HomeError(
                    f"The disk of the home {self.root} can't lock files ({error.strerror or error}).",
                    fix="Choose a --home on a disk of this machine: two nodes on one home could spend money twice.",
                ) from None
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()}\n".encode())
            yield
        finally:
            os.close(descriptor)

    def is_locked(self, role: str = "node") -> bool:
        """Whether a process runs as ``role`` on this home."""
        try:
            with self.locked(role):
                return False
        except HomeBusyError:
            return True


def _platform_folder() -> str:
    try:
        return platformdirs.user_data_dir("idlewatt", appauthor=False)
    except RuntimeError:
        raise HomeError(
            "It isn't known which folder is this user's own.", fix=f"Set HOME or {HOME_VARIABLE}, or pass --home."
        ) from None


def _private_runtime_folder() -> Path:
    """A short folder that only we can write to, for sockets of deep homes."""
    folder = Path(tempfile.gettempdir()) / f"idlewatt-{os.geteuid()}"
    folder.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise HomeError(f"{folder} belongs to somebody else.", fix="Remove it, or choose a --home with a shorter path.")
    return folder
