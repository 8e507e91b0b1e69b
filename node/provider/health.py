"""Pure health rules: facts of the services in, headline, reason, fix and checklist out."""

from __future__ import annotations

from typing import Literal

import msgspec

from node.values import ClockView, Health, HealthItem, Phase, WalletState


class HealthFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the rules look at."""

    wanted: bool
    """Whether this node is meant to be online as a provider."""
    starting: bool
    """Whether the model is loading, or the offer not yet out for the first time."""
    stopping: bool
    wallet: WalletState
    relay: Literal["off", "connecting", "online", "reconnecting", "closed"]
    relay_url: str
    relay_error: str = ""
    """Why the relay is not connected, as one sentence."""
    relay_fix: str = ""
    """What to do about it."""
    chain_url: str
    chain_reachable: bool
    chain_error: str = ""
    """Why the chain can't be reached, as one sentence; empty before it was asked for the first time."""
    chain_fix: str = ""
    chain_foreign: bool = False
    engine_state: Literal["none", "loading", "ready", "restarting", "failed"]
    engine_error: str = ""
    unused_gpu: str = ""
    """The GPU that the installed llama.cpp can't use; empty where there is none."""
    waits_for: str = ""
    """What keeps the engine from being loaded."""
    offer_published: bool
    account_exists: bool
    active_jobs: int
    """Requests from their quote until they are paid for."""
    free_slots: int
    slots: int
    backed_up: bool
    model: str = ""
    paused: str = ""
    """Why renting out is paused; empty where it isn't."""
    pause_fix: str = ""
    below_cost: str = ""
    """The warning that power costs more than the price or the earnings; empty where it doesn't."""
    cost_fix: str = ""
    waiting: int = 0
    """Requests that wait for a slot."""
    clock: ClockView | None = None
    """How this machine's clock compares with the relay's; ``None`` where that isn't known."""


class HealthVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """The headline, its reason, its fix, and the checklist."""

    phase: Phase
    why: str
    fix: str
    checklist: tuple[HealthItem, ...]


def judge(facts: HealthFacts) -> HealthVerdict:
    """The headline phase with its reason and fix: "online" means rentable now."""
    checklist = _checklist(facts)
    if facts.stopping:
        return HealthVerdict(phase=Phase.STOPPING, why="Running answers end first.", fix="", checklist=checklist)
    if not facts.wanted:
        return HealthVerdict(phase=Phase.OFF, why=_off_why(facts), fix=_off_fix(facts), checklist=checklist)
    if facts.paused:
        ends = "" if not facts.active_jobs else " Running answers end first."
        return HealthVerdict(phase=Phase.PAUSED, why=facts.paused + ends, fix=facts.pause_fix, checklist=checklist)
    broken = next((item for item in checklist if item.health is Health.FAIL), None)
    if broken is not None:
        return HealthVerdict(phase=Phase.DEGRADED, why=broken.detail, fix=broken.fix, checklist=checklist)
    if facts.starting or not facts.offer_published:
        loading = f"Loading {facts.model}. {facts.waits_for}".strip()
        why = loading if facts.engine_state == "loading" else "Publishing the offer."
        return HealthVerdict(phase=Phase.STARTING, why=why, fix="", checklist=checklist)
    if facts.active_jobs:
        return HealthVerdict(phase=Phase.SERVING, why=_serving_why(facts), fix="", checklist=checklist)
    why = f"Rentable now: {facts.model}, {facts.free_slots} of {facts.slots} slots free."
    return HealthVerdict(phase=Phase.IDLE, why=why, fix="", checklist=checklist)


def _serving_why(facts: HealthFacts) -> str:
    """What the requests do: a slot is free again before an answer is paid for, and busy before one is begun."""
    running = min(facts.active_jobs, max(0, facts.slots - facts.free_slots))
    waiting = min(facts.active_jobs - running, facts.waiting)
    settling = facts.active_jobs - running - waiting
    counts = {"waiting": waiting, "being paid for": settling}
    beside = "".join(f", {count} {what}" for what, count in counts.items() if count)
    if not running and not waiting:
        return f"{_requests(settling)} being paid for; {facts.free_slots} of {facts.slots} slots free."
    return f"Serving {_requests(running)}{beside}; {facts.free_slots} of {facts.slots} slots free."


def _requests(count: int) -> str:
    return "1 request" if count == 1 else f"{count} requests"


def _off_why(facts: HealthFacts) -> str:
    if facts.wallet is WalletState.NONE:
        return "This node has no wallet yet."
    return "Not renting out."


def _off_fix(facts: HealthFacts) -> str:
    if facts.wallet is WalletState.NONE:
        return "Create or import a wallet."
    return "Go online with F3."


