"""llama.cpp's own vocabularies: their published tokens, and every text that could be typed to become a role token."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bench.schema_sides import load_vocabulary
from node.engine.worker.vocabulary import Vocabulary
from tests.suites.row import Row, SourceError, Sources

_SEPARATOR = b"\n__ggml_vocab_test__\n"


def rows(sources: Sources) -> Iterator[Row]:
    """One line a vocabulary."""
    folder = sources.sdist() / "vendor" / "llama.cpp" / "models"
    files = sorted(folder.glob("ggml-vocab-*.gguf"))
    if not files:
        raise SourceError(f"there are no vocabularies in {folder}.")
    for file in files:
        if Path(f"{file}.inp").exists():
            yield published(file)


def published(file: Path) -> Row:
    """The texts that come with a vocabulary, tokenized as its published answers say."""
    vocabulary = load_vocabulary(file)
    texts = Path(f"{file}.inp").read_bytes().removesuffix(_SEPARATOR).split(_SEPARATOR)
    answers = Path(f"{file}.out").read_text().splitlines()
    assert len(texts) == len(answers), file.name
    wrong = [
        text
        for text, answer in zip(texts, answers, strict=True)
        if tokens_of(vocabulary, text.decode()) != [int(token) for token in answer.split()]
    ]
    note = f"first other answer: {wrong[0]!r}" if wrong else ""
    return Row(what=file.name, tried=len(texts), passed=len(texts) - len(wrong), note=note)


def tokens_of(vocabulary: Vocabulary, text: str) -> list[int]:
    """A text by itself, as llama.cpp's own test tokenizes it."""
    return vocabulary.tokenize(text, special=False)
