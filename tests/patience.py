"""How long a test waits for what never comes."""

from typing import Final

PATIENCE_S: Final = 240.0
"""Ends a test that would wait for ever. It is so long that no test fails by it because its machine is slow."""
