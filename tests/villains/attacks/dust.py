"""A user who makes the operator pay: withdrawals and redeems of one nano, and a crowd of free accounts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from chain.errors import ChainRejectedError
from chain.fees.policy import FeePolicy
from chain.sequencer import Sequencer, SequencerConfig
from chain.signing import address_of, keccak256, sign_digest
from chain.tx_format import NoncedTx
from chain.txs import OpenChannel, Redeem, Withdraw
from tests.villains.arena import ALICE, ALICE_KEY, ALICE_NUMBER, NANO, VOUCHER_KEY, arena
from tests.villains.attack import Attack, Result

ATTACK = Attack(
    name="dust",
    who="a user",
    does="withdraws 1 nano 40 times, redeems 1 nano from itself 3,000 times, and creates free accounts without end",
    before="3.6M gas of claims and 9M of redeems, paid by the operator, and no newcomer got an account",
)
REDEEMS = 3_000
WITHDRAWALS = 40
FLOOD = 1_000
NEWCOMERS = 10
GWEI = 10**9
ATTACKER = "198.51.100.7"


async def fight(template: Path, folder: Path) -> Result:
    """See each refused or paid for, at the prices of 1 gwei and $3,000 an ether."""
    async with arena(template, folder) as where:
        gas_price_wei = await where.operator.gas_price_wei()
        # The arena's gas costs a few wei, so its ether is made dearer: a unit of gas costs what it would.
        policy = FeePolicy(ether_price_nano=3_000 * NANO * GWEI // gas_price_wei)
        config = SequencerConfig(poll_s=0.05, fees=policy, accounts_per_minute=80, operate=False)
        async with Sequencer(where.operator, folder / "dust.db", config=config) as sequencer:
            await _withdrawals(sequencer)
            paid_nano = await _redeems(sequencer)
            await _accounts(sequencer)
            await sequencer.flush()
            assert sequencer.queries.books().earned_nano == paid_nano
            return Result(
                stopped_by="refused (withdrawal_too_small, redeem_too_small, rate_limited)",
                cost=f"${paid_nano / NANO:.2f} for opening the channel",
                gained="3 redeems that it paid for",
            )


async def _withdrawals(sequencer: Sequencer) -> None:
    """Even at the full fee, nothing that isn't worth its claim is taken."""
    fee_nano = sequencer.queries.fees().withdraw_nano
    refused = Counter(
        [
            await _refusal(sequencer, _signed(sequencer, Withdraw(ALICE_NUMBER, 1, fee_nano, ALICE)))
            for _ in range(WITHDRAWALS)
        ]
    )
    assert refused == {"withdrawal_too_small": WITHDRAWALS}


async def _redeems(sequencer: Sequencer) -> int:
    """What is taken was paid for when the channel was opened; returns the fee."""
    quote = sequencer.queries.fees()
    expiry_s = sequencer.queries.l2_time_s() + 10**6
    tx = OpenChannel(ALICE_NUMBER, ALICE_NUMBER, address_of(VOUCHER_KEY), NANO, expiry_s, quote.open_channel_nano)
    opened = await sequencer.submit(_signed(sequencer, tx))
    assert opened.allocated_index is not None
    refused: Counter[str] = Counter()
    for _ in range(REDEEMS):
        channel = sequencer.head.state.channel(opened.allocated_index)
        assert channel is not None
        redeem = Redeem(opened.allocated_index, channel.redeemed_nano + 1)
        signature = sign_digest(VOUCHER_KEY, redeem.digest(sequencer.ledger.rules.domain))
        refused[await _refusal(sequencer, redeem.encode(signature))] += 1
    assert refused == {"": 3, "redeem_too_small": REDEEMS - 3}
    policy = sequencer.config.fees
    gas = (OpenChannel.SIZE + 3 * Redeem.SIZE) * policy.gas_per_byte
    assert quote.open_channel_nano >= gas * 3_000, "what was taken is paid for"
    return quote.open_channel_nano


async def _accounts(sequencer: Sequencer) -> None:
    """One address gets an eighth of the rate, and every newcomer an account."""
    created = 0
    for number in range(FLOOD):
        try:
            await sequencer.create_account(keccak256(b"crowd %d" % number)[:20], ATTACKER)
            created += 1
        except ChainRejectedError as error:
            assert error.code == "rate_limited"  # noqa: PT017 - counted, not expected each time
    assert created < 20
    for number in range(NEWCOMERS):
        await sequencer.create_account(keccak256(b"newcomer %d" % number)[:20], f"203.0.113.{number}")


async def _refusal(sequencer: Sequencer, raw: bytes) -> str:
    try:
        await sequencer.submit(raw)
    except ChainRejectedError as error:
        return error.code
    return ""


def _signed(sequencer: Sequencer, tx: NoncedTx) -> bytes:
    account = sequencer.head.state.account(ALICE_NUMBER)
    assert account is not None
    bound = ALICE if isinstance(tx, OpenChannel) else b""
    return tx.encode(sign_digest(ALICE_KEY, tx.digest(sequencer.ledger.rules.domain, account.nonce, bound)))
