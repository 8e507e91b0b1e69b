"""What can go wrong with the hub, in words."""

from __future__ import annotations

from chain.errors import IdlewattError


class HubError(IdlewattError):
    """The hub, or a pull from it, failed."""

    default_code = "hub_failed"


TOKEN_FIX = "Accept the licence on its page, then set HF_TOKEN to a token that may read it."  # noqa: S105 - no secret


def disk_full(folder: str, missing_bytes: int = 0) -> HubError:
    """The disk has not enough room."""
    more = f": {missing_bytes / 2**30:.1f} GiB more are needed" if missing_bytes else ""
    return HubError(
        f"The disk that holds {folder} is full{more}.",
        code="disk_full",
        fix="Free some space and pull again: what has arrived is kept, and the rest follows.",
    )
