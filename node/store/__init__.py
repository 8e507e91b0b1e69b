"""The node's SQLite database: channels, vouchers, receipts, jobs; one migration a version."""

from node.store.errors import StoreError
from node.store.records import (
    BuyerChannel,
    ChannelState,
    ChatSummary,
    DayTotal,
    ForeignDeployment,
    JobEnergy,
    JobRecord,
    JobTotals,
    ModelTotal,
    NetTotal,
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
    "JobEnergy",
    "JobRecord",
    "JobTotals",
    "ModelTotal",
    "NetTotal",
    "ProviderChannel",
    "Role",
    "Store",
    "StoreError",
]
