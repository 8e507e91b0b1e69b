"""A cache in values: what llama.cpp would hold, so that what keeps track of it can be checked against it."""

from __future__ import annotations

from node.engine.worker.swap import SavedState

BYTES_A_TOKEN = 10


class FakeSavedState:
    """A copy of a sequence's cells."""

    def __init__(self, tokens: list[int]) -> None:
        self.tokens = list(tokens)

    def __len__(self) -> int:
        return len(self.tokens) * BYTES_A_TOKEN


class FakeKvCache:
    """Every cell is an object; a sequence is a list of cells, and a cell is used while some sequence holds it.

    Args:
        cells: How many there are.
    """

    def __init__(self, cells: int) -> None:
        self.cells = cells
        self.restores = True
        self.saves = 0
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

    def cut(self, sequence: int, length: int) -> None:
        del self.sequences[sequence][length:]
        del self.tokens[sequence][length:]

    def save(self, sequence: int, most_bytes: int) -> FakeSavedState | None:
        tokens = self.tokens[sequence]
        self.saves += 1
        return FakeSavedState(tokens) if len(tokens) * BYTES_A_TOKEN <= most_bytes else None

    def restore(self, sequence: int, state: SavedState) -> bool:
        assert isinstance(state, FakeSavedState)
        assert sequence not in self.sequences
        if not self.restores:
            return False
        self.compute(sequence, state.tokens)
        assert self.used <= self.cells, "no room for what comes back"
        return True

    def forget_all(self) -> None:
        self.sequences.clear()
        self.tokens.clear()
