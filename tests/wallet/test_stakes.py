"""Stakes on a real rollup: put up, taken out in two steps, and lost for two receipts about one request."""

from __future__ import annotations

from pathlib import Path

import pytest

from chain.errors import ChainRejectedError
from chain.signing import keccak256
from tests.wallet.moves import until
from tests.wallet.world import World
from wallet.account import UnlockedAccount
from wallet.receipts import Receipt, sign_receipt
from wallet.service import WalletService
from wallet.wallet_error import WalletError

USD = 10**9


def receipt(provider: UnlockedAccount, output: bytes) -> Receipt:
    word = bytes(32)
    return Receipt(
        channel_id=7,
        sequence=3,
        model_sha256=word,
        engine_build="llama.cpp b6000",
        prompt_hash=word,
        output_hash=keccak256(output),
        input_tokens=1,
        output_tokens=2,
        cumulative_nano=3,
        seed=4,
        fingerprint_hash=word,
        started_ms=5,
        finished_ms=6,
        provider=provider.address,
    )


async def stakes(wallet: WalletService) -> tuple[int, int]:
    view = await wallet.view()
    assert view is not None
    return view.stake_nano, view.unlocking_nano


async def test_a_stake_is_put_up_and_comes_back_after_its_delay(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        wallet = await world.funded(0, 10 * USD)
        await wallet.stake(4 * USD)
        assert await stakes(wallet) == (4 * USD, 0)

        await wallet.unstake(USD)
        assert await stakes(wallet) == (3 * USD, USD)
        with pytest.raises(WalletError) as refused:
            await wallet.unstake(None)
        assert refused.value.code == "unstaking"
        with pytest.raises(WalletError) as refused:
            await wallet.finish_unstake()
        assert refused.value.code == "too_early"


async def test_more_than_is_staked_is_not_taken_out(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        wallet = await world.funded(0, 10 * USD)
        with pytest.raises(WalletError) as refused:
            await wallet.unstake(None)
        assert refused.value.code == "bad_amount"
        with pytest.raises(WalletError) as refused:
            await wallet.finish_unstake()
        assert refused.value.code == "nothing_to_unstake"
        await wallet.stake(USD)
        with pytest.raises(WalletError) as refused:
            await wallet.unstake(USD + 1)
        assert refused.value.code == "bad_amount"


async def test_a_finished_stake_is_in_the_balance_again(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        wallet = await world.funded(0, 10 * USD)
        await wallet.stake(4 * USD)
        await wallet.unstake(None)
        # What isn't on L1 yet would begin its delay later, since its batch would come too late and be built again.
        await world.client.flush()
        await world.later(world.deployment.unstake_delay_s)

        async def is_due() -> bool:
            view = await wallet.view()
            assert view is not None
            return (await wallet.info()).l2_time_s >= view.unlock_at_s

        await until(is_due, "The sequencer's clock stands still.")
        await wallet.finish_unstake()

        fee = (await wallet.info()).params.min_fee_nano
        assert await stakes(wallet) == (0, 0)
        assert await wallet.balance() == 10 * USD - 2 * fee


async def test_two_receipts_about_one_request_take_the_stake(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        provider, reporter = await world.funded(0, 10 * USD), await world.funded(1, USD)
        await provider.stake(5 * USD)
        await provider.unstake(USD)
        domain = await provider.domain()
        receipts = [receipt(provider.account, text) for text in (b"a", b"b")]
        first, second = (sign_receipt(provider.account, domain, one) for one in receipts)

        taken = await reporter.slash(first, second)

        assert await stakes(provider) == (0, 0)
        assert await reporter.balance() == USD + 5 * USD // 2
        assert await reporter.slash(first, second) == taken  # the same transaction, executed once
        with pytest.raises(ChainRejectedError) as refused:
            await reporter.slash(second, first)
        assert refused.value.code == "stake_unavailable"


async def test_what_proves_nothing_is_not_handed_in(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        provider = await world.funded(0, 10 * USD)
        await provider.stake(5 * USD)
        domain = await provider.domain()
        first, other = (receipt(provider.account, text) for text in (b"a", b"b"))
        signed = sign_receipt(provider.account, domain, first)

        for pair in ((signed, signed), (signed, other)):
            with pytest.raises(WalletError) as refused:
                await provider.slash(*pair)
            assert refused.value.code == "bad_receipt"
        assert (await stakes(provider))[0] == 5 * USD
