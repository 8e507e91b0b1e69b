"""What can go wrong with the hub, in words."""

from __future__ import annotations

import errno
from typing import Final

from chain.errors import IdlewattError
from node.models.model_error import printable


class HubError(IdlewattError):
    """The hub, or a pull from it, failed."""

    default_code = "hub_failed"


def gated_fix(page: str, token: str) -> str:
    """What to do about a repository that is not open to all.

    Args:
        page: The repository's page; empty if it isn't known.
        token: Where the token that was sent comes from; empty if none was.
    """
    accept = f"Accept the licence on {page}" if page else "Accept the licence on its page"
    if token:
        return f"{accept} as the owner of the token in {token}."
    return f"{accept}, then set HF_TOKEN to a token that may read it."


_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EFBIG})
_NO_RIGHT: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


def disk_error(error: OSError, folder: str) -> HubError:
    """What the disk refused.

    Args:
        error: As the system told it.
        folder: Where files are written to; empty where that isn't known.
    """
    place = printable(folder or str(error.filename or "the models folder"), 200)
    if error.errno in _NO_ROOM:
        return disk_full(place)
    if error.errno == errno.EDQUOT:
        return HubError(
            f"Your share of the disk that holds {place} is used up (quota).",
            code="disk_full",
            fix="Free some space of yours and pull again: what has arrived is kept, and the rest follows.",
        )
    if error.errno in _NO_RIGHT:
        return HubError(
            f"The folder {place} can't be written to: {error.strerror}.",
            code="home_unusable",
            fix="Change its rights, or choose another home with --home.",
        )
    return HubError(f"The disk refuses: {error.strerror or type(error).__name__}.", fix=f"Check {place}.")


def disk_full(folder: str, missing_bytes: int = 0) -> HubError:
    """The disk has not enough room."""
    more = f": {missing_bytes / 2**30:.1f} GiB more are needed" if missing_bytes else ""
    return HubError(
        f"The disk that holds {folder} is full{more}.",
        code="disk_full",
        fix="Free some space and pull again: what has arrived is kept, and the rest follows.",
    )
