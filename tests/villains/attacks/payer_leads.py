"""A payer whose friend leads closes alone, and the leader keeps the payee's redeem out for as long as it can."""

from __future__ import annotations

from pathlib import Path

from chain.delays import reaction_s, succession_s
from chain.rules.binding import bound_address
from chain.signing import sign_digest
from chain.txs import Expire, StartClose
from tests.villains.arena import ALICE_KEY, ALICE_NUMBER, BOB_NUMBER, NANO, Arena, Clock, arena, voucher
from tests.villains.attack import Attack, Result
from tests.villains.lies import plan_lie, refused_as

ATTACK = Attack(
    name="payer-leads",
    who="a payer who leads",
    does="closes a channel alone on an L2 that lags, and leaves the forced redeem out",
    before="the whole channel: with force 12 h, takeover 24 h and close 12 h, who forced at once got nothing",
)
PAID_NANO = 2 * NANO


async def fight(template: Path, folder: Path) -> Result:
    """See the payee paid to the last unit by whoever takes over."""
    async with arena(template, folder) as where:
        deployment, leader = where.deployment, where.sequencer
        await where.pass_time(1_000)
        bob = _balance(where)
        late = Clock(where.clock.now_s - deployment.force_delay_s - 1)
        leader._clock = late
        assert await refused_as(leader.post(_close(where))) == "l2_time_behind"
        late.now_s += 1
        await leader.post(_close(where))
        channel = leader.state.channel(1)
        assert channel is not None
        # The payee sees it as late as it may.
        await where.pass_time(reaction_s(deployment))
        await where.prover.force_tx(voucher(deployment, PAID_NANO))
        late.now_s = channel.closing_at_s
        assert await refused_as(leader.post(Expire(1).encode())) == "l2_time_ahead"
        await where.pass_time(deployment.force_delay_s + 1)
        assert await refused_as(_post_without_inbox(where)) == "inbox_ignored"
        await where.pass_time(deployment.takeover_delay_s - deployment.force_delay_s + succession_s(deployment) - 1)
        honest = await where.takeover()
        await honest.post()
        account = honest.state.account(BOB_NUMBER)
        assert account is not None
        assert account.balance_nano == bob + PAID_NANO - channel.redeemed_nano
    return Result(
        stopped_by="refused (l2_time_behind, l2_time_ahead, inbox_ignored); who takes over executes the redeem in time",
        cost="its lead",
        gained="nothing",
    )


def _balance(where: Arena) -> int:
    account = where.sequencer.state.account(BOB_NUMBER)
    assert account is not None
    return account.balance_nano


def _close(where: Arena) -> bytes:
    state, tx = where.sequencer.state, StartClose(1)
    payer = state.account(ALICE_NUMBER)
    assert payer is not None
    digest = tx.digest(where.deployment.domain, payer.nonce, bound_address(state, tx))
    return tx.encode(sign_digest(ALICE_KEY, digest))


async def _post_without_inbox(where: Arena) -> None:
    """The leader's next batch, with the messages left out that it was asked to execute."""
    state = where.sequencer.state
    mark = state.mark()
    batch = await plan_lie(where, state, bytes(32))
    state.rollback(mark)
    await batch.post(where.operator)
