"""Every error code that there is, as a type: a code that doesn't stand here can't be raised."""

from __future__ import annotations

from typing import Literal

# fmt: off
ErrorCode = Literal[
    "absurd_fee", "account_exists", "already_claimed", "already_committed", "already_frozen", "already_sold",
    "ambiguous_wallet", "asset_transfer_failed", "auth", "bad_address", "bad_amount", "bad_channel", "bad_config",
    "bad_evidence", "bad_hash", "bad_key", "bad_keystore", "bad_mnemonic", "bad_order", "bad_params", "bad_receipt",
    "bad_record", "bad_request", "bad_signature", "bad_snapshot", "bad_transaction", "bad_url", "bad_voucher",
    "batch_taken", "below_cost", "blob_too_long", "board_full", "bond_is_leaving", "bond_locked", "bond_stays",
    "bond_too_small", "busy", "cancelled", "cannot_listen", "chain_bad_answer", "chain_rejected", "chain_timeout",
    "chain_unreachable", "channel_busy", "channel_closing", "channel_expiring", "channel_not_open", "channel_over",
    "channel_unavailable", "child_failed", "circuit_closed", "circuit_reused", "circuit_unknown", "clock_wrong",
    "committed_too_early", "context_too_long", "contract_build", "contradicted", "control_broken", "credit",
    "deposit_too_small", "devnet_damaged", "devnet_running", "devnet_version", "disk_full", "diverged", "done",
    "empty_passphrase", "engine_busy", "engine_closed", "engine_crashed", "engine_failed", "engine_stalled",
    "engine_stopped", "engine_unavailable", "ether_refused", "exits_closed", "failed", "faucet_limit", "fee_too_low",
    "foreign_chain", "foreign_contract", "foreign_voucher", "frame_too_long", "fraud_found", "gated_repo",
    "handshake_timeout", "home_busy", "home_unusable", "home_unwritable", "hub_failed", "hub_rate_limited",
    "hub_unreachable", "idle_timeout", "inbox_backwards", "inbox_beyond_end", "inbox_ignored", "insufficient_allowance",
    "insufficient_balance", "insufficient_funds", "internal", "interrupted", "invalid_batch", "invalid_parameters",
    "key_damaged", "keyring_unavailable", "keystore_unusable", "l1_behind", "l1_pruned", "l1_slow", "l2_time_ahead",
    "l2_time_backwards", "l2_time_behind", "leaf_missing", "leaves_out_of_order", "limit_buffer", "limit_circuits",
    "limit_connections", "limit_frame", "limit_nodes", "limit_offer_bytes", "limit_offers", "limit_queries",
    "limit_rate", "malformed", "malformed_batch", "malformed_transaction", "malleable_signature", "meta_leaf_missing",
    "missing_receiver", "missing_sender", "model_changed", "model_in_use", "model_too_big", "model_unusable",
    "no_attestation", "no_attester", "no_bond", "no_chain", "no_channel_exit", "no_deployment", "no_dev_account",
    "no_effect", "no_evidence", "no_faucet", "no_frames", "no_funds", "no_gas", "no_offer", "no_receipt", "no_relay",
    "no_reward", "no_snapshot", "no_such_batch", "no_such_messages", "no_such_number", "no_such_quantization",
    "no_such_withdrawal", "no_voucher_key", "no_wallet", "nonce", "not_a_leaf", "not_a_withdrawal", "not_canonical",
    "not_challengeable", "not_committed", "not_configured", "not_executed", "not_final", "not_forcible", "not_fraud",
    "not_frozen", "not_included", "not_leader", "not_leading", "not_my_channel", "not_overdue", "not_proven_wrong",
    "not_refundable", "not_removable", "not_sent_directly", "not_whole_units", "nothing_to_claim", "nothing_to_exit",
    "nothing_to_finalize", "nothing_to_redeem", "nothing_to_slash", "nothing_to_unstake", "offer_gone", "old_devnet",
    "operator_unfunded", "order_over", "out_of_range", "out_of_step", "over_deposit", "overbilled", "overdraft",
    "overflow", "passphrase_needed", "peer_away", "peer_gone", "peer_refused", "peer_timeout", "peer_unknown",
    "permit_expired", "port_in_use", "price_changed", "protocol", "prover_unfunded", "provider_silent",
    "provider_stopping", "pull_running", "rate_limited", "read_only", "realigning", "receipt_conflict", "redeem_quota",
    "redeem_too_small", "refused", "relay_closing", "relay_lost", "relay_unreachable", "relay_url", "replaced",
    "reveal_too_early", "reverted", "reward_not_final", "rollup_frozen", "seal_broken", "sequencer_halted",
    "sequencer_storage", "session_over", "signer_in_use", "slashed_before", "spend_limit", "stake_unavailable",
    "store_closed", "store_corrupt", "store_failed", "store_foreign", "store_locked", "store_newer", "store_unwritable",
    "timeout", "too_early", "too_long", "too_many_requests", "transfer_broken", "truncated", "unconfirmed",
    "unknown_channel", "unknown_method", "unknown_model", "unknown_repo", "unknown_version", "unknown_villain",
    "unpaid", "unstaking", "unsupported_decimals", "upstream_refused", "upstream_unusable", "usage", "version",
    "villain_done", "voucher_out_of_range", "voucher_window", "wallet_exists", "wallet_failed", "wallet_locked",
    "window_open", "withdrawal_too_small", "wrong_batch_id", "wrong_body_length", "wrong_frame", "wrong_hash",
    "wrong_inbox_hash", "wrong_messages", "wrong_order", "wrong_passphrase", "wrong_permit", "wrong_previous_root",
    "wrong_previous_state", "wrong_proof", "wrong_terms", "wrong_voucher", "wrong_witness_length", "zero_amount",
    "zero_owner", "zero_recipient",
]
"""A stable ``snake_case`` word. `chain.errors.registry` says what each one means and becomes."""
# fmt: on
