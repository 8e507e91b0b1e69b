"""Steps of the transition that several tests take."""

from chain.state import RollupState
from chain.stf import Code, apply
from chain.txs import (
    CloseTogether,
    Redeem,
)
from tests.chain.support import (
    RULES,
    signed_once,
)

VOUCHER_KEY = 9


def code_of(state: RollupState, raw: bytes) -> Code:
    """The code of a transaction, which must change nothing unless it is OK."""
    root = state.root()
    outcome = apply(state, raw, RULES)
    assert outcome.code is Code.OK or state.root() == root
    return outcome.code


def redeem(state: RollupState, channel_id: int, cumulative: int, voucher_key: int = VOUCHER_KEY) -> Code:
    return code_of(state, signed_once(Redeem(channel_id, cumulative), voucher_key))


def close_together(state: RollupState, channel_id: int, cumulative: int, signer: int = 2) -> Code:
    return code_of(state, signed_once(CloseTogether(channel_id, cumulative), signer))


def balances(state: RollupState) -> list[int]:
    accounts = [state.account(number) for number in (1, 2, 3)]
    return [account.balance_nano for account in accounts if account]
