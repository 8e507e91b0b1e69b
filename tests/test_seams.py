"""The house's walls: who may import whom, proven in fresh interpreters."""

import subprocess
import sys

import pytest

from tests import import_graph
from tests.patience import PATIENCE_S

UI_PACKAGES = ("textual", "rich", "screens")


@pytest.mark.parametrize("module", ["node.api", "wallet", "chain.client", "app.cli"])
def test_nothing_headless_imports_the_user_interface(module):
    script = f"import sys, {module}; print([name for name in {UI_PACKAGES} if name in sys.modules])"
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=PATIENCE_S
    )
    assert loaded.stdout.strip() == "[]"


@pytest.mark.parametrize("module", ["app.cli", "node.api", "wallet"])
def test_commands_that_need_no_chain_do_not_import_web3(module):
    script = f"import sys, {module}; print([name for name in ('web3', 'eth') if name in sys.modules])"
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=PATIENCE_S
    )
    assert loaded.stdout.strip() == "[]"


def test_no_module_imports_itself_along_others():
    assert not import_graph.circles(import_graph.modules())


def test_no_folder_imports_itself_along_others():
    assert not import_graph.circles(import_graph.folders(import_graph.modules()))


def test_a_circle_is_found():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set(), "e": {"d"}}
    assert import_graph.circles(graph) == [["a", "b", "c"]]
