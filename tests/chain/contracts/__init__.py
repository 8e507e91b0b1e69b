"""The contracts on a real EVM."""
