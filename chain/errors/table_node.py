"""The codes of homes, wallets, databases, markets, sessions, engines, models and relays."""

from __future__ import annotations

from typing import Final

from chain.errors.codes import ErrorCode
from chain.errors.entry import (
    EXIT_USAGE,
    WEBSOCKET_POLICY_VIOLATION,
    ErrorEntry,
    JsonRpc,
)

_Table = dict[ErrorCode, ErrorEntry]


def _usage(meaning: str) -> ErrorEntry:
    return ErrorEntry(meaning, 400, JsonRpc.INVALID_PARAMS, EXIT_USAGE)


def _relay(meaning: str, http_status: int, *, is_retryable: bool = True, ends_circuit: bool = False) -> ErrorEntry:
    """A code with which a relay ends a connection."""
    return ErrorEntry(
        meaning,
        http_status,
        is_retryable=is_retryable,
        websocket_close=WEBSOCKET_POLICY_VIOLATION,
        ends_circuit=ends_circuit,
    )


COMMANDS: Final[_Table] = {
    "bad_config": ErrorEntry("A setting can't be used.", 500, as_usage=True),
    "bad_url": _usage("An address is no URL of the kind that is needed."),
    "cannot_listen": ErrorEntry("A server can't listen on that address and port.", 500),
    "child_failed": ErrorEntry("A process that this command started ended too early.", 500),
    "control_broken": ErrorEntry("The running node's control socket doesn't answer as it should.", 502),
    "disk_full": ErrorEntry("The disk has no room left.", 507),
    "failed": ErrorEntry("Something failed that has no code of its own.", 500),
    "fraud_found": ErrorEntry("A batch that can be disproved stands on L1.", 500),
    "home_busy": ErrorEntry("A node runs on this home already.", 409),
    "home_unusable": ErrorEntry("A folder of the home can't be made, read or written.", 500),
    "home_unwritable": ErrorEntry("The relay's key can't be written into its home.", 500),
    "internal": ErrorEntry("Something unforeseen happened; the log says what.", 500),
    "interrupted": ErrorEntry("It was running when its process ended.", 503),
    "key_damaged": ErrorEntry("The relay's key file holds no key.", 500),
    "keyring_unavailable": ErrorEntry("This machine has no keyring that can be used.", 500),
    "no_relay": ErrorEntry("No relay is set.", 503),
    "not_configured": ErrorEntry("No relay or no chain was ever given.", 503),
    "passphrase_needed": ErrorEntry("A passphrase is needed, and nobody is there to type it.", 403),
    "port_in_use": ErrorEntry("Another program listens on that port.", 500),
    "prover_unfunded": ErrorEntry("The prover's address has too little ether to prove a fraud on L1.", 402),
    "timeout": ErrorEntry("It took too long.", 504, JsonRpc.UNAVAILABLE, is_retryable=True),
    "unknown_villain": _usage("There is no villain of that name."),
    "usage": _usage("A command was asked for something that it can't do."),
}

WALLET: Final[_Table] = {
    "absurd_fee": ErrorEntry("The chain asks for a fee that no honest chain asks for.", 502),
    "ambiguous_wallet": ErrorEntry("The home holds several wallets, and none was named.", 400),
    "bad_address": ErrorEntry(
        "It is no address, or none that money can be sent to.", 400, JsonRpc.REJECTED, as_usage=True
    ),
    "bad_amount": ErrorEntry("That amount can't be moved.", 400, JsonRpc.REJECTED),
    "bad_channel": ErrorEntry("The channel is not known here, not this wallet's, or closed.", 404),
    "bad_key": ErrorEntry("It is no private key.", 400),
    "bad_keystore": ErrorEntry("A keystore file can't be read as one.", 400),
    "bad_mnemonic": ErrorEntry("The recovery words are not a wallet's.", 400),
    "bad_receipt": ErrorEntry("A receipt contradicts what was agreed, or is not signed by its provider.", 502),
    "bad_transaction": ErrorEntry("The wallet can't sign that transaction.", 400),
    "contradicted": ErrorEntry("The rollup's RPC says what L1 contradicts.", 502),
    "empty_passphrase": ErrorEntry("The passphrase is empty, or can't be typed again.", 400),
    "keystore_unusable": ErrorEntry("A keystore file can't be read or written.", 500),
    "no_effect": ErrorEntry("A forced withdrawal was executed and moved nothing.", 409),
    "no_evidence": ErrorEntry("No two receipts that are held here contradict each other.", 404),
    "no_faucet": ErrorEntry("That chain gives no test money.", 404),
    "no_funds": ErrorEntry("The balance doesn't cover the amount and the fee.", 402),
    "no_voucher_key": ErrorEntry("The key that signs a channel's vouchers is missing.", 404),
    "no_wallet": ErrorEntry("There is no such wallet here.", 404),
    "not_executed": ErrorEntry("Nobody executed a forced withdrawal in time.", 504),
    "not_frozen": ErrorEntry("The rollup isn't frozen, so that nobody can exit.", 409),
    "nothing_to_claim": ErrorEntry("No withdrawal to this wallet waits to be claimed.", 404),
    "nothing_to_exit": ErrorEntry("Nothing on the frozen rollup is this wallet's.", 404),
    "nothing_to_redeem": ErrorEntry("The channel holds no voucher above what was redeemed.", 404),
    "nothing_to_slash": ErrorEntry("The provider that cheated has no stake.", 404),
    "nothing_to_unstake": ErrorEntry("There is no stake to take out.", 404),
    "overbilled": ErrorEntry("The provider billed more than was delivered or agreed.", 502),
    "unconfirmed": ErrorEntry("A deposit or transaction isn't confirmed yet.", 409, is_retryable=True),
    "unstaking": ErrorEntry("A part of the stake is on its way out already.", 409),
    "wallet_exists": ErrorEntry("This home has that wallet already.", 409),
    "wallet_failed": ErrorEntry("The wallet could not do what was asked.", 500),
    "wallet_locked": ErrorEntry("The wallet is locked.", 403),
    "wrong_passphrase": ErrorEntry("The passphrase doesn't open the keystore.", 403),
}

