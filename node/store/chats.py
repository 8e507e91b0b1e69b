"""Saved chats and small settings."""

from __future__ import annotations

import aiosqlite
import msgspec

from node.store.base import StorePart, check_range
from node.store.records import ChatSession, ChatSummary, StoredMessage

_encode = msgspec.msgpack.Encoder().encode
_decode_messages = msgspec.msgpack.Decoder(tuple[StoredMessage, ...]).decode


class Chats(StorePart):
    """Chat sessions and settings: conveniences, so they carry no money."""

    async def save_chat(self, session: ChatSession) -> None:
        """Write a chat down, or replace what was saved under its id.

        Raises:
            StoreError: ``bad_record`` if a time is out of range.
        """
        check_range(created_ms=session.created_ms, updated_ms=session.updated_ms)
        values = (
            session.session_id,
            session.title,
            session.model,
            session.created_ms,
            session.updated_ms,
            len(session.messages),
            _encode(session.messages),
        )

        async def upsert(connection: aiosqlite.Connection) -> None:
            await connection.execute("INSERT OR REPLACE INTO chats VALUES (?, ?, ?, ?, ?, ?, ?)", values)

        await self._database.write(upsert)

    async def list_chats(self, limit: int = 200) -> list[ChatSummary]:
        """Saved chats, the last used first."""
        rows = await self._database.rows(
            "SELECT session_id, title, model, created_ms, updated_ms, message_count FROM chats "
            "ORDER BY updated_ms DESC, rowid DESC LIMIT ?",
            (limit,),
        )
        return [
            ChatSummary(
                session_id=session_id,
                title=title,
                model=model,
                created_ms=created_ms,
                updated_ms=updated_ms,
                message_count=message_count,
            )
            for session_id, title, model, created_ms, updated_ms, message_count in rows
        ]

    async def load_chat(self, session_id: str) -> ChatSession | None:
        """One chat with its messages."""
        rows = await self._database.rows(
            "SELECT title, model, created_ms, updated_ms, messages FROM chats WHERE session_id = ?", (session_id,)
        )
        if not rows:
            return None
        title, model, created_ms, updated_ms, messages = rows[0]
        return ChatSession(
            session_id=session_id,
            title=title,
            model=model,
            created_ms=created_ms,
            updated_ms=updated_ms,
            messages=_decode_messages(messages),
        )

    async def delete_chat(self, session_id: str) -> bool:
        """Delete a chat; whether there was one."""

        async def delete(connection: aiosqlite.Connection) -> bool:
            cursor = await connection.execute("DELETE FROM chats WHERE session_id = ?", (session_id,))
            return cursor.rowcount > 0

        return await self._database.write(delete)

    async def setting(self, key: str) -> str | None:
        """A setting's value."""
        rows = await self._database.rows("SELECT value FROM settings WHERE key = ?", (key,))
        return str(rows[0][0]) if rows else None

    async def save_setting(self, key: str, value: str) -> None:
        """Set a setting."""

        async def upsert(connection: aiosqlite.Connection) -> None:
            await connection.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (key, value))

        await self._database.write(upsert)
