"""Recorded jobs and receipts."""

from node.values import JobStage, JobView, ReceiptView
from tests.screens.fake_node.constants import BUYER, NOW_MS, ROOT, SELLER, SHA


def receipt(sequence=3):
    return ReceiptView(
        channel_id=7,
        sequence=sequence,
        provider=SELLER,
        model_sha256=SHA,
        engine_build="llama.cpp b6000 cpu",
        prompt_hash=ROOT,
        output_hash=SHA,
        fingerprint_hash=ROOT,
        input_tokens=24,
        output_tokens=42,
        cumulative_nano=31_200,
        seed=1234,
        started_ms=NOW_MS - 65_000,
        finished_ms=NOW_MS - 62_500,
        signature="0x" + "5b" * 64,
    )


def job(number, stage=JobStage.DONE, role="provider", **changes):
    values = {
        "job_id": f"job-{number:04d}",
        "role": role,
        "model": "idlewatt-demo-q8",
        "peer": BUYER if role == "provider" else SELLER,
        "stage": stage,
        "channel_id": 7,
        "input_tokens": 24,
        "output_tokens": 42,
        "tokens_per_s": 118.4,
        "amount_nano": 10_800,
        "exposure_nano": 0,
        "credit_window_nano": 12_800,
        "started_ms": NOW_MS - 60_000 * number,
        "finished_ms": NOW_MS - 60_000 * number + 2_500,
        "receipt": receipt(number),
    }
    return JobView(**(values | changes))


def running_job(number=9, **changes):
    running = {"finished_ms": None, "receipt": None, "exposure_nano": 6_400, "started_ms": NOW_MS - 4_000}
    return job(number, JobStage.STREAMING, **(running | changes))
