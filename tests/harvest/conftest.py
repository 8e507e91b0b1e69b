"""Real nodes, relays, devnets and models, as the node's own tests have them."""

from tests.node.conftest import devnet, limits, pair, relay, run_node, tiny_model

__all__ = ["devnet", "limits", "pair", "relay", "run_node", "tiny_model"]
