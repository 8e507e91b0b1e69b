"""The node's SQLite database: channels, vouchers, receipts, jobs; one migration a version."""

from node.store.records import (
    BuyerChannel,
    ChannelState,
    ForeignDeployment,
    JobEnergy,
    JobRecord,
    JobTotals,
    NetTotal,
    ProviderChannel,
    Role,
)
from node.store.sqlite_errors import StoreError
from node.store.store import Store

__all__ = [
    "BuyerChannel",
    "ChannelState",
    "ForeignDeployment",
    "JobEnergy",
    "JobRecord",
    "JobTotals",
    "NetTotal",
    "ProviderChannel",
    "Role",
    "Store",
    "StoreError",
]
