"""What L1 says about the rollup's safety, as the chain's screen shows it: disputes, messages, bonds, a freeze."""

from __future__ import annotations

from textual.content import Content

from node.values import ChainSnapshot, DisputeStage, DisputeView, SafetyView, WaitingMessage
from screens.text import clock, countdown, one_line, short_hex

ETHER_WEI = 10**18
NARROW_ROWS, WIDE_ROWS = 1, 5
_STAGE_MARKS: dict[DisputeStage, tuple[str, str]] = {
    DisputeStage.FOUND: ("✗", "$error"),
    DisputeStage.COMMITTED: ("◷", "$error"),
    DisputeStage.PROVEN: ("⚖", "$error"),
    DisputeStage.REVERTED: ("↶", "$warning"),
    DisputeStage.VANISHED: ("·", "dim"),
    DisputeStage.MISSED: ("‼", "$error"),
    DisputeStage.REFUSED: ("?", "$warning"),
}


def ether(amount_wei: int) -> str:
    """Ether with as many decimals as a bond needs."""
    return f"{amount_wei / ETHER_WEI:.3f}".rstrip("0").rstrip(".") + " ether"


def dispute_line(dispute: DisputeView) -> Content:
    """One dispute and its stage."""
    mark, style = _STAGE_MARKS[dispute.stage]
    told = f" batch {dispute.batch_id} frame {dispute.frame}: {one_line(dispute.rule, 40)} (code {dispute.code})"
    parts: list[Content | str | tuple[str, str]] = [(f"{mark} {dispute.stage.value}", f"bold {style}"), told]
    if dispute.stage is DisputeStage.COMMITTED and dispute.reveal_block is not None:
        parts.append(f", shown from L1 block {dispute.reveal_block}")
    if dispute.submitter:
        parts.append((f" · slashed {short_hex(dispute.submitter)}" if dispute.reward_wei else "", "dim"))
    if dispute.prover:
        reward = f" got {ether(dispute.reward_wei)}" if dispute.reward_wei else ""
        parts.append((f" · prover {short_hex(dispute.prover)}{reward}", "dim"))
    return Content.assemble(*parts)


def message_line(message: WaitingMessage, now_ms: int) -> Content:
    """One message that waits in the inbox, with its deadline."""
    now_s = now_ms // 1000
    if now_s <= message.deadline_s:
        told, style = f"in a batch {countdown(message.deadline_s, now_ms)} at the latest", ""
    elif now_s <= message.takeover_at_s:
        told, style = f"due; anyone bonded may sequence {countdown(message.takeover_at_s, now_ms)}", "$warning"
    elif now_s <= message.freeze_at_s:
        told, style = f"ignored; anyone may freeze {countdown(message.freeze_at_s, now_ms)}", "$error"
    else:
        told, style = "ignored; anyone may freeze the rollup now", "bold $error"
    return Content.assemble(f"↓ message {message.index} ({message.kind}) waits: ", (told, style))


def ended_line(message: WaitingMessage) -> Content:
    """One message that a frozen rollup will never execute."""
    told = "leaving pays it back" if message.kind == "deposit" else "it has no effect any more"
    return Content.styled(f"↓ message {message.index} ({message.kind}) was never executed: {told}", "dim")


def sequencers_line(safety: SafetyView, rows: int) -> Content:
    """The sequencers and their bonds."""
    parts = [
        f"{'leader ' if one.is_leader else ''}{short_hex(one.address, 6, 4)} {ether(one.bond_wei)}"
        for one in safety.sequencers[:rows]
    ]
    if not any(one.is_leader for one in safety.sequencers):
        parts.insert(0, "no leader: anyone bonded may post")
    return Content.assemble(("bonds ", "dim"), " · ".join(parts))


def safety_content(chain: ChainSnapshot, now_ms: int, *, wide: bool) -> Content:
    """All safety facts, the most urgent first; ``now_ms`` is L1's clock."""
    safety, rows = chain.safety, WIDE_ROWS if wide else NARROW_ROWS
    if safety is None:
        why = one_line(chain.l1_error, 200)
        return Content.styled(f"✗ L1 can't be read: {why}" if why else "Asking L1…", "$error" if why else "dim")
    lines: list[Content] = []
    if safety.frozen_at_s is not None:
        frozen = f"‼ FROZEN since {clock(safety.frozen_at_s * 1000)}"
        lines.append(Content.assemble((frozen, "bold $error"), " · leave with the wallet (6): e"))
    lines += [dispute_line(dispute) for dispute in reversed(safety.disputes[-rows:])]
    if safety.announced:
        lines.append(Content.styled(f"◷ {safety.announced} fraud proof announced, not shown yet", "$warning"))
    is_frozen = safety.frozen_at_s is not None
    lines += [ended_line(message) if is_frozen else message_line(message, now_ms) for message in safety.waiting[:rows]]
    if more := safety.waiting_count - len(safety.waiting[:rows]):
        lines.append(Content.styled(f"  and {more} more messages wait", "dim"))
    if not lines:
        final = f"✓ no fraud seen, nothing waits · {safety.final_count} of {safety.batch_count} batches final"
        lines.append(Content.styled(final, "$success"))
    if not is_frozen:
        lines.append(sequencers_line(safety, rows))
    if chain.l1_error:
        lines.append(Content.styled(f"✗ L1 doesn't answer now: {one_line(chain.l1_error, 120)}", "$error"))
    return Content("\n").join(lines)
