"""The node's SQLite database: channels, vouchers, receipts, jobs; one migration a version."""

from node.store.errors import StoreError
from node.store.records import (
    BuyerChannel,
    ChannelState,
    ChatSession,
    ChatSummary,
    DayTotal,
    ForeignDeployment,
    JobRecord,
    JobTotals,
    ModelTotal,
    ProviderChannel,
    Role,
    StoredMessage,
)
from node.store.store import Store

__all__ = [
    "BuyerChannel",
    "ChannelState",
    "ChatSession",
    "ChatSummary",
    "DayTotal",
    "ForeignDeployment",
    "JobRecord",
    "JobTotals",
    "ModelTotal",
    "ProviderChannel",
    "Role",
    "Store",
    "StoreError",
    "StoredMessage",
]
