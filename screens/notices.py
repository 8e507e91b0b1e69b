"""Notifications in the corner of the screen."""

from __future__ import annotations

from typing import Final

from textual.notifications import Notification

LEAST_S: Final = 0.05


class BriefNotification(Notification):
    """A notification whose time never runs out between a look at it and the next.

    Textual asks whether it has expired and then how long it is still to be shown. Where the last microsecond passes in
    between, the timer gets a negative interval, on which Textual's timer turns round for ever and the app with it.
    """

    @property
    def time_left(self) -> float:
        """Seconds until it expires, and never none."""
        return max(super().time_left, LEAST_S)

    @property
    def has_expired(self) -> bool:
        """Whether its time is over."""
        return super().time_left <= 0
