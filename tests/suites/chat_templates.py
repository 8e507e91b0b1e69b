"""llama.cpp's collection of chat templates, rendered by us and by the reference: each prompt must be the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from node.engine.protocol import EngineError
from node.engine.worker.template import ChatTemplate
from tests.suites.reference import Case, Rendered, rendered
from tests.suites.row import Row, SourceError, Sources

USER = {"role": "user", "content": "How many legs has a \u8718\u86db, and a fly?"}
SYSTEM = {"role": "system", "content": "Answer in one word."}
ASSISTANT = {"role": "assistant", "content": "Eight."}
AGAIN = {"role": "user", "content": "  And now?\n"}
CONVERSATIONS = {
    "plain": [USER],
    "system": [SYSTEM, USER],
    "several turns": [USER, ASSISTANT, AGAIN],
    "system, several turns": [SYSTEM, USER, ASSISTANT, AGAIN],
    "two answers": [USER, ASSISTANT, AGAIN, ASSISTANT, USER],
}


def rows(sources: Sources) -> Iterator[Row]:
    """One line a template."""
    folder = sources.sdist() / "vendor" / "llama.cpp" / "models" / "templates"
    files = sorted(folder.glob("*.jinja"))
    if not files:
        raise SourceError(f"there are no chat templates in {folder}.")
    cases = {file: list(cases_of(file)) for file in files}
    reference = iter(rendered([case for group in cases.values() for case in group]))
    for file, group in cases.items():
        yield compared(file.stem, group, [next(reference) for _ in group])


def cases_of(file: Path) -> Iterator[Case]:
    """Every conversation with one template."""
    template = file.read_text()
    for name, messages in CONVERSATIONS.items():
        yield Case(name=name, template=template, messages=messages)


def ours(case: Case) -> Rendered:
    """What our renderer makes of a case."""
    try:
        return Rendered(ChatTemplate(case.template, bos="<s>", eos="</s>").render(case.messages))
    except EngineError as error:
        return Rendered(None, error.message)


def compared(name: str, cases: list[Case], reference: list[Rendered]) -> Row:
    """How many prompts are the same; a conversation that both refuse is one answer too."""
    refused, other = [], []
    for case, wanted in zip(cases, reference, strict=True):
        made = ours(case)
        if made.prompt != wanted.prompt:
            other.append(f"{case.name} ({made.reason or wanted.reason or 'another prompt'})")
        elif made.prompt is None:
            refused.append(case.name)
    notes = [f"differs: {'; '.join(other)}"] if other else []
    if refused:
        notes.append(f"both refuse: {', '.join(refused)}")
    return Row(what=name, tried=len(cases), passed=len(cases) - len(other), note=". ".join(notes))
