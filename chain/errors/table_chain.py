"""The codes of the rollup: its clients, its sequencer, its devnet, and its contracts' own errors."""

from __future__ import annotations

from typing import Final

from chain.errors.codes import ErrorCode
from chain.errors.entry import EXIT_USAGE, ErrorEntry, JsonRpc

_Table = dict[ErrorCode, ErrorEntry]


def _refused(meaning: str, http_status: int = 409, *, is_retryable: bool = False) -> ErrorEntry:
    return ErrorEntry(meaning, http_status, JsonRpc.REJECTED, is_retryable=is_retryable)


def _away(meaning: str, http_status: int = 503) -> ErrorEntry:
    return ErrorEntry(meaning, http_status, JsonRpc.UNAVAILABLE, is_retryable=True)


def _busy(meaning: str) -> ErrorEntry:
    return ErrorEntry(meaning, 429, JsonRpc.BUSY, is_retryable=True)


def _usage(meaning: str) -> ErrorEntry:
    return ErrorEntry(meaning, 400, JsonRpc.INVALID_PARAMS, EXIT_USAGE)


CHAIN: Final[_Table] = {
    "account_exists": _refused("The address has an account already."),
    "bad_evidence": _refused("Two receipts don't contradict each other, or one is not the provider's.", 400),
    "bad_hash": _usage("A hash has another length than 32 bytes."),
    "bad_order": _usage("Nobody could sell a withdrawal on such terms."),
    "bad_params": _usage("A parameter of a call is missing, unknown or wrong."),
    "bad_signature": ErrorEntry(
        "A signature or its nonce doesn't fit the account.", 400, JsonRpc.REJECTED, as_usage=True
    ),
    "bad_snapshot": _refused("A snapshot is damaged, foreign, or not what L1 says.", 502),
    "batch_taken": _refused("Another batch of this number stands on L1."),
    "board_full": _busy("The board has no room for another offer or word."),
    "busy": _busy("The server has too much to do."),
    "chain_bad_answer": _away("The chain's answer makes no sense.", 502),
    "chain_rejected": _refused("The chain refused, for a reason that has no code here."),
    "chain_timeout": _away("The chain didn't answer in time.", 504),
    "chain_unreachable": _away("The chain can't be reached."),
    "channel_unavailable": _refused("The channel doesn't exist, is closing, or has expired."),
    "contract_build": ErrorEntry("The contracts can't be compiled.", 500),
    "devnet_damaged": ErrorEntry("A file of the devnet can't be read.", 500),
    "devnet_running": ErrorEntry("A devnet runs in this home already.", 409),
    "devnet_version": ErrorEntry("The devnet was made by another version.", 500),
    "diverged": ErrorEntry("The sequencer's state contradicts a batch on L1.", 500),
    "faucet_limit": _refused("The faucet gave money a moment ago.", 429, is_retryable=True),
    "fee_too_low": _refused("The fee is below what the sequencer takes.", 402),
    "foreign_chain": _refused("The chain is another one than before."),
    "foreign_contract": _refused("The contract on L1 is not this version's rollup."),
    "insufficient_funds": _refused("The L1 account holds less than the deposit.", 402),
    "invalid_batch": ErrorEntry("A batch on L1 doesn't follow from the state before it.", 502),
    "l1_behind": _away("The L1 node shows less than what was final."),
    "l1_pruned": _away("The L1 node dropped the history that is asked for.", 502),
    "l1_slow": _away("L1 takes too long.", 504),
    "malformed": _refused("The bytes are no transaction of this rollup.", 400),
    "malformed_batch": ErrorEntry("The bytes are no batch.", 502),
    "malformed_transaction": _usage("The bytes are no transaction of a known type and length."),
    "malleable_signature": _refused("A signature has a high s value.", 400),
    "missing_receiver": _refused("The receiver has no account.", 404),
    "missing_sender": _refused("The sender has no account.", 404),
    "no_attester": _refused("Nobody with a bond signed this.", 403),
    "no_chain": ErrorEntry("No chain is set.", 503, JsonRpc.UNAVAILABLE, as_usage=True),
    "no_dev_account": ErrorEntry("The L1 offers no account with test money.", 502),
    "no_gas": _refused("The L1 address has too little ether for the gas.", 402),
    "no_snapshot": _refused("The server offers no snapshot.", 404),
    "no_such_withdrawal": _refused("There is no such withdrawal.", 404),
    "nonce": _refused("Another transaction of the same L1 key was quicker.", is_retryable=True),
    "not_final": _refused("It isn't final yet.", is_retryable=True),
    "not_forcible": _usage("A transaction of this kind can't be forced through L1."),
    "not_included": _away("A transaction didn't get far enough in time.", 504),
    "not_leading": _refused("The sequencer stands by, and may not post to L1 now.", 503, is_retryable=True),
    "old_devnet": ErrorEntry("The devnet was made by another version, with other contracts.", 500),
    "operator_unfunded": ErrorEntry("The sequencer has too little ether on L1.", 402),
    "out_of_range": _usage("A number of a transaction doesn't fit its width."),
    "overdraft": _refused("The balance doesn't cover the amount and the fee.", 402),
    "overflow": _refused("An amount, nonce or index would grow too large.", 400),
    "rate_limited": _busy("Too many accounts were created, or transactions handed in, within a minute."),
    "read_only": _refused("There is no key to send with.", 403),
    "realigning": _away("The sequencer brings its state into agreement with L1."),
    "redeem_quota": _refused("A channel has used up the redeems that were paid for.", 429),
    "redeem_too_small": _refused("A redeem brings too little for the few that its channel has left.", 402),
    "refused": _refused("The rollup's rules refuse a transaction."),
    "reverted": _refused("An L1 contract refused without saying why."),
    "sequencer_halted": _refused("The sequencer stopped, since something is wrong.", 503),
    "sequencer_storage": ErrorEntry("The sequencer's database failed.", 500),
    "stake_unavailable": _refused("There is no such stake to move, or its delay isn't over."),
    "too_early": _refused("A time that must pass first isn't over.", is_retryable=True),
    "unknown_method": ErrorEntry("The server has no such method.", 404, JsonRpc.UNKNOWN_METHOD),
    "villain_done": _refused("A villain has done its harm and stops."),
    "withdrawal_too_small": _refused("A withdrawal is worth less than its payment on L1 costs.", 402),
}

