"""Deposits that no account can take, collected fees and pruned accounts: all of it leaves to the last unit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from chain.l1.connection import checksum
from chain.signing import sign_digest
from chain.state import RollupState
from chain.txs import CollectFees, CreateAccount, Prune, Withdraw
from chain.types import META_KEY, REGION_CAPACITY, Account, Meta, account_key, withdrawal_key
from tests.chain.contracts.conftest import FREEZE_S, NANO, WINDOW_S, inbox_of, person
from tests.chain.contracts.harness import KEYS, Handle, Ledger, Reverted
from tests.chain.contracts.l2 import L2

LAST = REGION_CAPACITY - 1
CAROL = checksum(person(2))


@pytest.fixture
def nearly_full(ledger: Ledger, deploy_rollup: Callable[..., Handle], asset: Handle) -> L2:
    """A rollup whose genesis state has one account number left."""
    state = RollupState.from_leaves([(META_KEY, Meta(next_account=LAST))])
    rollup = deploy_rollup(genesisRoot=state.root())
    rollup.send("depositBond", value_wei=10**18)
    l2 = L2(ledger, rollup, inbox_of(ledger, rollup, asset))
    l2.state = state
    return l2


def exit_arguments(state: RollupState, number: int, account: Account) -> tuple[Any, ...]:
    fields = (
        checksum(account.owner), account.balance_nano, account.nonce, account.stake_nano, account.unlocking_nano,
        account.unlock_at_s, account.channels, account.slash_from,
    )  # fmt: skip
    return number, fields, state.proof(account_key(number))


def freeze(l2: L2) -> None:
    l2.force(b"nobody executes this")
    l2.ledger.now_s += FREEZE_S + 1
    l2.rollup.send("freeze")


def test_a_deposit_into_a_full_region_is_claimed_by_its_owner_and_nothing_stays(nearly_full: L2, asset: Handle) -> None:
    l2, rollup = nearly_full, nearly_full.rollup
    l2.deposit(person(1), 500)
    l2.deposit(person(2), 70)
    l2.post()
    l2.finalize(WINDOW_S)

    key = withdrawal_key(1)
    rollup.send("claimWithdrawal", 0, key, (CAROL, 70, 0, 1), l2.state.proof(key), key=KEYS[3])
    freeze(l2)
    account = l2.state.account(LAST)
    assert account is not None
    rollup.send("exitAccount", *exit_arguments(l2.state, LAST, account), key=KEYS[3])

    assert asset.call("balanceOf", CAROL) == 70 * NANO
    assert asset.call("balanceOf", rollup.contract.address) == 0
    with pytest.raises(Reverted, match="NotRefundable"):
        rollup.send("refundDeposit", 1, CAROL, 2**32 - 1, 70)


def test_a_batch_that_keeps_such_a_deposit_for_itself_is_disproven(nearly_full: L2) -> None:
    l2 = nearly_full
    l2.deposit(person(1), 500)
    l2.deposit(person(2), 70)
    lying = l2.post(lies={0: b"\x66" * 32})

    sent = l2.prove(lying.proof(0))

    assert sent.event("FraudProven")["code"] == 8
    assert l2.rollup.call("count") == 0


def test_fees_leave_with_whoever_collected_them_and_pruned_accounts_have_nothing_to_leave_with(
    ledger: Ledger, deploy_rollup: Callable[..., Handle], asset: Handle
) -> None:
    genesis = RollupState.genesis()
    rollup = deploy_rollup(genesisRoot=genesis.root())
    rollup.send("depositBond", value_wei=10**18)
    l2 = L2(ledger, rollup, inbox_of(ledger, rollup, asset))
    l2.deposit(person(0), 1_000)
    leave = Withdraw(1, 990, 10, person(2))
    l2.post(
        CreateAccount(person(1)).encode()
        + leave.encode(sign_digest(KEYS[0], leave.digest(l2.domain, 0)))
        + CollectFees(2).encode()
        + Prune(1).encode()
    )
    l2.finalize(WINDOW_S)
    freeze(l2)

    assert l2.state.account(1) is None
    with pytest.raises(Reverted, match="WrongProof"):
        rollup.send("exitAccount", *exit_arguments(l2.state, 1, Account(owner=person(0), nonce=1)))
    account = l2.state.account(2)
    assert account is not None
    assert account.balance_nano == 10
    rollup.send("exitAccount", *exit_arguments(l2.state, 2, account))
    key = withdrawal_key(1)
    rollup.send("claimWithdrawal", 0, key, (CAROL, 990, 1, 0), l2.state.proof(key))
    assert asset.call("balanceOf", rollup.contract.address) == 0
