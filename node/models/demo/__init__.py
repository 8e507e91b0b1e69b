"""The demo model: one small GGUF that ships with Idlewatt, so that the first run needs no download.

`bench/demo_model` trains and measures it.
"""

from pathlib import Path

DEMO_MODEL_NAME = "idlewatt-demo"


def demo_model_path() -> Path:
    """Give the path of the shipped GGUF."""
    return Path(__file__).with_name("demo.gguf")


def demo_model_sha256() -> str:
    """Give the SHA-256 that the shipped GGUF must have, as 64 lower-case hex digits."""
    return demo_model_path().with_suffix(".gguf.sha256").read_text(encoding="ascii").split()[0]
