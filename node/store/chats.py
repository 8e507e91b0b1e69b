"""Saved chats and small settings."""

from __future__ import annotations

import time

import msgspec

from chain.logs import get_logger
from node.store.base import StorePart, check_range
from node.store.database import Row
from node.values import ChatSession, SavedEnding
from node.values.inference import ChatMessage

_COLUMNS = "CAST(session_id AS BLOB), CAST(title AS BLOB), CAST(model AS BLOB), created_ms, messages, endings"
"""Texts as their bytes: where one is no UTF-8, SQLite's driver would refuse every row."""
log = get_logger(__name__)
_encode = msgspec.msgpack.Encoder().encode
_decode_messages = msgspec.msgpack.Decoder(tuple[ChatMessage, ...]).decode
_decode_endings = msgspec.msgpack.Decoder(tuple[SavedEnding, ...]).decode


class Chats(StorePart):
    """Chat sessions and small settings; no money depends on them."""

    async def save_chat(self, session: ChatSession, *, updated_ms: int | None = None) -> None:
        """Save a chat, or replace the one with the same id.

        Args:
            session: The whole conversation.
            updated_ms: When it was last used, milliseconds UTC; ``None`` for now.

        Raises:
            StoreError: ``bad_record`` if a time is out of range.
        """
        updated_ms = time.time_ns() // 1_000_000 if updated_ms is None else updated_ms
        check_range(created_ms=session.created_ms, updated_ms=updated_ms)
        values = (
            session.session_id,
            session.title,
            session.model,
            session.created_ms,
            updated_ms,
            len(session.messages),
            _encode(session.messages),
            _encode(session.endings),
        )

        await self._database.write_statement("INSERT OR REPLACE INTO chats VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)

    async def chats(self, limit: int = 200) -> list[ChatSession]:
        """Saved chats with their messages, the most recently used first. One that can't be read is left out."""
        rows = await self._database.rows(
            f"SELECT {_COLUMNS} FROM chats ORDER BY updated_ms DESC, rowid DESC LIMIT ?", (limit,)
        )
        return [chat for row in rows if (chat := _chat(row)) is not None]

    async def delete_chat(self, session_id: str) -> bool:
        """Delete a chat; whether there was one."""
        sql = "DELETE FROM chats WHERE session_id = ? RETURNING session_id"
        return bool(await self._database.write_statement(sql, (session_id,)))

    async def setting(self, key: str) -> str | None:
        """A setting's value."""
        rows = await self._database.rows("SELECT value FROM settings WHERE key = ?", (key,))
        return str(rows[0][0]) if rows else None

    async def save_setting(self, key: str, value: str) -> None:
        """Set a setting."""
        await self._database.write_statement("INSERT OR REPLACE INTO settings VALUES (?, ?)", (key, value))


def _chat(row: Row) -> ChatSession | None:
    session_id, title, model, created_ms, messages, endings = row
    try:
        return ChatSession(
            session_id=session_id.decode(),
            title=title.decode(errors="replace"),
            model=model.decode(errors="replace"),
            created_ms=int(created_ms),
            messages=_decode_messages(messages),
            endings=_decode_endings(endings),
        )
    except (msgspec.DecodeError, RecursionError, UnicodeError, TypeError, ValueError, AttributeError) as error:
        log.warning("saved_chat_unreadable", chat=repr(session_id)[:80], error=str(error))
        return None
