"""The node's SQLite database: channels, vouchers, receipts, jobs; one migration a version."""

from node.store.errors import StoreError
from node.store.records import (
    BuyerChannel,
    ChannelState,
    ChatSummary,
    DayTotal,
    ForeignDeployment,
    JobRecord,
    JobTotals,
    ModelTotal,
    ProviderChannel,
    Role,
)
from node.store.store import Store

__all__ = [
    "BuyerChannel",
    "ChannelState",
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
]
