"""A setting's whole way: from ``config.toml`` to the engine's worker, to the offer, and to what a buyer is told."""

from __future__ import annotations

import shutil
from pathlib import Path

from app.config import Config
from app.home import Home
from node.local.node import LocalNode
from node.pricing import cost_nano
from node.values import ChatDone
from tests.node.conftest import PASSPHRASE, RunNode
from tests.node.helpers import ask, turn, until

WRITTEN = """
model = "tiny"
slots = 3
threads = 1
context_length = 256
share_prefixes = true
credit_tokens = 200
min_deposit_nano = 123_456
price_in_nano = 0
price_out_nano = 3_000_000_000
"""


async def test_what_stands_in_the_file_reaches_worker_offer_and_session(
    tmp_path: Path, tiny_model: Path, run_node: RunNode, relay, devnet
) -> None:
    home = Home(tmp_path / "seller").prepare()
    shutil.copy(tiny_model, home.models / "tiny.gguf")
    home.config_path.write_text(WRITTEN)
    settings = Config.load(home.config_path, relay=relay.url, chain=devnet.l2_url)
    async with (
        LocalNode.running(home, settings, scrypt_n=2) as seller,
        run_node("buyer", relay=relay.url, chain=devnet.l2_url) as buyer,
    ):
        await seller.create_wallet("main", PASSPHRASE)
        await buyer.create_wallet("main", PASSPHRASE)
        await seller.go_online()
        await buyer.faucet("main")

        load = seller._provider._engine.prepared.load
        assert (load.options.slots, load.options.share_prefixes, load.fit.context_length) == (3, True, 256)
        (offer,) = await buyer.market()
        assert (offer.slots, offer.context_length, offer.min_deposit_nano) == (3, 256, 123_456)
        assert (offer.prices.input_nano_per_mtok, offer.prices.output_nano_per_mtok) == (0, 3_000_000_000)
        events = await ask(buyer, turn())
        assert isinstance(events[-1], ChatDone), events
        await until(seller, lambda snapshot: snapshot.recent_jobs)
        (job,) = seller.snapshot().recent_jobs
        assert job.credit_window_nano == cost_nano(200, 3_000_000_000)
