"""Recorded wallets, their money and channels, and ways out."""

from contextlib import asynccontextmanager

import msgspec

from node.values import (
    ChannelSummary,
    FeeQuote,
    IdlewattError,
    Inclusion,
    MoneyLine,
    MoneyView,
    StepState,
    WalletState,
    WalletView,
    WithdrawalStep,
)
from tests.screens.fake_node.constants import BUYER, NOW_S, ROOT, SELLER, WORDS
from tests.screens.fake_node.played import Played


def money(total_parts=((0, 1_250_000_000),)):
    lines = (
        MoneyLine(place="wallet", label="on L2, free to use", amount_nano=1_250_000_000, inclusion=Inclusion.FINAL),
        MoneyLine(
            place="channel",
            label="in channel #7, comes back on closing",
            amount_nano=99_968_800,
            inclusion=Inclusion.BATCHED,
            reference="0x07" * 16,
        ),
        MoneyLine(place="claimable", label="earned, voucher held, not redeemed", amount_nano=31_200),
        MoneyLine(
            place="withdrawing",
            label="on its way to L1",
            amount_nano=500_000_000,
            inclusion=Inclusion.BATCHED,
            ready_at_s=NOW_S + 200,
            reference=ROOT,
        ),
        MoneyLine(place="l1", label="on L1", amount_nano=10_000_000_000),
    )
    return MoneyView(lines=lines, total_nano=sum(line.amount_nano for line in lines))


def wallet(wallet_id="seller", address=SELLER, **changes):
    values = {
        "wallet_id": wallet_id,
        "label": wallet_id,
        "state": WalletState.UNLOCKED,
        "address": address,
        "balance_nano": 1_250_000_000,
        "money": None,
        "backed_up": True,
    }
    return WalletView(**(values | changes))


def way_out_steps():
    return [
        WithdrawalStep(key="read", state=StepState.DOING, text="Executing every batch on L1 again."),
        WithdrawalStep(key="read", state=StepState.DONE, text="6 batches re-executed."),
        WithdrawalStep(
            key="account 1", state=StepState.DONE, text="Account #1: $1.25 balance.", l1_tx=ROOT, amount_nano=1
        ),
        WithdrawalStep(
            key="channel 7", state=StepState.WAITING, text="Channel #7 is on its way.", ready_at_s=NOW_S + 42
        ),
    ]


class WalletCalls(Played):
    """What ``NodeApi`` says about wallets."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.passphrase = "correct horse"
        self.money_view = money()
        self.steps = way_out_steps()
        self.channel_views = (
            ChannelSummary(
                channel_id=7,
                role="provider",
                peer=BUYER,
                state="open",
                deposit_nano=100_000_000,
                spent_nano=31_200,
                redeemed_nano=0,
                expiry_s=NOW_S + 86_400,
                closing_at_s=0,
            ),
            ChannelSummary(
                channel_id=5,
                role="buyer",
                peer=SELLER,
                state="closing",
                deposit_nano=50_000_000,
                spent_nano=9_000,
                redeemed_nano=9_000,
                expiry_s=NOW_S + 3_600,
                closing_at_s=NOW_S + 90,
            ),
        )

    async def create_wallet(self, wallet_id, passphrase):
        self._called("create_wallet", wallet_id, passphrase)
        self._unlock(wallet_id)
        return WORDS

    async def import_wallet(self, wallet_id, kind, secret, passphrase, file_passphrase=""):
        self._called("import_wallet", wallet_id, kind, secret, passphrase, file_passphrase)
        self._unlock(wallet_id)

    async def unlock(self, wallet_id, passphrase):
        self._called("unlock", wallet_id, passphrase)
        if passphrase != self.passphrase:
            raise IdlewattError("The passphrase is wrong.", code="wrong_passphrase", fix="Type it again.")
        self._unlock(wallet_id)

    def _unlock(self, wallet_id):
        wallets = tuple(
            msgspec.structs.replace(
                known, state=WalletState.UNLOCKED, address=known.address or BUYER, balance_nano=known.balance_nano or 0
            )
            if known.wallet_id == wallet_id
            else known
            for known in self.state.wallets
        )
        self.change("wallet", wallets=wallets)

    async def export_wallet(self, wallet_id, kind, passphrase):
        self._called("export_wallet", wallet_id, kind, passphrase)
        return '{"version": 3}' if kind == "v3" else "0x" + "11" * 32

    async def confirm_backup(self, wallet_id):
        self._called("confirm_backup", wallet_id)

    async def money(self, wallet_id):
        self._called("money", wallet_id)
        return self.money_view

    async def faucet(self, wallet_id):
        self._called("faucet", wallet_id)
        return 10_000_000_000

    async def deposit(self, wallet_id, amount_nano):
        self._called("deposit", wallet_id, amount_nano)
        return "0x" + "dd" * 32

    async def fees(self):
        return FeeQuote(
            transfer_nano=1_000,
            withdraw_nano=1_000,
            open_channel_nano=1_000,
            top_up_nano=1_000,
            stake_nano=1_000,
            unstake_nano=1_000,
            pays_claim=True,
            min_redeem_nano=1_000,
            min_withdrawal_nano=1_000,
            base_fee_pico=11_765,
            valid_s=30,
            redeems_per_open=16,
            redeems_per_top_up=4,
        )

    async def withdraw(self, wallet_id, amount_nano, to="", *, max_fee_nano=None):
        self._called("withdraw", wallet_id, amount_nano, to)
        return "0x" + "ee" * 32

    @asynccontextmanager
    async def force_withdraw(self, wallet_id, amount_nano, to="", *, wait=True, l1_url=""):
        self._called("force_withdraw", wallet_id, amount_nano, to)
        yield self._steps()

    @asynccontextmanager
    async def leave(self, wallet_id, *, freeze=False, wait=True, l1_url=""):
        self._called("leave", wallet_id, freeze)
        yield self._steps()

    async def _steps(self):
        for step in self.steps:
            if isinstance(step, Exception):
                raise step
            yield step

    async def stake(self, wallet_id, amount_nano):
        self._called("stake", wallet_id, amount_nano)
        return "0x" + "aa" * 32

    async def channels(self):
        return self.channel_views

    async def redeem(self, channel_id):
        self._called("redeem", channel_id)
        return "0x" + "cc" * 32

    async def close_channel(self, channel_id, *, alone=False):
        self._called("close_channel", channel_id, alone)
        return "0x" + "bb" * 32
