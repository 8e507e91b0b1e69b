"""A node of recorded values behind the NodeApi seam: deterministic, with a clock that stands still."""

from tests.screens.fake_node.buying import chat_script, offer, offers
from tests.screens.fake_node.chain import batch, chain_view, dispute, fraud, frozen, safety_view, waiting_message
from tests.screens.fake_node.constants import ANSWER, BUYER, NOW_MS, NOW_S, PRICES, SELLER, WORDS
from tests.screens.fake_node.jobs import job, running_job
from tests.screens.fake_node.models import hub_models, model_view
from tests.screens.fake_node.node import FakeNode
from tests.screens.fake_node.snapshots import first_run, snapshot
from tests.screens.fake_node.wallet import money, wallet

__all__ = [
    "ANSWER",
    "BUYER",
    "NOW_MS",
    "NOW_S",
    "PRICES",
    "SELLER",
    "WORDS",
    "FakeNode",
    "batch",
    "chain_view",
    "chat_script",
    "dispute",
    "first_run",
    "fraud",
    "frozen",
    "hub_models",
    "job",
    "model_view",
    "money",
    "offer",
    "offers",
    "running_job",
    "safety_view",
    "snapshot",
    "waiting_message",
    "wallet",
]
