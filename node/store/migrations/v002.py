"""Version 2: a buyer's channel keeps what the chain paid out of it: once it has ended, the chain no longer tells."""

from __future__ import annotations

from node.store.migrations.v001 import never_falls

VERSION = 2

STATEMENTS: tuple[str, ...] = (
    "ALTER TABLE buyer_channels ADD COLUMN redeemed_nano INTEGER NOT NULL DEFAULT 0 CHECK (redeemed_nano >= 0)",
    # Until now a channel that had ended counted as redeemed up to what had been signed.
    "UPDATE buyer_channels SET redeemed_nano = signed_nano WHERE state = 'closed'",
    never_falls("buyer_channels", "redeemed_nano"),
)
