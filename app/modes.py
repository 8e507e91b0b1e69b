"""The main screens: each is a mode with a key, and its module is imported at the first visit, or before.

The footer, the palette and the help name every screen, so that their titles stand here too.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass

from screens.base import NodeScreen


@dataclass(frozen=True)
class Mode:
    """One main screen: its key, what it is called, and where its class is."""

    key: str
    title: str
    module: str
    name: str

    def screen(self) -> type[NodeScreen]:
        """The screen's class, imported."""
        found: type[NodeScreen] = getattr(importlib.import_module(self.module), self.name)
        return found


ONBOARDING = "onboarding"
SCREENS = {
    "dashboard": Mode("1", "Dashboard", "screens.dashboard", "DashboardScreen"),
    "jobs": Mode("2", "Jobs", "screens.jobs", "JobsScreen"),
    "models": Mode("3", "Models", "screens.models.screen", "ModelsScreen"),
    "market": Mode("4", "Market", "screens.market", "MarketScreen"),
    "chat": Mode("5", "Chat", "screens.chat.screen", "ChatScreen"),
    "wallet": Mode("6", "Wallet", "screens.wallet.screen", "WalletScreen"),
    "chain": Mode("7", "Chain", "screens.chain", "ChainScreen"),
    "logs": Mode("9", "Logs", "screens.logs", "LogsScreen"),
}
ALL_MODES = {**SCREENS, ONBOARDING: Mode("", "Welcome", "screens.onboarding", "OnboardingScreen")}
