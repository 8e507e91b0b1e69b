"""Version 1: deployments, channels of both sides, receipts, jobs, chats, settings.

Triggers hold the promises about money even against a mistake in the code above them: what was signed, accepted, charged
or redeemed never falls, and a channel row never goes away.
"""

from __future__ import annotations

VERSION = 1

_STATES = "('opening','open','closing','closed','abandoned')"


def never_falls(table: str, column: str) -> str:
    """The trigger that keeps an amount from going down."""
    return (
        f"CREATE TRIGGER {table}_{column}_never_falls BEFORE UPDATE OF {column} ON {table} "
        f"WHEN NEW.{column} < OLD.{column} BEGIN SELECT RAISE(ABORT, '{column} never falls'); END"
    )


def _never_deleted(table: str) -> str:
    return (
        f"CREATE TRIGGER {table}_never_deleted BEFORE DELETE ON {table} "
        f"BEGIN SELECT RAISE(ABORT, '{table} are never deleted'); END"
    )


STATEMENTS: tuple[str, ...] = (
    "CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID",
    "CREATE TABLE deployments (deployment TEXT PRIMARY KEY, archived_at_ms INTEGER) STRICT, WITHOUT ROWID",
    # At most one deployment is the current one.
    "CREATE UNIQUE INDEX one_current_deployment ON deployments (archived_at_ms IS NULL) WHERE archived_at_ms IS NULL",
    f"""
    CREATE TABLE buyer_channels (
        deployment TEXT NOT NULL REFERENCES deployments (deployment),
        signer BLOB NOT NULL CHECK (length(signer) = 20),
        salt BLOB NOT NULL,
        channel_id INTEGER,
        provider BLOB NOT NULL CHECK (length(provider) = 20),
        deposit_nano INTEGER NOT NULL CHECK (deposit_nano >= 0),
        signed_nano INTEGER NOT NULL DEFAULT 0 CHECK (signed_nano BETWEEN 0 AND deposit_nano),
        expiry_s INTEGER NOT NULL,
        state TEXT NOT NULL CHECK (state IN {_STATES}),
        opened_at_ms INTEGER NOT NULL,
        CHECK (channel_id IS NOT NULL OR state IN ('opening', 'abandoned')),
        PRIMARY KEY (deployment, signer),
        UNIQUE (deployment, channel_id)
    ) STRICT
    """,
    never_falls("buyer_channels", "signed_nano"),
    _never_deleted("buyer_channels"),
    f"""
    CREATE TABLE provider_channels (
        deployment TEXT NOT NULL REFERENCES deployments (deployment),
        channel_id INTEGER NOT NULL,
        payer BLOB NOT NULL CHECK (length(payer) = 20),
        signer BLOB NOT NULL CHECK (length(signer) = 20),
        deposit_nano INTEGER NOT NULL CHECK (deposit_nano >= 0),
        expiry_s INTEGER NOT NULL,
        voucher_nano INTEGER NOT NULL DEFAULT 0 CHECK (voucher_nano BETWEEN 0 AND deposit_nano),
        voucher_signature BLOB NOT NULL DEFAULT x'',
        charged_nano INTEGER NOT NULL DEFAULT 0 CHECK (charged_nano >= 0),
        redeemed_nano INTEGER NOT NULL DEFAULT 0 CHECK (redeemed_nano >= 0),
        next_sequence INTEGER NOT NULL DEFAULT 0,
        state TEXT NOT NULL CHECK (state IN {_STATES}),
        opened_at_ms INTEGER NOT NULL,
        CHECK (voucher_nano = 0 OR length(voucher_signature) = 64),
        PRIMARY KEY (deployment, channel_id)
    ) STRICT
    """,
    *(
        never_falls("provider_channels", column)
        for column in ("deposit_nano", "voucher_nano", "charged_nano", "redeemed_nano", "next_sequence")
    ),
    _never_deleted("provider_channels"),
    """
    CREATE TABLE receipts (
        deployment TEXT NOT NULL,
        role TEXT NOT NULL CHECK (role IN ('buyer', 'provider')),
        channel_id INTEGER NOT NULL,
        sequence INTEGER NOT NULL,
        struct_hash BLOB NOT NULL CHECK (length(struct_hash) = 32),
        receipt BLOB NOT NULL,
        PRIMARY KEY (deployment, role, channel_id, sequence, struct_hash)
    ) STRICT
    """,
    # A buyer keeps two receipts for one number, as evidence; a provider never has them.
    "CREATE UNIQUE INDEX one_receipt_a_number ON receipts (deployment, channel_id, sequence) WHERE role = 'provider'",
    """
    CREATE TABLE jobs (
        role TEXT NOT NULL CHECK (role IN ('buyer', 'provider')),
        job_id TEXT NOT NULL,
        deployment TEXT NOT NULL,
        model TEXT NOT NULL,
        peer BLOB NOT NULL,
        started_ms INTEGER NOT NULL,
        finished_ms INTEGER,
        input_tokens INTEGER NOT NULL,
        output_tokens INTEGER NOT NULL,
        amount_nano INTEGER NOT NULL CHECK (amount_nano >= 0),
        finish_reason TEXT NOT NULL,
        error_code TEXT NOT NULL,
        tokens_per_s REAL NOT NULL,
        channel_id INTEGER,
        sequence INTEGER,
        PRIMARY KEY (role, job_id)
    ) STRICT
    """,
    "CREATE INDEX jobs_by_start ON jobs (started_ms)",
    "CREATE INDEX jobs_by_finish ON jobs (role, deployment, finished_ms)",
    """
    CREATE TABLE chats (
        session_id TEXT PRIMARY KEY,
        title TEXT NOT NULL,
        model TEXT NOT NULL,
        created_ms INTEGER NOT NULL,
        updated_ms INTEGER NOT NULL,
        message_count INTEGER NOT NULL,
        messages BLOB NOT NULL
    ) STRICT
    """,
    "CREATE INDEX chats_by_update ON chats (updated_ms)",
)
