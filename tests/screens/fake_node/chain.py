"""A recorded rollup, sound, frozen or in dispute."""

from node.values import (
    Alarm,
    BatchView,
    ChainEvent,
    ChainSnapshot,
    DisputeStage,
    DisputeView,
    Inclusion,
    SafetyView,
    SequencerView,
    WaitingMessage,
)
from tests.screens.fake_node.constants import BUYER, NOW_S, ROOT, SELLER, SHA


def batch(number, inclusion):
    return BatchView(
        batch_id=number,
        l1_tx="0x" + f"{number:02x}" * 32,
        l1_block=100 + number,
        submitted_at_s=NOW_S - 600 * (8 - number),
        final_at_s=NOW_S + 95 if inclusion is Inclusion.BATCHED else NOW_S - 100,
        inclusion=inclusion,
        tx_count=3 * number,
        frame_count=1,
        size_bytes=1_337 + number,
        pre_state_root=SHA,
        post_state_root=ROOT,
    )


def chain_view(**changes):
    values = {
        "url": "http://127.0.0.1:8547",
        "reachable": True,
        "error": "",
        "l2_chain_id": 901,
        "l1_chain_id": 1337,
        "rollup_address": "0x" + "c0" * 20,
        "deployment": "0x" + "de" * 32,
        "head_tx_count": 42,
        "head_state_root": ROOT,
        "challenge_window_s": 300,
        "chain_time_s": NOW_S,
        "has_faucet": True,
        "batches": tuple(
            batch(number, Inclusion.BATCHED if number > 4 else Inclusion.FINAL) for number in range(5, 0, -1)
        ),
        "events": (
            ChainEvent(kind="batch", at_s=NOW_S - 205, text="batch 5 posted with 15 transactions", reference="0x05"),
            ChainEvent(kind="deposit", at_s=NOW_S - 260, text="$1.25 credited to 0x5e11…A11c", reference="0x04"),
            ChainEvent(kind="final", at_s=NOW_S - 300, text="batch 4 is final", reference="0x03"),
            ChainEvent(kind="claim", at_s=NOW_S - 320, text="$0.50 paid on L1", reference="0x02"),
        ),
    }
    return ChainSnapshot(**(values | changes))


def safety_view(**changes):
    values = {
        "at_s": NOW_S,
        "l1_block": 4_321,
        "batch_count": 6,
        "final_count": 4,
        "frozen_at_s": None,
        "is_overdue": False,
        "sequencers": (SequencerView(address=SELLER, bond_wei=10**18, is_leader=True),),
        "waiting": (),
        "waiting_count": 0,
        "announced": 0,
        "disputes": (),
    }
    return SafetyView(**(values | changes))


def waiting_message(index=7, age_s=5):
    at_s = NOW_S - age_s
    return WaitingMessage(
        index=index,
        kind="forced",
        at_s=at_s,
        deadline_s=at_s + 20,
        takeover_at_s=at_s + 40,
        freeze_at_s=at_s + 120,
    )


def dispute(stage=DisputeStage.REVERTED, **changes):
    values = {
        "stage": stage,
        "batch_id": 5,
        "frame": 2,
        "code": 8,
        "rule": "wrong root",
        "submitter": BUYER,
        "prover": SELLER,
        "reward_wei": 5 * 10**17,
        "reveal_block": 4_330,
    }
    return DisputeView(**(values | changes))


def fraud():
    """A chain on which a batch was just proven wrong while a message waits, and what every screen says then."""
    safety = safety_view(
        disputes=(dispute(),), waiting=(waiting_message(),), waiting_count=3, announced=1, final_count=4
    )
    return chain_view(safety=safety), Alarm(
        severity="danger", text="FRAUD: batch 5 was proven wrong and taken back (wrong root)"
    )


def frozen():
    """A chain that ended."""
    safety = safety_view(frozen_at_s=NOW_S - 60, waiting=(waiting_message(age_s=500),), waiting_count=1, sequencers=())
    text = "THE ROLLUP IS FROZEN. Leave with everything: idlewatt wallet exit"
    return chain_view(safety=safety), Alarm(severity="danger", text=text, way_out="exit")
