"""What an operator may set about a sequencer."""

from __future__ import annotations

import msgspec

from chain.fees.policy import FeePolicy


class SequencerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Limits and intervals of a sequencer."""

    batch_interval_s: float = 1.0
    """The longest a transaction waits for its batch to be sealed."""
    poll_s: float = 0.25
    """How often L1 is asked for inbox messages and finality."""
    inbox_confirmations: int = 12
    """How many L1 blocks must stand on an inbox message's before it is executed, unless it has waited for half of the
    force delay. An L1 that reorganizes swaps messages, and what was built on them is built again; one that never does
    needs 0."""
    min_fee_nano: int = 1_000
    """The least fee of a signed transaction that carries one: a millionth of a dollar."""
    fees: FeePolicy = FeePolicy()
    """How fees follow L1's cost and the traffic above that."""
    fee_owner: bytes | None = None
    """Who gets the fees, 20 bytes: its account on L2 is created where there is none. The sequencer's own address if not
    given."""
    collect_fees_from_nano: int = 10_000_000
    """How much must be in the fee pool for a batch to end with its collection; a cent."""
    max_pending_txs: int = 10_000
    """Executed but not yet posted; beyond it new transactions are refused as ``busy``."""
    max_waiting_txs: int = 1_000
    """Handed in but not yet executed."""
    max_batch_txs: int = 1_000
    max_batch_bytes: int = 100_000
    accounts_per_minute: int = 600
    """How many accounts may be created without a signature or fee; one client may create an eighth of them."""
    submissions_per_minute: int = 48_000
    """How many transactions all clients may hand in, whether they are taken or not; one client an eighth of them."""
    prune_after_s: float = 86_400.0
    """How long an account must have held nothing, unused, before it is removed."""
    prune_per_batch: int = 64
    """How many are removed in one batch at most."""
    prune_per_round: int = 64
    """How many are removed at once at most."""
    prune_round_s: float = 5.0
    """How often accounts that hold nothing are looked for."""
    handover_s: float = 15.0
    """How long before the end of its turn a sequencer takes nothing more, so that L1 has what it acknowledged; at most
    a quarter of the turn."""
    settle_timeout_s: float = 10.0
    """How long a reader of the head waits for acknowledged transactions that L1's history put off."""
    retry_s: float = 0.25
    """First pause after L1 failed; doubles up to ``max_retry_s``."""
    max_retry_s: float = 5.0
    operate: bool = True
    """Whether this sequencer also makes batches final and claims withdrawals, paying the gas."""
    snapshot: str | None = None
    """A file or a URL with a final state that a new database begins with."""
