"""Docstrings say what is there: what stands under ``Args:`` is a parameter."""

import ast
import re

from tests.import_graph import PACKAGES, ROOT

FILES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
_SECTION = re.compile(r"^(Args|Returns|Raises|Yields|Attributes|Note|Example)s?:\s*$")
_ENTRY = re.compile(r"^\*{0,2}(\w+)(?:, \*{0,2}(\w+))*:")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def listed(docstring: str) -> list[str]:
    """The names under ``Args:``."""
    found: list[str] = []
    indent: int | None = None
    is_inside = False
    for line in docstring.splitlines():
        if _SECTION.match(line.strip()) and indent_of(line) == 0:
            is_inside, indent = line.strip() == "Args:", None
        elif is_inside and line.strip():
            if indent_of(line) == 0:
                is_inside = False
                continue
            indent = indent_of(line) if indent is None else indent
            if indent_of(line) == indent and _ENTRY.match(line.strip()):
                found += [name.strip(" *") for name in line.split(":")[0].split(",")]
    return found


def indent_of(line: str) -> int:
    return len(line) - len(line.lstrip())


def parameters(function: Function) -> set[str]:
    """Every parameter's name."""
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    return {argument.arg for argument in every if argument is not None}


def fields(owner: ast.ClassDef) -> set[str]:
    """What a class is made with: the parameters of its ``__init__``, and the fields of a struct or dataclass."""
    annotated = [node.target for node in owner.body if isinstance(node, ast.AnnAssign)]
    names = {target.id for target in annotated if isinstance(target, ast.Name)}
    for node in owner.body:
        if isinstance(node, Function) and node.name in ("__init__", "__new__"):
            names |= parameters(node)
    return names


def inherited(owner: ast.ClassDef, classes: dict[str, ast.ClassDef]) -> set[str]:
    """What a class is made with, also where a base class says so."""
    names = fields(owner)
    for base in owner.bases:
        name = base.attr if isinstance(base, ast.Attribute) else base.id if isinstance(base, ast.Name) else ""
        if name in classes and name != owner.name:
            names |= inherited(classes[name], classes)
    return names


def test_every_parameter_that_a_docstring_lists_exists() -> None:
    trees = {path: ast.parse(path.read_text()) for path in FILES}
    classes = {node.name: node for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    wrong = [
        f"{path.relative_to(ROOT)}: {node.name}: {name}"
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, Function | ast.ClassDef)
        for name in listed(ast.get_docstring(node) or "")
        if name not in (parameters(node) if isinstance(node, Function) else inherited(node, classes))
    ]
    assert wrong == []


def test_no_docstring_lists_a_parameter_twice() -> None:
    twice = [
        f"{path.relative_to(ROOT)}: {node.name}"
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, Function | ast.ClassDef)
        if len(names := listed(ast.get_docstring(node) or "")) != len(set(names))
    ]
    assert twice == []


def test_a_name_that_is_none_is_found() -> None:
    source = '''
def f(a, *, b):
    """Do it.

    Args:
        a: One,
            told on two lines: like this.
        gone, b: Others.

    Returns:
        c: no parameter.
    """
'''
    (function,) = ast.parse(source).body
    assert isinstance(function, ast.FunctionDef)
    assert listed(ast.get_docstring(function) or "") == ["a", "gone", "b"]
    assert parameters(function) == {"a", "b"}
