"""The wallet screen's actions on money and keys: dialogs first, then calls of the node."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Literal, Protocol, TypeVar, cast

from textual.content import Content

from node.api import NodeApi
from node.values import ChannelSummary, FeeQuote, IdlewattError, WalletState, WalletView
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


class FlowHost(Protocol):
    """What a flow needs of its screen."""

    @property
    def api(self) -> NodeApi:
        """The node."""
        ...

    def tell(self, text: str, severity: str = "information") -> None:
        """Show one line to the person."""
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
        """Show a line while the work runs."""
        ...


class Flow(Protocol[About]):
    """One of the flows below: what to do, for whom, about what."""

    async def __call__(self, host: FlowHost, about: About, /) -> None:
        """Run the flow. A flow that is cancelled changed nothing."""
        ...


async def unlocked(host: FlowHost, wallet: WalletView) -> bool:
    """Have the wallet unlocked, asking for its passphrase where it isn't; whether that came about."""
    if wallet.state is WalletState.UNLOCKED:
        return True
    values = await host.ask(Form(unlock_form(wallet)))
    if values is None:
        return False
    await host.doing("unlocking…", host.api.unlock(wallet.wallet_id, values["passphrase"]))
    return True


async def unlock(host: FlowHost, wallet: WalletView) -> None:
    """Unlock for this run."""
    if await unlocked(host, wallet):
        host.tell(f"{wallet.label} is unlocked until the app ends.")


async def withdraw(host: FlowHost, wallet: WalletView) -> None:
    """Money to L1, after amount and destination were confirmed."""
    values = await host.ask(Form(withdraw_form(wallet)))
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
        ("fee", _withdrawal_fee(await host.api.fees())),
    ]
    note = "It arrives when its batch's challenge window is over; until then it shows as withdrawing."
    if await host.ask(Confirm("Withdraw to L1?", rows, "Withdraw", note)) and await unlocked(host, wallet):
        l2_tx = await host.doing("withdrawing…", host.api.withdraw(wallet.wallet_id, amount_nano, to))
        host.tell(f"Withdrawal accepted as {short_hex(l2_tx)}; it is claimed by itself when final.")


def _withdrawal_fee(quote: FeeQuote) -> str:
    """What a withdrawal costs, and what that pays for."""
    tail = "its payment on L1 included" if quote.pays_claim else "gas is dear: you claim it on L1, or wait"
    return f"{usd(quote.withdraw_nano)}, {tail}"


async def force_withdraw(host: FlowHost, wallet: WalletView) -> None:
    """Money to L1 past the sequencer, step by step."""
    values = await host.ask(Form(withdraw_form(wallet)))
    if values is None:
        return
    amount_nano, to = read_amount(values["amount"]), values["to"].strip()
    rows = [
        ("amount", usd(amount_nano) if amount_nano is not None else "the whole balance", "bold"),
        ("to", to or wallet.address, "bold"),
        ("gas", f"is paid in ether by {wallet.address} on L1"),
    ]
    note = "It goes through the inbox on L1, where no sequencer can leave it out for long."
    if await host.ask(Confirm("Force a withdrawal?", rows, "Force", note)) and await unlocked(host, wallet):
        await host.ask(
            StepsDialog(
                "Forced withdrawal",
                lambda: host.api.force_withdraw(wallet.wallet_id, amount_nano, to),
                host.now_ms,
            )
        )


async def leave(host: FlowHost, wallet: WalletView) -> None:
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
    if await host.ask(Confirm("Leave the rollup?", rows, "Leave", note, word="leave")) and await unlocked(host, wallet):
        await host.ask(StepsDialog("Leaving", lambda: host.api.leave(wallet.wallet_id, freeze=True), host.now_ms))


async def deposit(host: FlowHost, wallet: WalletView) -> None:
    """Money from L1 to L2."""
    values = await host.ask(Form(deposit_form(wallet)))
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
    if await host.ask(Confirm("Deposit into the rollup?", rows, "Deposit")) and await unlocked(host, wallet):
        l1_tx = await host.doing("depositing…", host.api.deposit(wallet.wallet_id, amount_nano))
        host.tell(f"Deposited with L1 transaction {short_hex(l1_tx)}.")


async def faucet(host: FlowHost, wallet: WalletView) -> None:
    """Test money."""
    amount_nano = await host.doing("asking the faucet…", host.api.faucet(wallet.wallet_id))
    host.tell(f"{usd(amount_nano)} of test money arrived in {wallet.label}.")