def _checklist(facts: HealthFacts) -> tuple[HealthItem, ...]:
    items = (_wallet(facts), _backup(facts), _engine(facts), _relay(facts), _chain(facts), _account(facts))
    return (*items, *_clock(facts), *_machine(facts), *_cost(facts))


def _item(name: str, health: Health, detail: str, fix: str = "") -> HealthItem:
    return HealthItem(name=name, health=health, detail=detail, fix=fix)


def _clock(facts: HealthFacts) -> tuple[HealthItem, ...]:
    clock = facts.clock
    return () if clock is None else (_item("clock", clock.health, clock.line, clock.fix),)


def _machine(facts: HealthFacts) -> tuple[HealthItem, ...]:
    return (_item("machine", Health.WARN, facts.paused, facts.pause_fix),) if facts.paused else ()


def _cost(facts: HealthFacts) -> tuple[HealthItem, ...]:
    return (_item("power", Health.WARN, facts.below_cost, facts.cost_fix),) if facts.below_cost else ()


def _wallet(facts: HealthFacts) -> HealthItem:
    match facts.wallet:
        case WalletState.NONE:
            return _item("wallet", Health.FAIL, "There is no wallet to be paid to.", "Create or import one.")
        case WalletState.LOCKED:
            return _item("wallet", Health.FAIL, "The wallet is locked.", "Unlock it with its passphrase.")
        case WalletState.UNLOCKED:
            return _item("wallet", Health.OK, "The wallet is unlocked.")


def _backup(facts: HealthFacts) -> HealthItem:
    if facts.wallet is WalletState.NONE or facts.backed_up:
        return _item("backup", Health.OK, "A backup was proven." if facts.backed_up else "Nothing to back up yet.")
    fix = "Keep the recovery words, or a file from `idlewatt wallet export`, in another place."
    return _item("backup", Health.WARN, "No backup was proven: a lost key is lost money.", fix)


def _engine(facts: HealthFacts) -> HealthItem:
    match facts.engine_state:
        case "none":
            return _item("engine", Health.OK if not facts.wanted else Health.WARN, "No model is loaded.")
        case "loading":
            return _item("engine", Health.WARN, f"Loading {facts.model}. {facts.waits_for}".strip())
        case "ready":
            if facts.unused_gpu:
                why = f"llama.cpp is not built for this machine's {facts.unused_gpu}"
                fix = "`idlewatt doctor` prints the command that builds it."
                return _item("engine", Health.WARN, f"{facts.model} runs on the processor: {why}.", fix)
            return _item("engine", Health.OK, f"{facts.model} is loaded.")
        case "restarting":
            # What an engine says of itself holds its fix.
            why = facts.engine_error or "The engine crashed."
            return _item("engine", Health.FAIL, why, "It comes back by itself; see the log if it doesn't.")
        case "failed":
            why = facts.engine_error or "The engine failed."
            return _item("engine", Health.FAIL, why, "Mend that, or choose another model.")


def _relay(facts: HealthFacts) -> HealthItem:
    match facts.relay:
        case "online":
            return _item("relay", Health.OK, f"Connected to {facts.relay_url}.")
        case "off":
            return _item("relay", Health.FAIL, "No relay is set.", "Pass --relay ws://host:port once.")
        case "connecting":
            return _item("relay", Health.WARN, f"Connecting to {facts.relay_url}.")
        case _:
            detail = facts.relay_error or f"The relay {facts.relay_url} can't be reached."
            fix = facts.relay_fix or "It is tried again by itself; check its address."
            return _item("relay", Health.FAIL, detail, fix)


def _chain(facts: HealthFacts) -> HealthItem:
    if not facts.chain_url:
        return _item("chain", Health.FAIL, "No chain is set.", "Pass --chain http://host:port once.")
    if facts.chain_foreign:
        return _item(
            "chain",
            Health.WARN,
            "This chain is not the one this home knew: it was reset. Old channels are archived.",
            "Nothing to do if you expected it.",
        )
    if facts.chain_reachable:
        return _item("chain", Health.OK, f"Connected to {facts.chain_url}.")
    if not facts.chain_error:
        return _item("chain", Health.WARN, f"Connecting to {facts.chain_url}.")
    fix = facts.chain_fix or "It is tried again by itself; check its address."
    return _item("chain", Health.FAIL, facts.chain_error, fix)


def _account(facts: HealthFacts) -> HealthItem:
    if facts.account_exists:
        return _item("account", Health.OK, "The wallet has an account on the chain.")
    if facts.wallet is WalletState.NONE:
        return _item("account", Health.OK, "It is made when the node first goes online.")
    if not facts.chain_reachable:
        return _item("account", Health.OK, "It is looked up once the chain is reached.")
    return _item("account", Health.WARN, "The wallet has no account on the chain yet.", "Go online: it is made then.")
