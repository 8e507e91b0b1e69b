"""Log records are events: a snake_case name and key-value pairs, never a sentence with values in it."""

import ast
import re
from collections.abc import Iterator

from tests.import_graph import PACKAGES, ROOT

METHODS = frozenset({"debug", "info", "warning", "error", "exception", "critical"})
LOGGERS = frozenset({"log", "_log", "logger", "_logger"})
NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)+")


def calls(tree: ast.Module) -> Iterator[ast.Call]:
    """Calls of a module's structured logger."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in METHODS:
            owner = node.func.value
            if isinstance(owner, ast.Name) and owner.id in LOGGERS:
                yield node


def is_event(call: ast.Call) -> bool:
    """Whether it names its event in one word, and gives values by name alone."""
    match call.args:
        case [ast.Constant(value=str(name))]:
            return NAME.fullmatch(name) is not None
        case [ast.IfExp(body=ast.Constant(value=str(one)), orelse=ast.Constant(value=str(other)))]:
            return NAME.fullmatch(one) is not None and NAME.fullmatch(other) is not None
        case [ast.Name()]:
            return True
        case _:
            return False


def test_every_record_is_an_event_with_values() -> None:
    found = 0
    wrong = []
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            source = path.read_text()
            if "get_logger(" not in source:
                continue
            for call in calls(ast.parse(source)):
                found += 1
                if not is_event(call):
                    wrong.append(f"{path.relative_to(ROOT)}:{call.lineno}")
    assert wrong == []
    assert found > 50


def test_a_sentence_is_no_event() -> None:
    for source, expected in [
        ('log.info("batch_posted", batch=1)', True),
        ('log.info("batch %d was posted", 1)', False),
        ('log.info(f"batch_{number}")', False),
        ('log.info("posted")', False),
    ]:
        (call,) = calls(ast.parse(source))
        assert is_event(call) is expected, source
