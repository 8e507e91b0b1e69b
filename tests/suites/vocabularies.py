"""llama.cpp's own vocabularies: their published tokens, and every text that could be typed to become a role token."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path

from bench.schema_sides import load_vocabulary
from node.engine.worker.markers import MarkerGuard
from node.engine.worker.native import llama
from node.engine.worker.prompt import PromptBuilder
from node.engine.worker.template import ChatTemplate
from node.engine.worker.vocabulary import Vocabulary
from node.values.inference import ChatMessage
from tests.suites.row import Row, SourceError, Sources

TEMPLATE = "{{ messages[0]['content'] }}"
AMONG_TEXT = ("{}", "see {} and {}", "{}{}")
AMONG_MARKERS = (*AMONG_TEXT, "<|{}|>")
NO_CHAT = frozenset({llama.LLAMA_VOCAB_TYPE_WPM, llama.LLAMA_VOCAB_TYPE_UGM})
"""BERT's and T5's, which are refused or embed only."""
_SEPARATOR = b"\n__ggml_vocab_test__\n"


def rows(sources: Sources) -> Iterator[Row]:
    """Two lines a vocabulary, one where no published tokens come with it."""
    folder = sources.sdist() / "vendor" / "llama.cpp" / "models"
    files = sorted(folder.glob("ggml-vocab-*.gguf"))
    if not files:
        raise SourceError(f"there are no vocabularies in {folder}.")
    for file in files:
        # A table is wanted, and llama.cpp tells dozens of lines about each file.
        with contextlib.redirect_stderr(io.StringIO()):
            vocabulary = load_vocabulary(file)
        if Path(f"{file}.inp").exists():
            yield published(file, vocabulary)
        if llama.llama_vocab_type(vocabulary.native) not in NO_CHAT:
            yield typed(file, vocabulary)


def published(file: Path, vocabulary: Vocabulary) -> Row:
    """The texts that come with a vocabulary, tokenized as its published answers say."""
    texts = Path(f"{file}.inp").read_bytes().removesuffix(_SEPARATOR).split(_SEPARATOR)
    answers = Path(f"{file}.out").read_text().splitlines()
    assert len(texts) == len(answers), file.name
    wrong = [
        text
        for text, answer in zip(texts, answers, strict=True)
        if tokens_of(vocabulary, text.decode()) != [int(token) for token in answer.split()]
    ]
    note = f"first other answer: {wrong[0]!r}" if wrong else ""
    return Row(what=file.stem, tried=len(texts), passed=len(texts) - len(wrong), note=note)


def typed(file: Path, vocabulary: Vocabulary) -> Row:
    """Each special token's text as a message: a marker must come out as other tokens, and text as llama.cpp has it."""
    markers = vocabulary.markers(TEMPLATE)
    prompts = PromptBuilder(ChatTemplate(TEMPLATE), vocabulary, MarkerGuard(markers))
    wrong, tried = [], 0
    specials = special_texts(vocabulary)
    for token, text in specials.items():
        for form in AMONG_MARKERS if token in markers else AMONG_TEXT:
            tried += 1
            content = form.replace("{}", text)
            tokens = prompts.tokens([ChatMessage("user", content)])[len(vocabulary.leading_tokens) :]
            plain = vocabulary.tokenize(content, special=False)
            if not (is_text(vocabulary, tokens, content, markers) if token in markers else tokens == plain):
                wrong.append(content)
    note = f"first that is wrong: {wrong[0]!r}" if wrong else f"{len(markers):,} markers"
    if texts := len(specials) - len(markers):
        note += f"; {texts} that are text"
    return Row(what=f"{file.stem}: typed", tried=tried, passed=tried - len(wrong), note=note)


def special_texts(vocabulary: Vocabulary) -> dict[int, str]:
    """The text of every control, unknown or user-defined token that has one."""
    mask = llama.LLAMA_TOKEN_ATTR_CONTROL | llama.LLAMA_TOKEN_ATTR_UNKNOWN | llama.LLAMA_TOKEN_ATTR_USER_DEFINED
    kinds = {token: llama.llama_vocab_get_attr(vocabulary.native, token) for token in range(vocabulary.size)}
    texts = {
        token: llama.llama_vocab_get_text(vocabulary.native, token) for token, kind in kinds.items() if kind & mask
    }
    return {token: text.decode() for token, text in texts.items()}


def is_text(vocabulary: Vocabulary, tokens: list[int], content: str, markers: dict[int, str]) -> bool:
    """Whether tokens are a text without markers, character for character."""
    if not markers.keys().isdisjoint(tokens):
        return False
    said = b"".join(vocabulary.piece(token) or b"" for token in tokens).decode("utf-8", "replace")
    return said.removeprefix(" ") == content.removeprefix(" ")


def tokens_of(vocabulary: Vocabulary, text: str) -> list[int]:
    """A text by itself, as llama.cpp's own test tokenizes it."""
    return vocabulary.tokenize(text, special=False)
