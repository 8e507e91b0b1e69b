"""The wallet screen's tables and texts: money, channels, its head, the address as a QR code."""

from __future__ import annotations

from collections.abc import Callable

from rich.text import Text
from textual.content import Content

from node.values import ChannelSummary, MoneyLine, Trust, WalletState, WalletView
from screens.chain import inclusion_text
from screens.jobs_table import peer_text
from screens.text import DASH, countdown, one_line, short_hex, usd
from screens.widgets.qr import qr_lines
from screens.widgets.table import Column

PLACE_MARKS = {"wallet": "■", "stake": "◆", "channel": "⇄", "claimable": "✓", "withdrawing": "↗", "l1": "□"}
_STATE_MARKS = {
    WalletState.NONE: ("○", "dim"),
    WalletState.LOCKED: ("▲", "$warning"),
    WalletState.UNLOCKED: ("●", "$success"),
}
_CHANNEL_MARKS = {"opening": "◐", "open": "●", "closing": "◑", "closed": "○", "foreign": "✗"}


def _ready(line: MoneyLine, now_ms: int) -> str:
    if line.place == "claimable":
        return "now"  # its time is the channel's expiry: the last moment, not the first
    return countdown(line.ready_at_s, now_ms)


def _where(line: MoneyLine) -> str:
    if line.trust is None or line.batch_id is None:
        return one_line(line.label, 80)
    # What isn't proven as a whole may be in part.
    part = "" if line.trust is Trust.PROVEN else f"{usd(line.proven_nano)} of it "
    return f"{one_line(line.label, 80)}, {part}proven at batch {line.batch_id}"


def _state(line: MoneyLine) -> Text:
    if line.claim == "sold":
        return Text("✓ sold")
    if line.trust is not None:
        return Text(line.trust.value)
    return inclusion_text(line.inclusion)


def money_columns(now_ms: Callable[[], int]) -> tuple[Column[MoneyLine], ...]:
    """Columns of where the money is."""
    return (
        Column("label", "where", 24, lambda line: f"{PLACE_MARKS[line.place]} {_where(line)}", grow=True),
        Column("amount", "amount", 15, lambda line: usd(line.amount_nano), right=True),
        Column("inclusion", "state", 9, _state, rank=1),
        Column("ready", "ready", 13, lambda line: _ready(line, now_ms()), right=True),
        Column("reference", "reference", 13, lambda line: short_hex(line.reference), rank=2),
    )


def _channel_state(channel: ChannelSummary) -> Text:
    return Text(f"{_CHANNEL_MARKS[channel.state]} {channel.state}", "red" if channel.state == "foreign" else "")


def _channel_end(channel: ChannelSummary, now_ms: int) -> str:
    if channel.state == "closing":
        return f"closes {countdown(channel.closing_at_s, now_ms)}"
    return f"ends {countdown(channel.expiry_s, now_ms)}" if channel.state == "open" else DASH


def channel_columns(now_ms: Callable[[], int]) -> tuple[Column[ChannelSummary], ...]:
    """Columns of our channels."""
    return (
        Column("id", "id", 4, lambda channel: f"#{channel.channel_id}", right=True),
        Column("state", "state", 9, _channel_state),
        Column("role", "we", 4, lambda channel: "earn" if channel.role == "provider" else "pay"),
        Column("peer", "with", 12, lambda channel: peer_text(channel.peer), rank=2, grow=True),
        Column("deposit", "deposit", 10, lambda channel: usd(channel.deposit_nano), rank=1, right=True),
        Column("spent", "spent", 12, lambda channel: usd(channel.spent_nano), right=True),
        Column("redeemed", "redeemed", 12, lambda channel: usd(channel.redeemed_nano), rank=3, right=True),
        Column("end", "ends", 18, lambda channel: _channel_end(channel, now_ms()), rank=4),
    )


def wallet_content(wallet: WalletView | None) -> Content:
    """The wallet's name, address and balance, and its problems."""
    if wallet is None or wallet.state is WalletState.NONE:
        return Content.assemble(("○ no wallet yet  ", "bold"), ("→ ", "$primary"), "n makes one, i imports one.")
    mark, style = _STATE_MARKS[wallet.state]
    first = Content.assemble(
        (f"{mark} {wallet.state.value}", f"bold {style}"),
        "  ",
        one_line(wallet.address),
        "  ",
        (usd(wallet.balance_nano), "bold"),
        " on L2",
    )
    lines = [first]
    if wallet.stake_nano or wallet.unlocking_nano:
        leaving = f", {usd(wallet.unlocking_nano)} on its way out" if wallet.unlocking_nano else ""
        lines.append(Content.assemble("stake ", (usd(wallet.stake_nano), "bold"), leaving))
    if wallet.state is WalletState.LOCKED:
        lines.append(Content.assemble(("→ ", "$primary"), "u unlocks it with its passphrase."))
    if not wallet.backed_up:
        lines.append(
            Content.assemble(
                ("▲ no proven backup  ", "$warning"),
                ("→ ", "$primary"),
                "x exports the encrypted file; keep it elsewhere.",
            )
        )
    return Content("\n").join(lines)


def empty_text(wallet: WalletView | None) -> str:
    """What stands where money would."""
    if wallet is None or wallet.state is WalletState.NONE:
        return "Make a wallet first: n."
    return "No money here yet. f asks the devnet's faucet, d deposits from L1, F3 earns some."


def qr_content(wallet: WalletView) -> Content:
    """The address as a QR code."""
    return Content("\n".join(qr_lines(one_line(wallet.address))))
