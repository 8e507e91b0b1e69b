"""A sequencer whose RPC lies about balances, channels, payees and proofs, to a wallet that can ask an L1."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from chain.errors import IdlewattError
from node.rollup.verification import Verification
from tests.villains.attack import Attack, Result
from tests.wallet.keys import voucher_key
from tests.wallet.test_lying_rpc import ACCOUNT_LIES, CHANNEL_LIES, FORGED_PROOFS, USD, Place, each, one, place_in
from wallet.service import WalletService
from wallet.verifier import StateVerifier

ATTACK = Attack(
    name="lying-rpc",
    who="a sequencer",
    does="tells wallets wrong balances, numbers, payees, channels and proofs",
    before="a wallet's channel and transfer, sent to another account while both wallets showed the provider as payee",
)
SOFT_CREDIT_NANO = 50_000_000


async def fight(template: Path, folder: Path) -> Result:
    """See every lie contradicted, and a channel that is made up earn no more than the soft credit."""
    noticed = 0
    folder.mkdir(parents=True, exist_ok=True)
    async with place_in(folder) as place:
        for lie, _ in ACCOUNT_LIES:
            place.lie(rollup_accountsOf=each(**lie))
            noticed += await _is_contradicted(place.verifier.accounts(place.payer))
        for lie, _ in CHANNEL_LIES:
            place.lie(rollup_channel=one(**lie))
            noticed += await _is_contradicted(place.verifier.channel(place.channel))
        for forged in FORGED_PROOFS:
            place.lie(rollup_proof=one(**forged))
            noticed += await _is_contradicted(place.verifier.accounts(place.payer))
        noticed += await _swapped_payee(place)
        await _made_up_channel(place)
    assert noticed == len(ACCOUNT_LIES) + len(CHANNEL_LIES) + len(FORGED_PROOFS) + 1
    return Result(
        stopped_by=f"contradicted by L1's roots ({noticed} of {noticed} lies)",
        cost="nothing",
        gained="nothing; of a provider $0.05 of work on each channel that it makes up",
    )


async def _swapped_payee(place: Place) -> bool:
    async def find() -> StateVerifier:
        return place.verifier

    wallet = WalletService(place.world.people[0], place.client, verifier=find)
    place.lie()
    [mine] = await place.client.accounts_of(place.payer)
    expiry_s = (await wallet.info()).l2_time_s + 100_000
    place.lie(rollup_account=lambda row: row and {**row, "index": mine.index})
    return await _is_contradicted(wallet.open_channel(place.provider, USD, voucher_key(5).address, expiry_s))


async def _made_up_channel(place: Place) -> None:
    made_up = await place.make_up(77)
    verification = Verification(place.world.l1.url, SOFT_CREDIT_NANO)
    info = await place.client.info()
    try:
        assert await _code(verification.check_credit(place.client, info, made_up, SOFT_CREDIT_NANO)) == "unconfirmed"
    finally:
        await verification.forget()


async def _is_contradicted(check: Any) -> bool:
    return await _code(check) == "contradicted"


async def _code(check: Any) -> str:
    try:
        await check
    except IdlewattError as error:
        return error.code
    return ""
