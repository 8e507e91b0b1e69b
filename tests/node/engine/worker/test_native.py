"""The low-level API alone, without spoiling the package for others."""

import subprocess
import sys

from tests.patience import PATIENCE_S

SCRIPT = """
import sys
import node.engine.worker.native as native
assert "numpy" not in sys.modules
from llama_cpp import Llama
import llama_cpp
assert llama_cpp.llama_cpp is native.llama
print(native.build())
"""


def test_the_worker_loads_the_low_level_api_only_and_the_package_can_still_be_imported():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=PATIENCE_S
    )
    assert done.stdout.startswith("llama.cpp ")
