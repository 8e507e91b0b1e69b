"""Every error code in our source is registered, and every registered one is in use."""

import ast
import difflib
import re
from functools import cache
from pathlib import Path

from chain.errors import ERRORS
from chain.l1.artifacts import error_names
from node.relay.client_errors import FATAL_CODES

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("chain", "wallet", "node", "app", "screens")
REGISTRY = ROOT / "chain" / "errors"
SNAKE_CASE = re.compile(r"[a-z][a-z0-9_]*")
CODE_ARGUMENTS = {"code", "error_code"}
CODED = {
    "Close", "ConnectionFailure", "EndCancel", "EndClose", "EngineEnded", "Failed", "Failure", "Fault", "PeerGone",
    "Refused", "RefusedError", "close", "fail",
}  # fmt: skip
"""What takes a code as one of its first three arguments, without its name."""


@cache
def modules() -> list[tuple[str, ast.Module]]:
    """Every module of ours but the registry's own, parsed."""
    paths = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    return [
        (str(path.relative_to(ROOT)), ast.parse(path.read_text("utf-8")))
        for path in paths
        if not path.is_relative_to(REGISTRY)
    ]


def words(node: ast.expr) -> list[str]:
    """The texts that an expression may come to: its own, or those of a conditional's branches."""
    if isinstance(node, ast.IfExp):
        return words(node.body) + words(node.orelse)
    if isinstance(node, ast.BoolOp):
        return [word for value in node.values for word in words(value)]
    return [node.value] if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value else []


def raised() -> list[tuple[str, str]]:
    """Every code that is given to an error by name, or that a class of errors has; and where."""
    found = []
    for path, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                given = [keyword.value for keyword in node.keywords if keyword.arg in CODE_ARGUMENTS]
                if ast.unparse(node.func).rpartition(".")[2] in CODED:
                    given += [value for value in node.args[:3] if all(map(SNAKE_CASE.fullmatch, words(value)))]
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                is_default = any(isinstance(target, ast.Name) and target.id == "default_code" for target in targets)
                given = [node.value] if is_default and node.value is not None else []
            else:
                continue
            found += [(word, f"{path}:{node.lineno}") for value in given for word in words(value)]
    return found


def test_every_code_that_is_raised_is_registered():
    unknown = {
        f"{where}: {word!r}, did you mean {difflib.get_close_matches(word, ERRORS, 1)}?"
        for word, where in raised()
        if word not in ERRORS
    }
    assert len(raised()) > 400
    assert unknown == set()


def test_every_registered_code_is_in_use():
    texts = {
        node.value
        for _, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    in_sql = {word for text in texts if "UPDATE" in text for word in re.findall(r"= '(\w+)'", text)}
    assert set(ERRORS) - texts - in_sql - set(error_names().values()) == set()


def test_clients_do_not_return_to_a_relay_that_said_why_trying_again_cannot_help():
    assert {"auth", "version", "replaced"} == FATAL_CODES
