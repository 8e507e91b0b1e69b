"""Dashboard: whether this machine earns, why or why not, and with which hardware."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Static

from node.values import DeviceView, EnergyView, Health, HealthItem, JobView, NetView, NodeSnapshot, Phase
from screens.base import NodeScreen
from screens.jobs_table import job_columns, no_jobs_text
from screens.node_feed import NodeFeed
from screens.status import PHASE_MARKS
from screens.text import (
    DASH,
    counted,
    meter,
    milliseconds,
    one_line,
    percent,
    price,
    size,
    sparkline,
    speed,
    usd,
    usd_short,
)
from screens.why_no_jobs import is_worth_showing, why_no_jobs_content
from screens.widgets.facts import facts
from screens.widgets.panel import Panel
from screens.widgets.table import NodeTable

_HEALTH_MARKS = {Health.OK: ("✓", "$success"), Health.WARN: ("▲", "$warning"), Health.FAIL: ("✗", "$error")}
_METER_CELLS = 10
_WIDE_CELLS = 60
REGARDLESS_MINUTES = 60


def phase_content(snapshot: NodeSnapshot) -> Content:
    """The headline: phase, why, the fix, and today's earnings."""
    mark, style = PHASE_MARKS[snapshot.phase]
    why = one_line(snapshot.why) or ("Nothing is rented out." if snapshot.phase is Phase.OFF else "")
    lines = [Content.assemble((f"{mark} {snapshot.phase.value.upper()}", f"bold {style}"), "  ", why)]
    fix = one_line(snapshot.fix) or (
        "F3 rents a model out; 5 chats with somebody's." if snapshot.phase is Phase.OFF else ""
    )
    if fix:
        lines.append(Content.assemble(("→ ", "bold $primary"), fix))
    provider = snapshot.provider
    if provider is not None:
        jobs = f"{provider.jobs_today} job{'s' if provider.jobs_today != 1 else ''}"
        lines.append(
            Content.assemble(
                ("today ", "dim"),
                (usd(provider.earned_today_nano), "bold"),
                f" · {jobs}   ",
                ("total ", "dim"),
                usd(provider.earned_total_nano),
                "   ",
                ("claimable ", "dim"),
                usd(provider.claimable_nano),
            )
        )
    if snapshot.energy is not None and snapshot.energy.total.jobs:
        lines.append(net_line(snapshot.energy.today, "today"))
    return Content("\n").join(lines)


def net_line(net: NetView, name: str) -> Content:
    """What was earned, what power cost, and what was left; an estimate says that it is one."""
    about = " (estimated)" if net.is_estimate else ""
    unknown = f" · {counted(net.unmeasured_jobs, 'job')} unmeasured" if net.unmeasured_jobs else ""
    return Content.assemble(
        (f"{one_line(name, 24)} ", "dim"),
        f"earned {usd(net.earned_nano)}, power {usd_short(net.cost_nano)}{about}, net ",
        (usd_short(net.net_nano), "bold $error" if net.net_nano < 0 else "bold $success"),
        (unknown, "dim"),
    )


def energy_content(energy: EnergyView | None) -> Content:
    """Power, its cost, and earnings after it: today, in all, by model, by device."""
    if energy is None:
        return Content.styled("No hardware was read yet.", "dim")
    about = " (estimated)" if energy.is_estimate else ""
    power = DASH if energy.power_w is None else f"{energy.power_w:.0f} W now"
    idle = "" if energy.idle_w is None else f" · {energy.idle_w:.0f} W idle"
    price = f"{usd(energy.nano_per_kwh)} a kWh" + (" (assumed: set price_per_kwh)" if energy.price_is_assumed else "")
    token = "" if energy.joules_per_token is None else f"\n{energy.joules_per_token:.3g} J an output token"
    lines = [Content(f"{power}{idle}{about}\n{price}{token}")]
    if energy.total.jobs:
        lines += [net_line(energy.today, "today"), net_line(energy.total, "in all")]
        lines += [net_line(one, one.name) for one in (*energy.models[:3], *energy.devices[:3])]
    if energy.warning:
        lines.append(Content.assemble(("▲ ", "$warning"), one_line(energy.warning)))
        lines.append(Content.assemble(("→ ", "bold $primary"), one_line(energy.fix)))
    lines.append(Content.styled(one_line(energy.basis), "dim"))
    return Content("\n").join(lines)