CONTRACTS: Final[_Table] = {
    "already_claimed": _refused("The leaf was paid out before."),
    "already_committed": _refused("The sender committed to this proof before."),
    "already_frozen": _refused("The rollup froze, and takes no batch any more."),
    "already_sold": _refused("Somebody took this claim over before."),
    "asset_transfer_failed": _refused("The asset refused a transfer, or moved another amount."),
    "blob_too_long": _refused("The batch's data is longer than L1 takes.", 413),
    "bond_is_leaving": _refused("The bond is on its way out."),
    "bond_locked": _refused("The sequencer's newest batch isn't final.", is_retryable=True),
    "bond_stays": _refused(
        "The sequencer joined the list, or began a turn, within the last window.", is_retryable=True
    ),
    "bond_too_small": _refused("The sequencer's bond is below the least one.", 402),
    "channel_over": _refused("The channel's time had run out by the last state."),
    "committed_too_early": _refused("The commitment is no younger than the batch that it is about."),
    "ether_refused": _refused("The receiver refused its ether."),
    "exits_closed": _refused("The rollup isn't frozen, or a batch can still be disproved."),
    "frame_too_long": _refused("A frame of the batch is longer than L1 takes.", 413),
    "inbox_backwards": _refused("The batch executes less of the inbox than the one before it."),
    "inbox_beyond_end": _refused("The batch claims more messages than have arrived."),
    "inbox_ignored": _refused("The batch leaves out a message that has waited too long."),
    "insufficient_allowance": _refused("The spender may take less of the asset than the call takes.", 402),
    "insufficient_balance": _refused("The account holds less of the asset than the call moves.", 402),
    "invalid_parameters": _refused("The rollup's parameters contradict each other.", 400),
    "l2_time_ahead": _refused("The batch's time is too far before L1's.", is_retryable=True),
    "l2_time_backwards": _refused("The batch's time lies before the previous batch's."),
    "l2_time_behind": _refused("The batch's time is too far behind L1's."),
    "leaf_missing": _refused("The witness lacks a leaf that is needed."),
    "leaves_out_of_order": _refused("The witness's leaves are not in ascending order."),
    "meta_leaf_missing": _refused("The witness lacks the meta leaf."),
    "no_attestation": _refused("Nobody with a bond signed this about the batch."),
    "no_bond": _refused("The sender has no bond.", 404),
    "no_channel_exit": _refused("Nobody began this channel's exit, or it is over.", 404),
    "no_frames": _refused("The batch has no frame.", 400),
    "no_reward": _refused("Nothing waits for a prover there.", 404),
    "no_such_batch": _refused("No batch has this number.", 404),
    "no_such_messages": _refused("The inbox has fewer messages.", 404),
    "no_such_number": _refused("The number is beyond its region of the state.", 404),
    "not_a_leaf": _refused("No such leaf lives at this state index."),
    "not_a_withdrawal": _refused("The state index belongs to no withdrawal.", 404),
    "not_canonical": _refused("The batch's calldata isn't in its one canonical form.", 400),
    "not_challengeable": _refused("The batch is final already, or doesn't stand."),
    "not_committed": _refused("The sender didn't commit to this proof."),
    "not_fraud": _refused("The frame is right."),
    "not_leader": _refused("Another sequencer leads.", 503, is_retryable=True),
    "not_overdue": _refused("No message has waited long enough for a freeze.", is_retryable=True),
    "not_proven_wrong": _refused("Nobody proved a batch of this hash wrong."),
    "not_refundable": _refused("The message is no such deposit, or the last state has it."),
    "not_sent_directly": _refused("A batch must be the data of a transaction that its sender signed."),
    "not_whole_units": _refused("The amount is finer than the asset's smallest unit.", 400),
    "nothing_to_finalize": _refused("Nothing new would become final."),
    "order_over": _refused("The offer is over, or ends too far ahead."),
    "permit_expired": _refused("The signed approval's time is over."),
    "reveal_too_early": _refused("The commitment isn't old enough.", is_retryable=True),
    "reward_not_final": _refused("An earlier batch of the same bond can still be disproved.", is_retryable=True),
    "rollup_frozen": _refused("The rollup froze, and executes nothing any more."),
    "slashed_before": _refused("This watchtower vouched for a wrong batch once.", 403),
    "truncated": _refused("The batch's data ends too early.", 400),
    "unknown_version": _refused("The batch's data is of a version that the contract doesn't know.", 400),
    "unsupported_decimals": _refused("The asset's decimals can't be used."),
    "voucher_out_of_range": _refused("The voucher promises no more than is known, or more than the channel holds."),
    "voucher_window": _refused("Higher vouchers are still taken.", is_retryable=True),
    "window_open": _refused("The newest of these batches can still be challenged.", is_retryable=True),
    "wrong_batch_id": _refused("Another batch took this number, or it lies ahead."),
    "wrong_body_length": _refused("A forced transaction has a length that isn't taken.", 400),
    "wrong_frame": _refused("The frame is not in the batch at this place."),
    "wrong_inbox_hash": _refused("The inbox holds other messages than the batch was built on."),
    "wrong_messages": _refused("The messages are not those that the frame executes."),
    "wrong_order": _refused("The withdrawal's recipient didn't sign these terms for it."),
    "wrong_permit": _refused("The signed approval isn't the owner's next one."),
    "wrong_previous_root": _refused("The batch builds on another state than the newest one."),
    "wrong_previous_state": _refused("The witness is of another state."),
    "wrong_proof": _refused("The proof leads to another root than the batch's."),
    "wrong_terms": _refused("The fee would exceed the amount, or would never rise."),
    "wrong_voucher": _refused("The voucher was not signed by the channel's voucher key."),
    "wrong_witness_length": _refused("The witness ends early, or goes on after its end."),
    "zero_amount": _refused("A deposit of nothing isn't taken.", 400),
    "zero_owner": _refused("No key owns the zero address.", 400),
    "zero_recipient": _refused("The zero address can't receive the asset.", 400),
}
