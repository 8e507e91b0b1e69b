"""A real ``llama_cpp.server`` in a process of its own, serving the demo model."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from node.models.catalog import DEMO_PATH
from tests.patience import PATIENCE_S

ALIAS = "demo-upstream"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def llama_cpp_server(
    folder: Path, *, port: int | None = None, key: str = "", n_ctx: int = 2_048, embeds: bool = False
) -> Iterator[str]:
    """Run the server until the block ends; yields its base address once it answers."""
    port = port or free_port()
    url = f"http://127.0.0.1:{port}/v1"
    arguments = ["--host", "127.0.0.1", "--port", str(port), "--model", str(DEMO_PATH), "--model_alias", ALIAS]
    arguments += ["--n_ctx", str(n_ctx), "--n_threads", "1", "--n_threads_batch", "1"]
    arguments += ["--embedding", "true"] if embeds else []
    environment = {**os.environ, **({"API_KEY": key} if key else {})}
    with (folder / "llama-server.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "llama_cpp.server", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
        )
    try:
        _wait_for(url, process, key)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(url: str, process: subprocess.Popen, key: str) -> None:
    request = urllib.request.Request(f"{url}/models", headers={"Authorization": f"Bearer {key}"} if key else {})
    deadline = time.monotonic() + PATIENCE_S
    while True:
        assert process.poll() is None, "the server ended"
        with contextlib.suppress(urllib.error.URLError, OSError), urllib.request.urlopen(request, timeout=2):
            return
        assert time.monotonic() < deadline, "the server never answered"
        time.sleep(0.1)