def offer_content(snapshot: NodeSnapshot) -> Content:
    """What is rented out."""
    provider = snapshot.provider
    if provider is None:
        return Content.styled("Nothing is rented out. F3 goes online.", "dim")
    advice = snapshot.price
    advised = []
    if advice is not None:
        about = " (estimated)" if advice.is_estimate else ""
        advised = [
            ("suggest", f"{price(advice.suggested)}: {one_line(advice.basis)}"),
            (
                "floor",
                f"{price(advice.floor)}{about}: {one_line(advice.floor_basis)}" if advice.is_floor_known else DASH,
            ),
        ]
    return facts(
        [
            ("model", f"{provider.model} · {provider.quantization}"),
            ("price", price(provider.prices)),
            ("speed", f"{speed(provider.tokens_per_s)} tok/s · first token {milliseconds(provider.ttft_ms)}"),
            ("slots", f"{provider.free_slots} of {provider.slots} free · context {provider.context_length}"),
            ("engine", provider.engine_state),
            *advised,
        ],
        8,
    )


def device_line(device: DeviceView, width: int) -> Content:
    """One GPU, or the CPU: what the hardware tells, the name cut to what room is left."""
    load = None if device.utilization_percent is None else device.utilization_percent / 100
    bar = meter(load, _METER_CELLS if width >= _WIDE_CELLS + _METER_CELLS else _METER_CELLS // 2)
    parts = [
        Content.assemble((bar, "$primary"), f" {percent(device.utilization_percent):>5}"),
        Content(f"{size(device.memory_used_bytes)} of {size(device.memory_total_bytes)}"),
    ]
    if device.temperature_c is not None:
        parts.append(Content(f"{device.temperature_c:.0f} °C"))
    if device.power_w is not None:
        parts.append(Content(f"{device.power_w:.0f} W"))
    rest = Content("  ").join(parts)
    name_width = max(8, min(30, width - rest.cell_length - 6))
    return Content.assemble(
        (device.kind.upper().ljust(4), "bold"), one_line(device.name, name_width).ljust(name_width), "  ", rest
    )


def devices_content(devices: Sequence[DeviceView], width: int) -> Content:
    """A row a device."""
    if not devices:
        return Content.styled("No hardware was read yet.", "dim")
    return Content("\n").join(device_line(device, width) for device in devices)


def speed_content(snapshot: NodeSnapshot, width: int) -> Content:
    """Two minutes of tokens per second."""
    history = snapshot.tokens_per_s_history
    now = history[-1] if history else 0.0
    peak = max(history, default=0.0)
    label = f" now {now:5.1f} · peak {peak:.1f}"
    return Content.assemble((sparkline(history, max(0, width - len(label))), "$primary"), (label, "dim"))


def checklist_content(items: Sequence[HealthItem]) -> Content:
    """Every check with its verdict, and the fix where one is needed."""
    lines = []
    for item in items:
        mark, style = _HEALTH_MARKS[item.health]
        lines.append(
            Content.assemble((f"{mark} ", style), (one_line(item.name, 40), "bold"), "  ", one_line(item.detail))
        )
        if item.health is not Health.OK and item.fix:
            lines.append(Content.assemble(("  → ", "$primary"), one_line(item.fix)))
    return Content("\n").join(lines) if lines else Content.styled("Nothing to check yet.", "dim")


class DashboardScreen(NodeScreen):
    """The first thing a provider looks at."""

    TITLE_TEXT = "Dashboard"
    AUTO_FOCUS = "#jobs-table"
    HELP_TEXT = (
        "Whether this machine earns, and if not, why, with the fix. F3 goes online or offline. "
        "Why no jobs: requests not taken and time offline, by reason. 2 opens the jobs, 6 the money."
    )

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("o", "rent_out_regardless", "Rent out regardless", id="dashboard.regardless")
    ]

    def __init__(self, feed: NodeFeed) -> None:
        super().__init__(feed)
        self._was_paused = False
        self._columns = job_columns(feed.now_ms)

    def compose_body(self) -> ComposeResult:
        """Left the state and the jobs; right, when wide, the reasons."""
        with Horizontal():
            with Vertical(id="dash-main"):
                yield self._panel("phase", "Renting out")
                yield self._panel("devices", "Hardware")
                yield self._panel("speed", "Tokens per second, two minutes")
                with VerticalScroll(id="rejections-box", classes="panel", can_focus=True):
                    yield Panel(id="rejections", markup=False)
                with Vertical(id="jobs-box", classes="panel grow"):
                    yield NodeTable[JobView](self._columns, lambda job: f"{job.role}:{job.job_id}", id="jobs-table")
                    yield Static(id="jobs-empty", classes="empty", markup=False)
            with VerticalScroll(id="dash-side", classes="wide-only", can_focus=False):
                yield self._panel("offer", "On offer")
                yield self._panel("energy", "Electricity")
                yield self._panel("checks", "Checklist")

    @staticmethod
    def _panel(name: str, title: str) -> Panel:
        panel = Panel(id=name, classes="panel", markup=False)
        panel.border_title = title
        return panel

    def on_mount(self) -> None:
        """Name the boxes that are no Static."""
        self.query_one("#rejections-box").border_title = "Why no jobs"
        self.query_one("#jobs-box").border_title = "Jobs"

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Show what can be done now only."""
        if action == "rent_out_regardless":
            return self.feed.snapshot.phase is Phase.PAUSED
        return super().check_action(action, parameters)

    def action_rent_out_regardless(self) -> None:
        """Rent out for an hour although others use the machine."""

        async def go_on() -> None:
            self.tell(f"Renting out for {REGARDLESS_MINUTES} minutes, also while somebody else uses this machine.")
            await self.feed.api.rent_out_regardless(REGARDLESS_MINUTES)
            self.feed.refresh(frozenset({"phase"}))

        self.start(go_on(), group="online")

    def on_resize(self) -> None:
        """Bars and sparklines know their width only now."""
        self.call_after_refresh(self.show)

    def show(self) -> None:
        """Draw the snapshot."""
        snapshot = self.feed.snapshot
        if self._was_paused is not (is_paused := snapshot.phase is Phase.PAUSED):
            self._was_paused = is_paused
            self.refresh_bindings()
        self.query_one("#phase", Static).update(phase_content(snapshot))
        devices = self.query_one("#devices", Static)
        devices.update(devices_content(snapshot.devices, devices.content_size.width or _WIDE_CELLS))
        graph = self.query_one("#speed", Static)
        graph.update(speed_content(snapshot, graph.content_size.width or _WIDE_CELLS))
        self.query_one("#offer", Static).update(offer_content(snapshot))
        self.query_one("#energy", Static).update(energy_content(snapshot.energy))
        self.query_one("#checks", Static).update(checklist_content(snapshot.checklist))
        self.query_one("#rejections", Static).update(why_no_jobs_content(snapshot.rejections))
        self.query_one("#rejections-box").set_class(not is_worth_showing(snapshot), "hidden")
        jobs = (*snapshot.active_jobs, *snapshot.recent_jobs)
        table = self.query_one("#jobs-table", NodeTable)
        table.show_rows(jobs)
        table.set_class(not jobs, "hidden")
        nothing = self.query_one("#jobs-empty", Static)
        nothing.update(no_jobs_text(snapshot.phase))
        nothing.set_class(bool(jobs), "hidden")
        running = len(snapshot.active_jobs)
        self.query_one("#jobs-box").border_subtitle = f"{running} running" if running else ""
