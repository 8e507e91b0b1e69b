"""The node's SQLite database: channels, vouchers, receipts, jobs; one migration a version."""
