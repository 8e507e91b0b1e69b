"""Shared by all screens: the node, its newest snapshot, its log, and a signal for changes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from textual.dom import DOMNode
from textual.signal import Signal

from node.api import NodeApi
from node.values import LogLine, NodeSnapshot, WalletView

MAX_LOG_LINES = 2000
RELOAD_PAUSE_S = 0.3


def system_now_ms() -> int:
    """Milliseconds UTC."""
    return time.time_ns() // 1_000_000


class NodeFeed:
    """The screens' view of one node.

    Args:
        api: The node.
        owner: The app, which owns the signals.
        now_ms: The clock; screens never read another.
        reload_pause_s: At least this long between two reloads of one screen, however fast events come.
    """

    def __init__(
        self,
        api: NodeApi,
        owner: DOMNode,
        now_ms: Callable[[], int] = system_now_ms,
        reload_pause_s: float = RELOAD_PAUSE_S,
    ) -> None:
        self.api = api
        self.now_ms = now_ms
        self.reload_pause_s = reload_pause_s
        self.snapshot: NodeSnapshot = api.snapshot()
        self.changed: Signal[frozenset[str]] = Signal(owner, "node_changed")
        """What changed (``NodeChanged.what``), coalesced."""
        self.logged: Signal[tuple[LogLine, ...]] = Signal(owner, "node_logged")
        self.log_lines: deque[LogLine] = deque(maxlen=MAX_LOG_LINES)
        self.chat_offer_id = ""
        self.chat_model = ""

    def refresh(self, what: frozenset[str]) -> None:
        """Take a new snapshot and tell the screens."""
        self.snapshot = self.api.snapshot()
        self.changed.publish(what)

    def wallet(self, wallet_id: str) -> WalletView | None:
        """The wallet of that name, as of the newest snapshot."""
        return next((wallet for wallet in self.snapshot.wallets if wallet.wallet_id == wallet_id), None)
