"""The one-line header: what this screen is, how the node is, and in the demo that it is one; shed by width."""

from __future__ import annotations

from dataclasses import dataclass

from textual.content import Content

from node.values import NodeSnapshot, Phase, WalletState
from screens.text import DASH, milliseconds, one_line, usd_short

PHASE_MARKS: dict[Phase, tuple[str, str]] = {
    Phase.OFF: ("○", "dim"),
    Phase.STARTING: ("◐", "$warning"),
    Phase.IDLE: ("●", "$success"),
    Phase.SERVING: ("▶", "$success"),
    Phase.DEGRADED: ("▲", "$error"),
    Phase.PAUSED: ("‖", "$warning"),
    Phase.STOPPING: ("◑", "$warning"),
}
"""Each phase by shape and colour; the word stands beside them."""

DEMO_LABELS = (
    "DEMO · both sides on this machine · test money",
    "DEMO · both sides here · test money",
    "DEMO · test money",
)
_RELAY_MARKS = {"online": "✓", "connecting": "…", "reconnecting": "…", "closed": "✗", "off": DASH}
_SEPARATOR = " │ "


@dataclass(frozen=True)
class Segment:
    """One part of the line; the highest ``rank`` is shed first."""

    text: str
    style: str
    rank: int


def _balance(snapshot: NodeSnapshot) -> str:
    parts = []
    for wallet in snapshot.wallets:
        name = f"{one_line(wallet.label, 12)} " if len(snapshot.wallets) > 1 else ""
        if wallet.state is WalletState.LOCKED:
            parts.append(f"{name}locked")
        elif wallet.state is WalletState.UNLOCKED:
            parts.append(f"{name}{usd_short(wallet.balance_nano)}")
    return " · ".join(parts) or "no wallet"


def _segments(snapshot: NodeSnapshot) -> list[Segment]:
    mark, style = PHASE_MARKS[snapshot.phase]
    relay = snapshot.relay
    relay_ok = relay.state == "online"
    segments = [Segment(f"{mark} {snapshot.phase.value}", f"bold {style}", 0)]
    if snapshot.why:
        segments.append(Segment(one_line(snapshot.why, 60), "", 6))
    rtt = f" {milliseconds(relay.rtt_ms)}" if relay_ok and relay.rtt_ms else ""
    segments.append(Segment(f"relay {_RELAY_MARKS[relay.state]}", "" if relay_ok else "$warning", 2))
    if rtt:
        segments.append(Segment(f"rtt{rtt}", "dim", 7))
    reachable = snapshot.chain_reachable
    segments.append(Segment(f"chain {'✓' if reachable else '✗'}", "" if reachable else "$error", 3))
    segments.append(Segment(_balance(snapshot), "", 4))
    return segments


def status_line(snapshot: NodeSnapshot, screen_title: str, width: int) -> Content:
    """The header for a given width: everything that fits, the least important left out, the demo label never."""
    segments = [Segment(screen_title, "bold $primary", 1), *_segments(snapshot)]
    labels = DEMO_LABELS if snapshot.demo else ("",)
    roomy = Content("").cell_length
    for label in labels:
        badge_cells = len(label) + 2 if label else 0
        kept = list(segments)
        while kept and _cells(kept) + badge_cells + 2 > width:
            kept.remove(max(kept, key=lambda segment: segment.rank))
        roomy = width - _cells(kept) - badge_cells
        # A shorter label is only worth it where it brings back relay, chain and phase.
        if label == labels[-1] or sum(segment.rank <= 3 for segment in kept) == 4:
            break
    line = Content(_SEPARATOR).join(Content.assemble((segment.text, segment.style)) for segment in kept)
    parts: list[Content | tuple[str, str]] = [Content(" "), line]
    if label:
        parts += [Content(" " * max(0, roomy - 1)), (f" {label} ", "bold reverse $warning")]
    return Content.assemble(*parts)


def _cells(segments: list[Segment]) -> int:
    return sum(Content(segment.text).cell_length for segment in segments) + len(_SEPARATOR) * (len(segments) - 1)
