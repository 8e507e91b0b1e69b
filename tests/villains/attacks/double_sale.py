"""A recipient who sells its withdrawal's claim twice, and then claims it itself."""

from __future__ import annotations

from pathlib import Path

from chain.errors import ChainRejectedError
from chain.l1.connection import checksum
from chain.l1.rollup_l1 import JsonRpcRollupL1
from chain.orders import SignedOrder, WithdrawalOrder, claim_key
from chain.signing import sign_digest
from chain.txs import Withdraw
from chain.types import withdrawal_key
from tests.villains.arena import ALICE, ALICE_KEY, ALICE_NUMBER, NANO, PROVER, Arena, arena
from tests.villains.attack import Attack, Result

ATTACK = Attack(
    name="double-sale",
    who="a recipient",
    does="sells a withdrawal's claim to two buyers on other terms, and claims it itself when it is final",
    before="nothing: claims could not be sold",
)
AMOUNT_NANO, FEE_NANO = 10 * NANO, NANO // 10


async def fight(template: Path, folder: Path) -> Result:
    """See the second sale revert and the claim pay the first buyer."""
    async with arena(template, folder) as where:
        first, second = where.prover, where.second
        for buyer in (first, second):
            await _fund(buyer)
        account = where.sequencer.state.account(ALICE_NUMBER)
        assert account is not None
        tx = Withdraw(ALICE_NUMBER, AMOUNT_NANO, 10, ALICE)
        await where.sequencer.post(tx.encode(sign_digest(ALICE_KEY, tx.digest(where.deployment.domain, account.nonce))))
        before = {one: await first.held_nano(one) for one in (ALICE, PROVER)}

        assert await _buys(where, first, FEE_NANO) == ""
        assert await _buys(where, second, 3 * FEE_NANO) == "already_sold"
        assert await _buys(where, first, FEE_NANO) == "already_sold"

        await where.pass_time(where.deployment.challenge_window_s)
        await where.operator.finalize()
        thief = JsonRpcRollupL1(where.server.url, where.deployment, ALICE_KEY)
        try:
            await _claim(where, thief)
        finally:
            await thief.aclose()
        assert await first.held_nano(ALICE) == before[ALICE] + AMOUNT_NANO - FEE_NANO, "paid once, less the fee"
        assert await first.held_nano(PROVER) == before[PROVER] + FEE_NANO, "the buyer has the claim and the fee"
    return Result(
        stopped_by="refused (already_sold); the claim pays its buyer",
        cost="the gas of what is refused",
        gained="nothing beyond the first price",
    )


async def _fund(buyer: JsonRpcRollupL1) -> None:
    assert buyer.signer is not None
    deployment = await buyer.deployment()
    asset = buyer.connection.contract("TestUSD", deployment.asset_address)
    units = 100 * NANO * NANO
    await buyer.signer.send(asset.functions.mint(checksum(buyer.signer.address), units))
    await buyer.allow(AMOUNT_NANO, up_to_nano=100 * NANO)


async def _buys(where: Arena, buyer: JsonRpcRollupL1, fee_nano: int) -> str:
    """Buy at the whole of a fee; returns the refusal's code, if it was refused."""
    state = where.sequencer.state
    leaf = state.withdrawal(state.meta.next_withdrawal - 1)
    assert leaf is not None
    now_s = await buyer.time_s()
    order = WithdrawalOrder(withdrawal=leaf, max_fee_nano=fee_nano, start_s=now_s - 10, deadline_s=now_s)
    signed = SignedOrder(order=order, signature=sign_digest(ALICE_KEY, order.digest(where.deployment.domain)))
    index = withdrawal_key(state.meta.next_withdrawal - 1)
    try:
        await buyer.buy_withdrawal(await buyer.batch_count() - 1, index, state.proof(index), signed)
    except ChainRejectedError as error:
        return error.code
    assert await buyer.claimant(claim_key(leaf)) == buyer.sender
    return ""


async def _claim(where: Arena, l1: JsonRpcRollupL1) -> None:
    state = where.sequencer.state
    number = state.meta.next_withdrawal - 1
    leaf = state.withdrawal(number)
    assert leaf is not None
    index = withdrawal_key(number)
    await l1.claim_withdrawal(await l1.batch_count() - 1, index, leaf, state.proof(index))
