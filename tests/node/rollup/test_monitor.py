"""What a node says of a chain that it can't reach."""

from aiohttp import web
from aiohttp.test_utils import TestServer

from node.rollup.monitor import RollupMonitor
from node.store.store import Store


async def test_a_chain_that_cannot_be_reached_is_told_with_what_to_do(tmp_path):
    store = await Store.open(tmp_path / "node.db")
    changes = []
    async with TestServer(web.Application()) as server:  # answers 404
        monitor = RollupMonitor(
            str(server.make_url("")), store, on_change=lambda: changes.append(1), on_reset=lambda: None
        )
        seen = await monitor.snapshot()
        assert (seen.reachable, seen.error) == (False, "The chain's answer can't be understood.")
        assert seen.fix == monitor.fix == "Check that the address is a rollup RPC of this version."
    gone = await monitor.snapshot()
    assert gone.error == f"The chain at {monitor.url} can't be reached."
    assert gone.fix == "Start it with `idlewatt devnet`, or give another address with --chain."
    assert len(changes) == 2
    await monitor.close()
    await store.close()


async def test_a_node_without_a_chain_says_how_to_set_one(tmp_path):
    store = await Store.open(tmp_path / "node.db")
    monitor = RollupMonitor(None, store, on_change=lambda: None, on_reset=lambda: None)
    seen = await monitor.snapshot()
    assert (seen.error, seen.fix) == ("No chain is set.", "Pass --chain http://host:port once.")
    await store.close()


async def test_credentials_in_the_address_are_neither_shown_nor_logged(tmp_path, caplog):
    store = await Store.open(tmp_path / "node.db")
    monitor = RollupMonitor("http://me:secret@127.0.0.1:1", store, on_change=lambda: None, on_reset=lambda: None)
    seen = await monitor.snapshot()
    await monitor.close()
    await store.close()
    assert (seen.url, seen.error) == ("http://127.0.0.1:1", "The chain at http://127.0.0.1:1 can't be reached.")
    assert "chain_unreachable" in caplog.text
    assert "secret" not in caplog.text
