"""llama.cpp's collection of chat templates, rendered by us and by the reference: each prompt must be the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from node.engine.protocol import EngineError
from node.engine.worker.abilities import TemplateUse, try_template
from node.engine.worker.markers import MarkerGuard
from node.engine.worker.prompt import PromptBuilder
from node.engine.worker.template import ChatTemplate, dates
from node.values.inference import ChatMessage
from tests.node.engine.characters import Characters, read_by
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
CONTINUED = {"continued": [USER, ASSISTANT], "continued later": [SYSTEM, USER, ASSISTANT, AGAIN, ASSISTANT]}


def rows(sources: Sources) -> Iterator[Row]:
    """Two lines a template: the same prompts as the reference, and what is served after it was tried."""
    folder = sources.sdist() / "vendor" / "llama.cpp" / "models" / "templates"
    files = sorted(folder.glob("*.jinja"))
    if not files:
        raise SourceError(f"there are no chat templates in {folder}.")
    cases = {file: list(cases_of(file)) for file in files}
    reference = iter(rendered([case for group in cases.values() for case in group]))
    for file, group in cases.items():
        yield compared(file.stem, group, [next(reference) for _ in group])
        yield served(file)


def cases_of(file: Path) -> Iterator[Case]:
    """Every conversation with one template."""
    template = file.read_text()
    for name, messages in CONVERSATIONS.items():
        yield Case(name=name, template=template, messages=messages, options=dates())
    for name, messages in CONTINUED.items():
        yield Case(name=name, template=template, messages=messages, options=dates(), is_continued=True)


def ours(case: Case) -> Rendered:
    """What our renderer makes of a case."""
    template = ChatTemplate(case.template, bos="<s>", eos="</s>")
    messages = [msgspec.convert(message, ChatMessage) for message in case.messages]
    builder = PromptBuilder(template, Characters(), MarkerGuard({}), TemplateUse())
    try:
        return Rendered("".join(map(chr, builder.tokens(messages))))
    except EngineError as error:
        return Rendered(None, error.message)


def served(file: Path) -> Row:
    """What is served after the template was tried as at load: every message must stand in the prompt."""
    template = ChatTemplate(file.read_text(), bos="<s>", eos="</s>")
    conversations = {**CONVERSATIONS, **CONTINUED}
    try:
        use = try_template(template)
    except EngineError as error:
        return Row(what=f"{file.stem}: served", tried=len(conversations), passed=0, least=0, note=error.message)
    left_out = []
    for name, messages in conversations.items():
        prompt = read_by(template, [msgspec.convert(message, ChatMessage) for message in messages])
        if not all(message["content"].strip() in prompt for message in messages):
            left_out.append(name)
    note = f"a message is left out: {', '.join(left_out)}" if left_out else " ".join((*use.abilities, *use.notes))
    tried = len(conversations)
    return Row(what=f"{file.stem}: served", tried=tried, passed=tried - len(left_out), note=note)


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
