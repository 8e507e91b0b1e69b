"""The sequencer's SQLite schema, one migration a version."""

from __future__ import annotations

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE fact (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;

    -- The state after the last final batch. The head is this plus the differences of every later batch, in order.
    CREATE TABLE final_leaf (key INTEGER PRIMARY KEY, data BLOB NOT NULL);
    CREATE TABLE batch_leaf (
        batch_id INTEGER NOT NULL, key INTEGER NOT NULL, data BLOB, PRIMARY KEY (batch_id, key)
    ) WITHOUT ROWID;

    CREATE TABLE tx (
        sequence INTEGER PRIMARY KEY,
        hash BLOB NOT NULL,
        kind TEXT NOT NULL,
        raw BLOB NOT NULL,
        inbox_index INTEGER,
        code INTEGER NOT NULL,
        allocated INTEGER,
        batch_id INTEGER NOT NULL
    );
    -- Not unique: the same bytes may end a second unstaking.
    CREATE INDEX tx_hash ON tx (hash);
    CREATE INDEX tx_batch ON tx (batch_id);
    -- The state root after each closed frame of a batch.
    CREATE TABLE frame (
        batch_id INTEGER NOT NULL, number INTEGER NOT NULL, post_root BLOB NOT NULL, PRIMARY KEY (batch_id, number)
    ) WITHOUT ROWID;
    -- Acknowledged transactions whose batches L1 replaced by others; they are executed again on top.
    CREATE TABLE set_aside (
        position INTEGER PRIMARY KEY, hash BLOB NOT NULL, kind TEXT NOT NULL, raw BLOB NOT NULL
    );
    CREATE INDEX set_aside_hash ON set_aside (hash);
    CREATE INDEX tx_opening ON tx (allocated) WHERE kind = 'open_channel';

    CREATE TABLE batch (
        batch_id INTEGER PRIMARY KEY,
        l2_time_s INTEGER NOT NULL,
        inbox_from INTEGER NOT NULL,
        inbox_to INTEGER NOT NULL,
        -- The inbox's hash after the last message that the batch executes.
        inbox_hash BLOB NOT NULL,
        prev_root BLOB NOT NULL,
        post_root BLOB,
        blob BLOB,
        tx_count INTEGER NOT NULL DEFAULT 0,
        frame_count INTEGER NOT NULL DEFAULT 0,
        size_bytes INTEGER NOT NULL DEFAULT 0,
        l1_tx BLOB,
        l1_block INTEGER,
        submitted_at_s INTEGER
    );

    CREATE TABLE withdrawal (
        number INTEGER PRIMARY KEY,
        recipient BLOB NOT NULL,
        amount_nano BLOB NOT NULL,
        sequence INTEGER NOT NULL,
        batch_id INTEGER NOT NULL,
        claim_l1_tx BLOB
    );
    CREATE INDEX withdrawal_recipient ON withdrawal (recipient);

    CREATE TABLE event (
        id INTEGER PRIMARY KEY, kind TEXT NOT NULL, at_s INTEGER NOT NULL, text TEXT NOT NULL, reference TEXT NOT NULL
    );
    """,
    """
    -- Account and nonce name what was withdrawn; an older deployment's withdrawals had neither.
    ALTER TABLE withdrawal ADD COLUMN account INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE withdrawal ADD COLUMN nonce BLOB NOT NULL DEFAULT x'0000000000000000';
    """,
    """
    -- Redeems that a channel has left, where that is another number than a new channel has.
    CREATE TABLE redeems_left (channel INTEGER PRIMARY KEY, redeems INTEGER NOT NULL);
    """,
)
