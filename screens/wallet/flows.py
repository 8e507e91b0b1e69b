"""What the wallet screen does with money and keys: step by step, by dialogs first, then by the node."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Literal, Protocol, TypeVar, cast

from textual.content import Content

from node.api import NodeApi
from node.values import ChannelSummary, IdlewattError, WalletState, WalletView
from screens.dialogs import Confirm, Form, Reveal
from screens.text import one_line, short_hex, usd
from screens.wallet.forms import (
    create_form,
    deposit_form,
    export_form,
    import_form,
    read_amount,
    unlock_form,
    withdraw_form,
    word_check_form,
    words_content,
)
from screens.wallet.steps import StepsDialog

Answer = TypeVar("Answer")
About = TypeVar("About", contravariant=True)


class Desk(Protocol):
    """The screen, as a flow needs it."""

    @property
    def api(self) -> NodeApi:
        """The node."""
        ...

    def tell(self, text: str, severity: str = "information") -> None:
        """One line to the person."""
        ...

    def now_ms(self) -> int:
        """The clock."""
        ...

    def pick(self, count: int) -> int:
        """Draw a number below ``count``: which recovery word is asked for."""
        ...

    async def ask(self, dialog: Any) -> Any:
        """Show a dialog, and wait for what the person decides."""
        ...

    async def doing(self, what: str, call: Awaitable[Answer]) -> Answer:
        """Say what is being waited for, until it is there."""
        ...


class Flow(Protocol[About]):
    """One of the flows below: what to do, for whom, about what."""

    async def __call__(self, desk: Desk, about: About, /) -> None:
        """Go through it; ended early, it changed nothing."""
        ...


async def unlocked(desk: Desk, wallet: WalletView) -> bool:
    """Have the wallet unlocked, asking for its passphrase where it isn't; whether that came about."""
    if wallet.state is WalletState.UNLOCKED:
        return True
    values = await desk.ask(Form(unlock_form(wallet)))
    if values is None:
        return False
    await desk.doing("unlocking…", desk.api.unlock(wallet.wallet_id, values["passphrase"]))
    return True


async def unlock(desk: Desk, wallet: WalletView) -> None:
    """Unlock for this run."""
    if await unlocked(desk, wallet):
        desk.tell(f"{wallet.label} is unlocked until the app ends.")


async def withdraw(desk: Desk, wallet: WalletView) -> None:
    """Money to L1, after amount and destination were confirmed."""
    values = await desk.ask(Form(withdraw_form(wallet)))
    if values is None:
        return
    amount_nano, to = read_amount(values["amount"]), values["to"].strip()
    rows = [
        (
            "amount",
            usd(amount_nano)
            if amount_nano is not None
            else f"all of it ({usd(wallet.balance_nano)} and what is claimable)",
            "bold",
        ),
        ("to", to or wallet.address, "bold"),
        ("", "" if to else "this wallet's own address on L1"),
        ("from", f"{wallet.label} on L2"),
    ]
    note = "It arrives when its batch's challenge window is over; until then it shows as withdrawing."
    if await desk.ask(Confirm("Withdraw to L1?", rows, "Withdraw", note)) and await unlocked(desk, wallet):
        l2_tx = await desk.doing("withdrawing…", desk.api.withdraw(wallet.wallet_id, amount_nano, to))
        desk.tell(f"Withdrawal accepted as {short_hex(l2_tx)}; it is claimed by itself when final.")


async def force_withdraw(desk: Desk, wallet: WalletView) -> None:
    """Money to L1 past the sequencer, step by step."""
    values = await desk.ask(Form(withdraw_form(wallet)))
    if values is None:
        return
    amount_nano, to = read_amount(values["amount"]), values["to"].strip()
    rows = [
        ("amount", usd(amount_nano) if amount_nano is not None else "the whole balance", "bold"),
        ("to", to or wallet.address, "bold"),
        ("gas", f"is paid in ether by {wallet.address} on L1"),
    ]
    note = "It goes through the inbox on L1, where no sequencer can leave it out for long."
    if await desk.ask(Confirm("Force a withdrawal?", rows, "Force", note)) and await unlocked(desk, wallet):
        await desk.ask(
            StepsDialog(
                "Forced withdrawal",
                lambda: desk.api.force_withdraw(wallet.wallet_id, amount_nano, to),
                desk.now_ms,
            )
        )


async def leave(desk: Desk, wallet: WalletView) -> None:
    """Everything out of a rollup that ended, step by step."""
    rows = [
        ("what", "balance, stake, channels, deposits and withdrawals under way", "bold"),
        ("to", wallet.address, "bold"),
        ("gas", f"is paid in ether by {wallet.address} on L1"),
    ]
    note = (
        "Each is proven against the last state that L1 holds; no sequencer is asked. A rollup whose inbox nobody "
        "serves is frozen first, for everybody. Channels wait one window for a higher voucher."
    )
    if await desk.ask(Confirm("Leave the rollup?", rows, "Leave", note, word="leave")) and await unlocked(desk, wallet):
        await desk.ask(StepsDialog("Leaving", lambda: desk.api.leave(wallet.wallet_id, freeze=True), desk.now_ms))