async def redeem(host: FlowHost, channel: ChannelSummary) -> None:
    """The best voucher of a channel, on chain."""
    if channel.role != "provider":
        host.tell(f"Channel #{channel.channel_id} is one we pay in; its provider redeems. c closes it.", "warning")
        return
    rows = [
        ("channel", f"#{channel.channel_id} with {channel.peer}"),
        ("amount", usd(channel.spent_nano - channel.redeemed_nano), "bold"),
        ("to", "this node's seller wallet on L2", "bold"),
    ]
    if await host.ask(Confirm("Redeem the best voucher?", rows, "Redeem")):
        l2_tx = await host.doing("redeeming…", host.api.redeem(channel.channel_id))
        host.tell(f"Redeemed with {short_hex(l2_tx)}.")


async def close_channel(host: FlowHost, channel: ChannelSummary) -> None:
    """Close a channel: together at once, or alone after the delay."""
    back_nano = channel.deposit_nano - channel.spent_nano
    rows = [
        ("channel", f"#{channel.channel_id} with {channel.peer}"),
        ("to the seller", usd(channel.spent_nano), "bold"),
        ("to the buyer", usd(back_nano), "bold"),
    ]
    if not await host.ask(
        Confirm("Close the channel together?", rows, "Close", "The peer signs too, and the money is free at once.")
    ):
        return
    try:
        l2_tx = await host.doing("closing…", host.api.close_channel(channel.channel_id))
    except IdlewattError as error:
        note = f"{error.message} Alone it takes the close delay; the peer may redeem a newer voucher meanwhile."
        if channel.role != "buyer" or not await host.ask(
            Confirm("Close alone?", rows, "Close alone", one_line(note, 400))
        ):
            raise
        l2_tx = await host.doing("closing alone…", host.api.close_channel(channel.channel_id, alone=True))
    host.tell(f"Closed with {short_hex(l2_tx)}.")


async def create(host: FlowHost, wallet: WalletView) -> None:
    """A new wallet, with its words proven."""
    values = await host.ask(Form(create_form()))
    if values is None:
        return
    words = await host.doing("making the wallet…", host.api.create_wallet(wallet.wallet_id, values["passphrase"]))
    await _prove_backup(host, wallet.wallet_id, words)


async def _prove_backup(host: FlowHost, wallet_id: str, words: str) -> None:
    note = "Write these words on paper, in order. They are shown once, and they are the wallet."
    while True:
        await host.ask(Reveal("Recovery words", words_content(words), note=note))
        if await host.ask(Form(word_check_form(words, host.pick(len(words.split()))))) is not None:
            await host.api.confirm_backup(wallet_id)
            host.tell("The backup is proven.")
            return
        rows = [("the words", "are not shown again")]
        if await host.ask(
            Confirm("Go on without a proven backup?", rows, "Go on", "Lost words and a lost disk mean lost money.")
        ):
            return


async def import_(host: FlowHost, wallet: WalletView) -> None:
    """A wallet from elsewhere."""
    values = await host.ask(Form(import_form()))
    if values is None:
        return
    kind = cast(Literal["private_key", "mnemonic", "v3"], values["kind"])
    call = host.api.import_wallet(
        wallet.wallet_id, kind, values["secret"], values["passphrase"], values["file_passphrase"]
    )
    await host.doing("importing…", call)
    host.tell("The wallet is imported and unlocked.")


async def export(host: FlowHost, wallet: WalletView) -> None:
    """The encrypted file, or after a typed word the key itself."""
    values = await host.ask(Form(export_form(wallet)))
    if values is None:
        return
    kind = cast(Literal["v3", "private_key"], values["kind"])
    if kind == "private_key":
        rows = [("wallet", wallet.label), ("address", wallet.address)]
        note = "The key will stand on this screen. Whoever sees it can take everything."
        if not await host.ask(Confirm("Show the private key?", rows, "Show it", note, word="export")):
            return
    secret = await host.doing("decrypting…", host.api.export_wallet(wallet.wallet_id, kind, values["passphrase"]))
    if kind == "private_key":
        await host.ask(Reveal("Private key", Content(secret), note="Close this as soon as you have it."))
    else:
        await host.ask(
            Reveal("V3 keystore file", Content(secret), note="Keep this text in a file elsewhere.", copies=secret)
        )
