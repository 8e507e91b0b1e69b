"""What a real node says about its power, its price and what was left, and what the desks make of hardware."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import msgspec
import pytest

from chain.errors import UsageError
from node.hardware.availability import MachineActivity
from node.hardware.energy import OwnCpuUse
from node.hardware.processes import ProcessUse
from node.hardware.reading import DeviceReading, GpuUser
from node.hardware.rules import AvailabilityRules, EnergyRules
from node.hardware.sampler import HardwareSample, HardwareSampler
from node.machine.availability import AvailabilityMonitor, activity_of, watched_programs
from node.machine.energy_meter import EnergyMeter, basis, judge_net
from node.machine.timing import MachineTiming
from node.market.price_advice import BelowCostError
from node.runtime.events import EventBus
from node.runtime.jobs import JobRegistry, now_ms
from node.store import Store
from node.values import ChatDone, JobStage, JobView, NetView, NodeSnapshot, Phase, Prices
from tests.node.conftest import PASSPHRASE, RunNode
from tests.node.helpers import ask, turn, until

PAID = EnergyRules(price_per_kwh=Decimal("0.30"))
GPU = DeviceReading(device_id="nvml:0", name="RTX", kind="gpu", source="nvml", power_w=20.0, temperature_c=40.0)
CPU = DeviceReading(device_id="cpu", name="Ryzen", kind="cpu", source="psutil", temperature_c=70.0)


async def test_a_job_is_billed_its_power_and_the_node_says_what_was_left(run_node: RunNode, relay, devnet):
    urls = {"relay": relay.url, "chain": devnet.l2_url}
    async with run_node("seller", **urls, energy=PAID) as seller, run_node("buyer", **urls) as buyer:
        await seller.create_wallet("main", PASSPHRASE)
        await buyer.create_wallet("main", PASSPHRASE)
        await asyncio.gather(seller.go_online(), buyer.faucet("main"))
        done = (await ask(buyer, turn(max_tokens=200)))[-1]
        assert isinstance(done, ChatDone)

        def billed(snapshot: NodeSnapshot) -> bool:
            energy = snapshot.energy
            return energy is not None and energy.total.jobs == 1 and energy.total.unmeasured_jobs == 0

        energy = (await until(seller, billed)).energy
        assert energy.today.earned_nano == done.cost_nano
        assert energy.today.net_nano == done.cost_nano - energy.today.cost_nano
        # Whatever took energy took it at 0.30 a kilowatt-hour, rounded up a device.
        exact = energy.total.energy_mj * 300_000_000 / 3_600_000_000
        assert exact <= energy.total.cost_nano < exact + max(1, len(energy.devices))
        assert [model.name for model in energy.models] == ["tiny"]
        assert sum(device.earned_nano for device in energy.devices) == done.cost_nano
        assert len(energy.hours) == len(energy.days) == 1
        assert (energy.nano_per_kwh, energy.price_is_assumed) == (300_000_000, False)
        assert energy.basis
        advice = seller.snapshot().price
        assert advice.floor.output_nano_per_mtok >= 0
        assert advice.suggested.output_nano_per_mtok >= advice.floor.output_nano_per_mtok


async def test_a_price_below_its_power_is_refused_before_an_offer_goes_out_unless_allowed(run_node, relay, devnet):
    dear = EnergyRules(price_per_kwh=Decimal(100), cpu_w=100_000.0, gpu_w=100_000.0)
    urls = {"relay": relay.url, "chain": devnet.l2_url, "energy": dear}
    cheap = Prices(input_nano_per_mtok=1, output_nano_per_mtok=1)
    async with run_node("seller", **urls) as node:
        await node.create_wallet("main", PASSPHRASE)
        with pytest.raises(BelowCostError, match="below its power") as failure:
            await node.go_online(prices=cheap)
        assert "--allow-loss" in failure.value.fix
        assert node.snapshot().phase is Phase.OFF
        # A thousand times the suggestion: the speed that it rests on is measured anew with every load.
        suggested = node.snapshot().price.suggested
        well_paid = Prices(
            input_nano_per_mtok=1_000 * suggested.input_nano_per_mtok,
            output_nano_per_mtok=1_000 * suggested.output_nano_per_mtok,
        )
        await node.go_online(prices=well_paid)
        with pytest.raises(BelowCostError):
            await node.go_online(prices=cheap)
        assert node.snapshot().provider.prices == well_paid
    async with run_node("seller", **urls, allow_below_cost=True) as node:
        await node.unlock("main", PASSPHRASE)
        await node.go_online(prices=cheap)
        power = next(item for item in node.snapshot().checklist if item.name == "power")
        assert "below its power (estimated)" in power.detail
        assert "Ask $" in power.fix


class Watts:
    """A source whose GPU takes what it is told."""

    name = "test"

    def __init__(self) -> None:
        self.power_w = 20.0

    def read(self):
        return (msgspec.structs.replace(GPU, power_w=self.power_w),)

    def close(self):
        pass


def job(**changes) -> JobView:
    values = {
        "job_id": "j1", "role": "provider", "model": "m", "peer": "0x" + "11" * 20, "stage": JobStage.STREAMING,
        "channel_id": 1, "input_tokens": 3, "output_tokens": 40, "tokens_per_s": 9.0, "amount_nano": 5,
        "exposure_nano": 0, "credit_window_nano": 0, "started_ms": now_ms(), "finished_ms": None,
    }  # fmt: skip
    return JobView(**(values | changes))


async def test_earning_less_than_the_power_cost_is_warned_of_with_the_fix(tmp_path):
    async with await Store.open(tmp_path / "node.db") as store:
        await store.bind_deployment("0x" + "aa" * 32)
        jobs = JobRegistry(store, lambda: None)
        now = iter(range(0, 100, 2))
        source = Watts()
        sampler = HardwareSampler([source], clock=lambda: float(next(now)))
        meter = EnergyMeter(EnergyRules(price_per_kwh=Decimal(100)), store, jobs, EventBus())
        assert meter.view() is None
        await meter.look(sampler)
        await meter.look(sampler)
        meter._ledger.begin("j1", 2.0)
        source.power_w = 220.0
        jobs.update(job())
        await meter.look(sampler)
        await jobs.finish(job(stage=JobStage.DONE, finished_ms=now_ms()), b"b" * 20, "stop")
        meter._ledger._jobs["j1"].ended_s = 4.0
        await meter.look(sampler)

        energy = meter.view()
        # 200 J above idling at 100 USD a kilowatt-hour.
        assert (energy.today.energy_mj, energy.today.cost_nano, energy.today.net_nano) == (
            200_000,
            5_555_556,
            5 - 5_555_556,
        )
        assert "cost $0.005555556, and only $0.000000005" in energy.warning
        assert "Raise the price" in energy.fix
        assert (energy.is_estimate, energy.basis) == (False, "NVML measures RTX")
        jobs.update(job(job_id="other", role="buyer"))
        assert meter._ledger.running == frozenset()


def test_a_loss_at_an_assumed_price_asks_for_the_price_first():
    net = NetView(
        name="today", jobs=1, output_tokens=1, earned_nano=1, energy_mj=1, cost_nano=2, net_nano=-1, is_estimate=True,
        unmeasured_jobs=0,
    )  # fmt: skip
    warning, fix = judge_net(net, price_is_assumed=True)
    assert "(estimated)" in warning
    assert "price_per_kwh" in fix
    assert judge_net(msgspec.structs.replace(net, net_nano=0), price_is_assumed=True) == ("", "")


def test_the_basis_tells_what_measures_from_what_is_estimated():
    assert basis(HardwareSample(at_s=0.0, devices=(GPU, CPU)), {"cpu"}) == "NVML measures RTX; Ryzen is estimated"


# AvailabilityPolicy


def processes(**changes) -> ProcessUse:
    values = {"own": OwnCpuUse(), "own_pids": frozenset({1}), "foreign_cpu_percent": 12.0, "wanted_by": ("steam",)}
    return ProcessUse(**(values | changes))


def with_users(*users: GpuUser, use: float = 90.0) -> HardwareSample:
    gpu = msgspec.structs.replace(GPU, users=users, utilization_percent=use)
    return HardwareSample(at_s=0.0, devices=(gpu, CPU))


def test_the_rules_see_the_hottest_device_all_power_and_who_else_is_there(monkeypatch):
    monkeypatch.setattr("node.machine.availability.name_of", {7: "game\x1b[31m"}.get)
    sample = with_users(GpuUser(1, 80.0), GpuUser(7, 40.0), GpuUser(99_999, 70.0), GpuUser(8, None))
    assert activity_of(sample, processes(), 3.0, is_busy=True) == MachineActivity(
        input_idle_s=3.0, hottest="Ryzen", temperature_c=70.0, power_w=20.0, gpu_user="game", gpu_percent=40.0,
        foreign_cpu_percent=12.0, wanted_by=("steam",),
    )  # fmt: skip


def test_a_gpu_that_tells_no_users_is_somebody_elses_while_we_run_nothing():
    assert activity_of(with_users(), processes(), None, is_busy=False).gpu_percent == 90.0
    assert activity_of(with_users(), processes(), None, is_busy=True).gpu_percent is None
    assert activity_of(None, processes(), None, is_busy=False) == MachineActivity(
        foreign_cpu_percent=12.0, wanted_by=("steam",)
    )


class Provider:
    def __init__(self) -> None:
        self.calls: list[str] = []

    async def pause(self, reason: str) -> None:
        self.calls.append(reason)

    async def resume(self) -> None:
        self.calls.append("resume")


class Idle:
    def __init__(self, idle_s) -> None:
        self.now_s = idle_s

    def idle_s(self):
        return self.now_s


async def test_a_person_who_comes_back_pauses_it_and_who_leaves_lets_it_go_on():
    provider, person = Provider(), Idle(5.0)
    monitor = AvailabilityMonitor(
        AvailabilityRules(person_idle_minutes=1), EventBus(), look=lambda: (None, processes(wanted_by=())),
        is_busy=lambda: False, pause=provider.pause, resume=provider.resume, presence=person,
        timing=MachineTiming(presence_s=0.0),
    )  # fmt: skip
    await monitor.step()
    assert (monitor.view.kind, monitor.view.until_ms is not None) == ("person", True)
    first = monitor.view
    await monitor.step()
    assert monitor.view.since_ms == first.since_ms
    person.now_s = 61.0
    await monitor.step()
    assert monitor.view is None
    assert provider.calls == ["Somebody uses this machine.", "resume"]


async def test_another_reason_is_told_while_it_is_paused():
    provider, programs = Provider(), [("steam",)]
    rules = AvailabilityRules(pause_for=("steam",), quiet_hours=("mon-sun",))
    monitor = AvailabilityMonitor(
        rules, EventBus(),
        look=lambda: (None, processes(wanted_by=programs[0])), is_busy=lambda: False,
        pause=provider.pause, resume=provider.resume,
    )  # fmt: skip
    await monitor.step()
    assert (monitor.view.kind, watched_programs(rules)) == ("quiet_hours", frozenset({"steam"}))


async def test_without_availability_rules_nothing_is_looked_at():
    def never():
        raise AssertionError

    provider, rules = Provider(), AvailabilityRules(enabled=False, pause_for=("steam",))
    monitor = AvailabilityMonitor(
        rules, EventBus(), look=never, is_busy=never,
        pause=provider.pause, resume=provider.resume,
    )  # fmt: skip
    await monitor.run()
    assert (watched_programs(rules), monitor.view) == (frozenset(), None)


async def test_a_pause_is_overridden_for_as_long_as_asked_and_comes_back():
    provider = Provider()
    monitor = AvailabilityMonitor(
        AvailabilityRules(pause_for=("steam",)), EventBus(), look=lambda: (None, processes()), is_busy=lambda: False,
        pause=provider.pause, resume=provider.resume,
    )  # fmt: skip
    await monitor.step()
    await monitor.override(60)
    await monitor.step()
    assert (provider.calls, monitor.view) == (["steam runs on this machine.", "resume"], None)
    await monitor.override(0)
    assert (provider.calls[2:], monitor.view.kind) == (["steam runs on this machine."], "program")
    for minutes in (-1, 7 * 24 * 60 + 1):
        with pytest.raises(UsageError):
            await monitor.override(minutes)


async def test_a_job_that_just_ended_is_billed_before_the_node_ends(tmp_path):
    async with await Store.open(tmp_path / "node.db") as store:
        await store.bind_deployment("0x" + "aa" * 32)
        jobs, source = JobRegistry(store, lambda: None), Watts()
        meter = EnergyMeter(PAID, store, jobs, EventBus(), sampler=lambda: HardwareSampler([source]))
        running = asyncio.create_task(meter.run())
        await meter.looked()
        jobs.update(job())
        await jobs.finish(job(stage=JobStage.DONE, finished_ms=now_ms()), b"b" * 20, "stop")
        running.cancel()
        await asyncio.wait([running])
        (total,) = await store.net_totals("all")
        assert (total.jobs, total.unmeasured_jobs, total.is_estimate) == (1, 0, False)


async def test_a_job_that_came_to_nothing_is_not_billed(tmp_path):
    async with await Store.open(tmp_path / "node.db") as store:
        jobs = JobRegistry(store, lambda: None)
        meter = EnergyMeter(PAID, store, jobs, EventBus())
        jobs.update(job())
        assert meter._ledger.running == {"j1"}
        jobs.drop(job())
        assert meter._ledger.running == frozenset()
        jobs.update(job(job_id="waiting", stage=JobStage.QUEUED))
        assert meter._ledger.running == frozenset()