async def deposit(desk: Desk, wallet: WalletView) -> None:
    """Money from L1 to L2."""
    values = await desk.ask(Form(deposit_form(wallet)))
    if values is None:
        return
    amount_nano = read_amount(values["amount"])
    if amount_nano is None:
        return
    rows = [
        ("amount", usd(amount_nano), "bold"),
        ("from", f"{wallet.address} on L1"),
        ("to", f"{wallet.address} on L2", "bold"),
    ]
    if await desk.ask(Confirm("Deposit into the rollup?", rows, "Deposit")) and await unlocked(desk, wallet):
        l1_tx = await desk.doing("depositing…", desk.api.deposit(wallet.wallet_id, amount_nano))
        desk.tell(f"Deposited with L1 transaction {short_hex(l1_tx)}.")


async def faucet(desk: Desk, wallet: WalletView) -> None:
    """Test money."""
    amount_nano = await desk.doing("asking the faucet…", desk.api.faucet(wallet.wallet_id))
    desk.tell(f"{usd(amount_nano)} of test money arrived in {wallet.label}.")


async def redeem(desk: Desk, channel: ChannelSummary) -> None:
    """The best voucher of a channel, on chain."""
    if channel.role != "provider":
        desk.tell(f"Channel #{channel.channel_id} is one we pay in; its provider redeems. c closes it.", "warning")
        return
    rows = [
        ("channel", f"#{channel.channel_id} with {channel.peer}"),
        ("amount", usd(channel.spent_nano - channel.redeemed_nano), "bold"),
        ("to", "this node's seller wallet on L2", "bold"),
    ]
    if await desk.ask(Confirm("Redeem the best voucher?", rows, "Redeem")):
        l2_tx = await desk.doing("redeeming…", desk.api.redeem(channel.channel_id))
        desk.tell(f"Redeemed with {short_hex(l2_tx)}.")


async def close_channel(desk: Desk, channel: ChannelSummary) -> None:
    """Close a channel: together at once, or alone after the delay."""
    back_nano = channel.deposit_nano - channel.spent_nano
    rows = [
        ("channel", f"#{channel.channel_id} with {channel.peer}"),
        ("to the seller", usd(channel.spent_nano), "bold"),
        ("to the buyer", usd(back_nano), "bold"),
    ]
    if not await desk.ask(
        Confirm("Close the channel together?", rows, "Close", "The peer signs too, and the money is free at once.")
    ):
        return
    try:
        l2_tx = await desk.doing("closing…", desk.api.close_channel(channel.channel_id))
    except IdlewattError as error:
        note = f"{error.message} Alone it takes the close delay; the peer may redeem a newer voucher meanwhile."
        if channel.role != "buyer" or not await desk.ask(
            Confirm("Close alone?", rows, "Close alone", one_line(note, 400))
        ):
            raise
        l2_tx = await desk.doing("closing alone…", desk.api.close_channel(channel.channel_id, alone=True))
    desk.tell(f"Closed with {short_hex(l2_tx)}.")


async def create(desk: Desk, wallet: WalletView) -> None:
    """A new wallet, with its words proven."""
    values = await desk.ask(Form(create_form()))
    if values is None:
        return
    words = await desk.doing("making the wallet…", desk.api.create_wallet(wallet.wallet_id, values["passphrase"]))
    await _prove_backup(desk, wallet.wallet_id, words)


async def _prove_backup(desk: Desk, wallet_id: str, words: str) -> None:
    note = "Write these words on paper, in order. They are shown once, and they are the wallet."
    while True:
        await desk.ask(Reveal("Recovery words", words_content(words), note=note))
        if await desk.ask(Form(word_check_form(words, desk.pick(len(words.split()))))) is not None:
            await desk.api.confirm_backup(wallet_id)
            desk.tell("The backup is proven.")
            return
        rows = [("the words", "are not shown again")]
        if await desk.ask(
            Confirm("Go on without a proven backup?", rows, "Go on", "Lost words and a lost disk mean lost money.")
        ):
            return


async def import_(desk: Desk, wallet: WalletView) -> None:
    """A wallet from elsewhere."""
    values = await desk.ask(Form(import_form()))
    if values is None:
        return
    kind = cast(Literal["private_key", "mnemonic", "v3"], values["kind"])
    call = desk.api.import_wallet(
        wallet.wallet_id, kind, values["secret"], values["passphrase"], values["file_passphrase"]
    )
    await desk.doing("importing…", call)
    desk.tell("The wallet is imported and unlocked.")


async def export(desk: Desk, wallet: WalletView) -> None:
    """The encrypted file, or after a typed word the key itself."""
    values = await desk.ask(Form(export_form(wallet)))
    if values is None:
        return
    kind = cast(Literal["v3", "private_key"], values["kind"])
    if kind == "private_key":
        rows = [("wallet", wallet.label), ("address", wallet.address)]
        note = "The key will stand on this screen. Whoever sees it can take everything."
        if not await desk.ask(Confirm("Show the private key?", rows, "Show it", note, word="export")):
            return
    secret = await desk.doing("decrypting…", desk.api.export_wallet(wallet.wallet_id, kind, values["passphrase"]))
    if kind == "private_key":
        await desk.ask(Reveal("Private key", Content(secret), note="Close this as soon as you have it."))
    else:
        await desk.ask(
            Reveal("V3 keystore file", Content(secret), note="Keep this text in a file elsewhere.", copies=secret)
        )
