"""The demo is the network itself: real processes, money that adds up, and nothing left behind however it ends."""

import os
import signal
import subprocess
import sys

import psutil
import pytest

from tests.e2e.conftest import processes_marked
from tests.patience import PATIENCE_S

pytestmark = pytest.mark.e2e

QUESTION = "What is 17 + 25?"


def test_the_headless_demo_answers_pays_and_settles(commands):
    facts = commands.facts("demo", "--home", "iw/demo", "--headless", "--prompt", QUESTION)

    assert "42" in facts["answer"]
    assert len(facts["model"]["sha256"]) == 64
    assert facts["usage"]["input_tokens"] > 0
    assert facts["usage"]["output_tokens"] > 0
    cost = int(facts["cost_nano"])
    assert cost == int(facts["channel"]["redeemed_nano"]) == int(facts["receipt"]["cumulative_nano"])
    assert facts["receipt"]["signature"].startswith("0x")
    assert facts["settlement"]["status"] in {"batched", "final"}
    assert facts["settlement"]["l1_tx"].startswith("0x")
    money = {name: int(value) for name, value in facts["balances"].items()}
    before = money["buyer_before_nano"] + money["provider_before_nano"]
    after = money["buyer_after_nano"] + money["provider_after_nano"]
    assert before == after + money["fees_nano"]
    assert money["provider_after_nano"] - money["provider_before_nano"] == cost
    assert {"start_to_first_token_ms", "ttft_ms", "tokens_per_s", "total_ms"} <= facts["timing"].keys()


def test_the_demo_can_be_run_again_on_the_same_home(commands):
    first = commands.facts("demo", "--home", "iw/demo", "--headless", "--prompt", QUESTION)
    second = commands.facts("demo", "--home", "iw/demo", "--headless", "--prompt", "What is 30 - 12?")

    assert "18" in second["answer"]
    assert second["buyer"] == first["buyer"]
    assert second["balances"]["provider_before_nano"] == first["balances"]["provider_after_nano"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_behind_when_the_demo_is_stopped(commands, number):
    with subprocess.Popen(
        [sys.executable, "-m", "app.cli", "demo", "--home", "iw/demo", "--headless", "--stay", "--prompt", QUESTION],
        cwd=commands.folder,
        env=commands.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as demo:
        try:
            assert "42" in demo.stdout.readline()
            family = processes_marked(commands.mark)
            assert len(family) >= 4, "the demo, its devnet, its relay and its engine"
            os.kill(demo.pid, number)
            demo.communicate(timeout=PATIENCE_S)
        finally:
            demo.kill()
    _, alive = psutil.wait_procs(family, timeout=PATIENCE_S)
    assert alive == []
