"""Fees belong to whoever posts the batch: the sequencer moves the pool to its own account at a batch's end."""

from __future__ import annotations

from chain.logs import get_logger
from chain.sequencer.head import Head, TxRefusedError
from chain.txs import CollectFees, CreateAccount

log = get_logger(__name__)


def collect_fees(head: Head, owner: bytes, least_nano: int, l1_time_s: int) -> None:
    """Put the pool's money into an owner's account, which is created where there is none.

    Where the transition refuses that, the fees stay in the pool for a later batch.

    Args:
        head: Its open batch ends with this.
        owner: Who is paid, 20 bytes.
        least_nano: Below that much the pool isn't worth a transaction.
        l1_time_s: For the L2 time of the batch.
    """
    pool_nano = head.state.meta.fee_pool_nano
    if not pool_nano or pool_nano < least_nano:
        return
    try:
        if (account := head.account_number(owner)) is None:
            account = head.execute(CreateAccount(owner).encode(), l1_time_s).allocated
        assert account is not None
        head.execute(CollectFees(account).encode(), l1_time_s)
    except TxRefusedError as error:
        log.warning("fees_not_collected", reason=error.tx_code.name.lower())
        return
    log.info("fees_collected", account=account, amount_nano=pool_nano)
