"""This node's wallet: keys, balances, channels, slashing, exits, and the watchtower that guards them."""