STORE: Final[_Table] = {
    "bad_record": ErrorEntry("The database refused a record that breaks its rules.", 500),
    "channel_not_open": ErrorEntry("The channel is not open in the database.", 409),
    "no_deployment": ErrorEntry("The database doesn't know yet which chain it belongs to.", 503),
    "over_deposit": ErrorEntry("A voucher promises more than the channel's deposit.", 402),
    "receipt_conflict": ErrorEntry("The database holds another receipt of that number.", 409),
    "signer_in_use": ErrorEntry("Another channel uses that voucher key.", 409),
    "store_closed": ErrorEntry("The database is closed.", 503),
    "store_corrupt": ErrorEntry("The database is damaged.", 500),
    "store_failed": ErrorEntry("The database failed.", 500),
    "store_foreign": ErrorEntry("The file is another program's database.", 500),
    "store_locked": ErrorEntry("Another program uses the database.", 503, is_retryable=True),
    "store_newer": ErrorEntry("A newer Idlewatt wrote the database.", 500),
    "store_unwritable": ErrorEntry("The database can't be opened or written.", 500),
    "unknown_channel": ErrorEntry("There is no such channel.", 404),
}

SESSION: Final[_Table] = {
    "bad_request": ErrorEntry("A request can't be served as it is.", 400, JsonRpc.INVALID_REQUEST),
    "bad_voucher": ErrorEntry("A voucher or amount doesn't fit its channel.", 402, JsonRpc.REJECTED),
    "cancelled": ErrorEntry("The buyer cancelled the request.", 499),
    "channel_busy": ErrorEntry("The channel serves another request.", 429, is_retryable=True),
    "channel_closing": ErrorEntry("The channel is closing.", 409),
    "channel_expiring": ErrorEntry("The channel expires too soon.", 409),
    "clock_wrong": ErrorEntry("This machine's clock is too far from the relay's.", 503),
    "deposit_too_small": ErrorEntry("The channel's deposit doesn't cover the request.", 402),
    "foreign_voucher": ErrorEntry("A voucher is another channel's.", 402),
    "model_changed": ErrorEntry("The provider serves another model than its offer said.", 409),
    "no_offer": ErrorEntry("Nothing on the market fits.", 503, is_retryable=True),
    "no_receipt": ErrorEntry("An answer ended without a receipt.", 502),
    "not_my_channel": ErrorEntry("The channel pays somebody else.", 403),
    "offer_gone": ErrorEntry("The chosen offer is no longer on the market.", 404),
    "out_of_step": ErrorEntry("Buyer and provider disagree about what was signed.", 409),
    "peer_away": ErrorEntry("The provider can't be reached to close a channel together.", 503, is_retryable=True),
    "price_changed": ErrorEntry("The provider asks more than its offer said.", 409),
    "provider_silent": ErrorEntry("The provider didn't answer in time.", 504, is_retryable=True),
    "provider_stopping": ErrorEntry("The provider goes offline, or pauses.", 503),
    "seal_broken": ErrorEntry("A sealed frame was forged, lost, repeated or cut off.", 502),
    "session_over": ErrorEntry("The provider ended a session in which nothing was asked.", 503, is_retryable=True),
    "spend_limit": ErrorEntry("The request may cost more than was allowed.", 402),
    "too_long": ErrorEntry("A message is longer than a session takes.", 413),
    "unpaid": ErrorEntry("What was delivered was not paid.", 402),
}

