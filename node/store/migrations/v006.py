"""Version 6: why answers of saved chats are not whole."""

from __future__ import annotations

VERSION = 6

STATEMENTS: tuple[str, ...] = (
    # An empty array in MessagePack.
    "ALTER TABLE chats ADD COLUMN endings BLOB NOT NULL DEFAULT x'90'",
)
