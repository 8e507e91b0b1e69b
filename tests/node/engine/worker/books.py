"""A cache in values: what llama.cpp would hold, so that the book over it can be checked against it."""

from __future__ import annotations


class FakeMemory:
    """Every cell is an object; a sequence is a list of cells, and a cell is used while some sequence holds it."""

    def __init__(self) -> None:
        self.sequences: dict[int, list[object]] = {}
        self.tokens: dict[int, list[int]] = {}

    @property
    def used(self) -> int:
        return len({id(cell) for cells in self.sequences.values() for cell in cells})

    def compute(self, sequence: int, tokens: list[int]) -> None:
        self.sequences.setdefault(sequence, []).extend(object() for _ in tokens)
        self.tokens.setdefault(sequence, []).extend(tokens)

    def forget(self, sequence: int) -> None:
        self.sequences.pop(sequence, None)
        self.tokens.pop(sequence, None)

    def share(self, source: int, sequence: int, length: int) -> None:
        assert sequence not in self.sequences
        self.sequences[sequence] = self.sequences[source][:length]
        self.tokens[sequence] = self.tokens[source][:length]

    def forget_all(self) -> None:
        self.sequences.clear()
        self.tokens.clear()
