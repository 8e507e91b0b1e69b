"""Who imports whom in the product's packages, read from the source: also inside functions and behind TYPE_CHECKING."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("app", "screens", "node", "wallet", "chain")

Graph = dict[str, set[str]]


def modules() -> Graph:
    """Each module's imports of other modules of the product."""
    files = {_name(path): path for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    return {
        name: {found for found in _imports(path, files.keys()) if found in files and found != name}
        for name, path in files.items()
    }


def folders(graph: Graph) -> Graph:
    """The same between folders; one that lies in another one is a part of it, and the two may import each other."""
    between: Graph = {}
    for module, imported in graph.items():
        here = _folder(module)
        between.setdefault(here, set())
        for there in map(_folder, imported):
            between.setdefault(there, set())
            if not f"{there}.".startswith(f"{here}.") and not f"{here}.".startswith(f"{there}."):
                between[here].add(there)
    return between


def circles(graph: Graph) -> list[list[str]]:
    """Groups that reach each other along imports (strongly connected components, by Tarjan's algorithm)."""
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        order[name] = lowest[name] = len(order)
        stack.append(name)
        for other in sorted(graph[name]):
            if other not in order:
                visit(other)
                lowest[name] = min(lowest[name], lowest[other])
            elif other in stack:
                lowest[name] = min(lowest[name], order[other])
        if lowest[name] == order[name]:
            place = stack.index(name)
            if len(stack) > place + 1:
                found.append(sorted(stack[place:]))
            del stack[place:]

    for name in sorted(graph):
        if name not in order:
            visit(name)
    return found


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _folder(module: str) -> str:
    return module if (ROOT / module.replace(".", "/")).is_dir() else module.rpartition(".")[0]


def _imports(path: Path, known: set[str]) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None
            assert not node.level, f"{path}: imports here are absolute"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (names & known) or {node.module}
            if names - known:
                found.add(node.module)
    return found