ENGINE: Final[_Table] = {
    "below_cost": ErrorEntry("A price is below what the power for it costs.", 400),
    "context_too_long": ErrorEntry("The conversation is longer than the model's context.", 400),
    "engine_busy": ErrorEntry("Every slot and the queue are full.", 429, is_retryable=True),
    "engine_closed": ErrorEntry("The engine is closed.", 503),
    "engine_crashed": ErrorEntry(
        "The engine died, or answered nothing that can be understood.", 502, is_retryable=True
    ),
    "engine_failed": ErrorEntry("The engine failed on this request.", 502, is_retryable=True),
    "engine_stalled": ErrorEntry("The engine stopped answering.", 504, is_retryable=True),
    "engine_stopped": ErrorEntry("The provider stopped the request.", 503, is_retryable=True),
    "engine_unavailable": ErrorEntry("The server behind the provider is away.", 503, is_retryable=True),
    "model_too_big": ErrorEntry("The model doesn't fit into memory.", 507),
    "model_unusable": ErrorEntry("The model file is damaged, or of a kind that isn't served.", 500),
    "too_many_requests": ErrorEntry("One buyer has too many requests in the queue.", 429, is_retryable=True),
    "unknown_model": ErrorEntry("There is no such model.", 404, as_usage=True),
    "upstream_refused": ErrorEntry("The server behind the provider refuses its key.", 502),
    "upstream_unusable": ErrorEntry("The server behind the provider lacks what is needed.", 502),
}

HUB: Final[_Table] = {
    "gated_repo": ErrorEntry("The repository is open to those alone who accepted its terms.", 403),
    "hub_failed": ErrorEntry("The model hub failed.", 502),
    "hub_rate_limited": ErrorEntry("The model hub asks for fewer requests.", 429, is_retryable=True),
    "hub_unreachable": ErrorEntry("The model hub can't be reached.", 503, is_retryable=True),
    "model_in_use": ErrorEntry("The model is loaded, or needed, now.", 409),
    "no_such_quantization": ErrorEntry("The repository has no such file.", 404),
    "not_removable": ErrorEntry("That model can't be removed here.", 409),
    "pull_running": ErrorEntry("Another process pulls the same file.", 409, is_retryable=True),
    "transfer_broken": ErrorEntry("A transfer broke off too often.", 502, is_retryable=True),
    "unknown_repo": ErrorEntry("There is no such repository.", 404),
    "wrong_hash": ErrorEntry("A file is not what the hub says it is.", 502),
}

RELAY: Final[_Table] = {
    "auth": _relay("A node or a relay could not prove its identity.", 401, is_retryable=False),
    "circuit_closed": ErrorEntry("A circuit ended with a code that isn't known here.", 502, is_retryable=True),
    "circuit_reused": _relay("A node used a circuit's number again.", 502),
    "circuit_unknown": _relay("A message names a circuit that never was.", 502),
    "credit": _relay("A peer sent more than the other side had room for.", 502),
    "done": ErrorEntry("The other side ended the circuit, and nothing was wrong.", 502, ends_circuit=True),
    "handshake_timeout": _relay("A node took too long to prove its identity.", 504),
    "idle_timeout": _relay("A node was silent for too long.", 504),
    "limit_buffer": _relay("A node doesn't read what waits for it.", 502),
    "limit_circuits": _relay("A node has as many circuits as it may have.", 503, ends_circuit=True),
    "limit_connections": _relay("Too many connections come from one address.", 429),
    "limit_frame": _relay("A frame or message is longer than the relay takes.", 413),
    "limit_nodes": _relay("The relay is full.", 503),
    "limit_offer_bytes": _relay("An offer is longer than the relay takes.", 413),
    "limit_offers": _relay("A node lists more offers than it may.", 429),
    "limit_queries": _relay("A node asks for more offers before it has read those it was sent.", 429),
    "limit_rate": _relay("A node sends more than it may in a second.", 429),
    "peer_gone": ErrorEntry("The peer has left the relay.", 503, is_retryable=True, ends_circuit=True),
    "peer_refused": ErrorEntry("The peer refused the circuit.", 503, is_retryable=True, ends_circuit=True),
    "peer_timeout": ErrorEntry("The peer didn't take the circuit in time.", 504, is_retryable=True),
    "peer_unknown": ErrorEntry("No such node is connected to this relay.", 503, is_retryable=True, ends_circuit=True),
    "protocol": _relay("A peer sent something that the protocol doesn't allow.", 502),
    "relay_closing": _relay("The relay is shutting down.", 503),
    "relay_lost": ErrorEntry("The relay was away for too long.", 503, is_retryable=True, ends_circuit=True),
    "relay_unreachable": ErrorEntry("The relay can't be reached, or gave no answer.", 503, is_retryable=True),
    "relay_url": ErrorEntry("The relay's address is no ws:// or wss:// URL.", 400),
    "replaced": _relay("The same identity connected from elsewhere.", 409, is_retryable=False),
    "version": _relay("The two sides share no version of the protocol.", 426, is_retryable=False),
}
