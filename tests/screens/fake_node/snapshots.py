"""Recorded snapshots of a whole node."""

from node.values import (
    DeviceView,
    Health,
    HealthItem,
    JobStage,
    NodeSnapshot,
    Phase,
    ProviderView,
    RejectionView,
    RelayView,
    WalletState,
)
from tests.screens.fake_node.constants import BUYER, PRICES, SHA
from tests.screens.fake_node.jobs import job, running_job
from tests.screens.fake_node.wallet import wallet


def snapshot(**changes):
    values = {
        "version": "0.1.0",
        "demo": True,
        "phase": Phase.SERVING,
        "why": "answering 1 job",
        "fix": "",
        "checklist": (
            HealthItem(name="wallet", health=Health.OK, detail="unlocked, backed up"),
            HealthItem(name="model", health=Health.OK, detail="idlewatt-demo-q8 loaded, 4 slots"),
            HealthItem(name="relay", health=Health.OK, detail="online, 3 ms"),
            HealthItem(
                name="chain",
                health=Health.WARN,
                detail="answers slowly",
                fix="Check the machine that runs the sequencer.",
            ),
            HealthItem(name="disk", health=Health.OK, detail="12 GiB free"),
        ),
        "provider": ProviderView(
            model="idlewatt-demo-q8",
            model_sha256=SHA,
            quantization="Q8_0",
            context_length=512,
            prices=PRICES,
            slots=4,
            free_slots=3,
            tokens_per_s=131.0,
            ttft_ms=38.0,
            engine_state="ready",
            earned_today_nano=123_456_700,
            earned_total_nano=987_654_300,
            jobs_today=12,
            claimable_nano=31_200,
        ),
        "devices": (
            DeviceView(
                kind="cpu",
                name="AMD Ryzen 7 5800X 8-Core",
                utilization_percent=43.0,
                memory_used_bytes=3_300_000_000,
                memory_total_bytes=16_700_000_000,
                temperature_c=None,
                power_w=None,
            ),
            DeviceView(
                kind="gpu",
                name="NVIDIA GeForce RTX 3090",
                utilization_percent=88.0,
                memory_used_bytes=9_100_000_000,
                memory_total_bytes=25_700_000_000,
                temperature_c=66.0,
                power_w=281.0,
            ),
        ),
        "active_jobs": (running_job(),),
        "recent_jobs": (
            job(1),
            job(2, role="buyer"),
            job(3, JobStage.CANCELLED, output_tokens=7),
            job(
                4,
                JobStage.FAILED,
                error_code="engine_crashed",
                error="The engine worker died; it is starting again.",
                receipt=None,
                amount_nano=0,
            ),
        ),
        "tokens_per_s_history": tuple(float((at * 7) % 120) for at in range(60)),
        "rejections": (
            RejectionView(
                reason="context_too_long",
                count=3,
                week_count=11,
                group="context",
                title="Conversations were too long.",
                fix="Load the model with more context.",
            ),
            RejectionView(
                reason="offline_relay",
                count=0,
                week_count=754,
                unit="seconds",
                group="relay",
                title="The relay was gone: nobody saw the offer.",
                fix="Check its address.",
            ),
        ),
        "relay": RelayView(url="ws://127.0.0.1:9000", state="online", rtt_ms=3.0, reconnects=0),
        "chain_url": "http://127.0.0.1:8547",
        "chain_reachable": True,
        "wallets": (wallet(), wallet("buyer", BUYER, balance_nano=9_900_000_000, backed_up=False)),
    }
    return NodeSnapshot(**(values | changes))


def first_run():
    """A node before anything was set up."""
    return snapshot(
        demo=False,
        phase=Phase.OFF,
        why="",
        provider=None,
        active_jobs=(),
        recent_jobs=(),
        tokens_per_s_history=(),
        rejections=(),
        checklist=(),
        wallets=(wallet("main", "", state=WalletState.NONE, balance_nano=None, backed_up=False),),
    )
