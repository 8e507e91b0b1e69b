"""Version 5: what each job of the provider's side took from each device, and what that cost."""

from __future__ import annotations

VERSION = 5

STATEMENTS: tuple[str, ...] = (
    """
    CREATE TABLE job_energy (
        job_id TEXT NOT NULL,
        device TEXT NOT NULL,
        energy_mj INTEGER NOT NULL CHECK (energy_mj >= 0),
        cost_nano INTEGER NOT NULL CHECK (cost_nano >= 0),
        earned_nano INTEGER NOT NULL CHECK (earned_nano >= 0),
        is_estimate INTEGER NOT NULL CHECK (is_estimate IN (0, 1)),
        PRIMARY KEY (job_id, device)
    ) STRICT, WITHOUT ROWID
    """,
)
