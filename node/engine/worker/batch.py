"""One preallocated `llama_batch`, filled again for every step."""

from __future__ import annotations

import ctypes

from node.engine.worker.native import llama


class Batch:
    """Rows of (token, position, sequence, whether its logits are wanted).

    Args:
        capacity: Rows it can hold.
        slots: Sequences there are.
    """

    __slots__ = ("_logits", "_pointers", "_positions", "_sequences", "_slots", "_tokens", "native", "rows")

    def __init__(self, capacity: int, slots: int) -> None:
        self._tokens = (llama.llama_token * capacity)()
        self._positions = (llama.llama_pos * capacity)()
        self._logits = (ctypes.c_int8 * capacity)()
        counts = (ctypes.c_int32 * capacity)(*([1] * capacity))
        self._slots = [ctypes.pointer(llama.llama_seq_id(slot)) for slot in range(slots)]
        self._sequences = (ctypes.POINTER(llama.llama_seq_id) * capacity)()
        self.native = llama.llama_batch(
            n_tokens=0,
            token=self._tokens,
            embd=None,
            pos=self._positions,
            n_seq_id=counts,
            seq_id=self._sequences,
            logits=self._logits,
        )
        self.rows = 0

    def add(self, token: int, position: int, slot: int) -> int:
        """Add one row whose logits are wanted; returns its number.

        Args:
            token: The token to compute.
            position: Its place in its sequence, from 0.
            slot: Its sequence.
        """
        row = self.rows
        self._tokens[row] = token
        self._positions[row] = position
        self._sequences[row] = self._slots[slot]
        self._logits[row] = 1
        self.rows = row + 1
        return row

    def add_prompt(self, tokens: list[int], position: int, slot: int, *, last: bool) -> int:
        """Add consecutive rows of a prompt, with logits after the last one only if it is the prompt's end.

        Args:
            tokens: Consecutive tokens.
            position: The place of the first one in its sequence, from 0.
            slot: Their sequence.
            last: Whether they end the prompt: then the last one has logits.
        """
        count, row = len(tokens), self.rows
        self._tokens[row : row + count] = tokens
        self._positions[row : row + count] = range(position, position + count)
        self._logits[row : row + count] = [0] * count
        pointer, sequences = self._slots[slot], self._sequences
        for index in range(row, row + count):
            sequences[index] = pointer
        self.rows = row + count
        self._logits[self.rows - 1] = last
        return self.rows - 1

    def decode(self, context: int) -> int:
        """Run the rows through the model and forget them; returns llama.cpp's code, 0 if all is well."""
        self.native.n_tokens = self.rows
        self.rows = 0
        code: int = llama.llama_decode(context, self.native)
        return code
