"""Remove every check of the contract ``Stf`` in turn and see that something notices: ``python -m tests.fuzz.mutate``.

All mutants are compiled as one contract: each check is rewritten to hold only while the block's number isn't the
mutant's, so that revm runs one after another without compiling again. Comparisons are also moved by one. What has to
kill each mutant are the published vectors. Prints the table that stands in ``docs/rollup.md``, and exits 1 if one
survives.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from chain.contracts import build
from chain.stf import Code
from tests.fuzz.prover import Call, Prover, Reverted, stf_sources
from tests.fuzz.vectors import FOLDER, read_call

NO_MUTANT = 0
_CHECK = re.compile(r"^(?P<lead>\s*(?:\} else )?if \()(?P<condition>.+)(?P<tail>\) (?:\{|return .+;|revert .+;|\S+;))$")
_ALL_OF = re.compile(r"^(?P<lead>\s*bool \w+ = )(?P<condition>.+ && .+)(?P<tail>;)$")
_COMPARISON = re.compile(r" (<=|>=|<|>) ")
_MOVED = {"<": "<=", "<=": "<", ">": ">=", ">=": ">"}


class Mutant(NamedTuple):
    """One change of one check; ``number`` is the block in which it is in force."""

    number: int
    place: str
    """File and function."""
    check: str
    change: str


class Probe(NamedTuple):
    """A call and what it must come to: a code with its root, or the name of an error."""

    name: str
    call: Call
    expected: tuple[Code, bytes | None] | str


def instrument(sources: dict[str, str]) -> tuple[dict[str, str], list[Mutant]]:
    """The sources with a switch at every check, and what the switches do."""
    mutants: list[Mutant] = []
    changed = {}
    for file, source in sources.items():
        lines, function, depth = [], "", 0
        for line in source.split("\n"):
            named = re.match(r"\s*function (\w+)", line)
            function = named.group(1) if named else function
            if depth or "assembly (" in line:
                depth += line.count("{") - line.count("}")
            elif not line.strip().startswith("//"):
                switched = _switch(line, f"{file} {function}", mutants)
                # Asking for the block's number takes `view`.
                lines.append(re.sub(r"\bpure\b", "view", switched))
                continue
            lines.append(line)
        changed[file] = "\n".join(lines)
    return changed, mutants


def _switch(line: str, place: str, mutants: list[Mutant]) -> str:
    found = _CHECK.match(line) or _ALL_OF.match(line)
    if found is None:
        return line
    condition, tail = found["condition"], found["tail"].removeprefix(")").strip()
    shown = f"if ({condition}) {tail.removesuffix('{').strip()}".strip() if "if (" in found["lead"] else condition

    def add(change: str) -> int:
        mutants.append(Mutant(len(mutants) + 1, place, shown, change))
        return len(mutants)

    terms = condition.split(" && ")
    changed = condition
    if len(terms) > 1:
        held = [f"(block.number == {add(f'without `{term}`')} || {term})" for term in terms]
        changed = " && ".join(held)
    for one in _COMPARISON.finditer(condition):
        other = f"{condition[: one.start(1)]}{_MOVED[one[1]]}{condition[one.end(1) :]}"
        changed = f"(block.number == {add(f'`{_MOVED[one[1]]}`')} ? {other} : ({changed}))"
    if "if (" in found["lead"]:
        changed = f"block.number != {add('removed')} && ({changed})"
    return found["lead"] + changed + found["tail"]


def compile_switched(sources: dict[str, str]) -> bytes:
    """The runtime code of instrumented sources; it may be longer than a chain would take."""
    request = build._standard_json(sources)
    request["settings"]["outputSelection"] = {"Stf.sol": {"Stf": ["evm.deployedBytecode.object"]}}
    output = build._compile(build._install_compiler(build._default_cache()), request)["output"]
    errors = [entry["formattedMessage"] for entry in output.get("errors", ()) if entry["severity"] == "error"]
    if errors:
        raise SystemExit("\n".join(errors))
    return bytes.fromhex(output["contracts"]["Stf.sol"]["Stf"]["evm"]["deployedBytecode"]["object"])


def probes() -> Iterator[Probe]:
    """The published vectors."""
    for file in sorted(FOLDER.glob("*.json")):
        for vector in msgspec.json.decode(file.read_bytes()):
            root = bytes.fromhex(vector["root"][2:]) if vector.get("root") else None
            expected = vector["refused"] if "refused" in vector else (Code(vector["code"]), root)
            yield Probe(f"{file.stem}: {vector['name']}", read_call(vector), expected)


def holds(prover: Prover, probe: Probe) -> bool:
    """Whether the contract answers a probe as it must."""
    try:
        code, root = prover.execute(probe.call)
    except (Reverted, ValueError) as refused:
        return isinstance(refused, Reverted) and refused.name == probe.expected
    return (code, root if code is Code.OK else None) == probe.expected


def hunt() -> Iterator[tuple[Mutant, str | None]]:
    """Every mutant and what kills it."""
    sources, mutants = instrument(stf_sources())
    prover, suite = Prover(compile_switched(sources)), list(probes())
    prover.set_block(NO_MUTANT)
    wrong = [probe.name for probe in suite if not holds(prover, probe)]
    if wrong:
        raise SystemExit(f"Without any mutant these fail: {wrong[:10]}")
    for mutant in mutants:
        prover.set_block(mutant.number)
        yield mutant, next((probe.name for probe in suite if not holds(prover, probe)), None)


def table(found: Iterable[tuple[Mutant, str | None]]) -> str:
    """The mutants as a Markdown table."""
    rows = [f"| {mutant.place} | `{mutant.check}` | {mutant.change} | {killer} |" for mutant, killer in found]
    return "\n".join(["| Where | Check | Change | Killed by |", "|---|---|---|---|", *rows, ""])


def main() -> int:
    """Print the table; returns the exit code."""
    found = list(hunt())
    survivors = sum(killer is None for _, killer in found)
    sys.stdout.write(table(found))
    sys.stderr.write(f"{len(found)} mutants, {survivors} survive.\n")
    return 1 if survivors else 0


if __name__ == "__main__":
    raise SystemExit(main())
