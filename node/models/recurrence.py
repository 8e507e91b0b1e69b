"""What layers with a state instead of keys and values take: Mamba's, RWKV's, and short convolutions."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

_RWKV_WIDTHS = 19
"""Values a token takes at the widest place of an RWKV layer ÷ the model's width, read off llama.cpp's buffers."""
_RWKV_SHIFTS = 2


class Recurrence(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes of one recurrent layer, in f32 values; all 0 for a model that has none.

    Attributes:
        layers: How many layers of the model are recurrent.
        shift_values: Inputs of the last tokens that a layer keeps for each sequence (llama.cpp's ``n_embd_r``).
        state_values: The state that it keeps for each sequence (``n_embd_s``).
        token_values: Work space for each token of a micro-batch, at the widest place of a layer.
        sequence_values: Work space for each sequence.
    """

    layers: int = 0
    shift_values: int = 0
    state_values: int = 0
    token_values: int = 0
    sequence_values: int = 0

    @property
    def sequence_bytes(self) -> int:
        """What one sequence keeps, over all layers."""
        return 4 * self.layers * (self.shift_values + self.state_values)


def recurrence(count: Callable[[str], int], kv_heads_per_layer: tuple[int, ...], layers: int) -> Recurrence:
    """The sizes, from the numbers of a model file.

    Args:
        count: Gives the architecture's number of that name, 0 if there is none.
        kv_heads_per_layer: Heads of keys and values; a layer that has none is recurrent, and where every layer has
            some, each is both (as Falcon-H1's are).
        layers: Layers of the model.
    """
    recurrent = sum(not heads for heads in kv_heads_per_layer) or layers
    width = count("embedding_length")
    if inner := count("ssm.inner_size"):
        state, groups = count("ssm.state_size"), count("ssm.group_count")
        convolved = inner + 2 * groups * state
        shift = max(0, count("ssm.conv_kernel") - 1) * convolved
        return Recurrence(
            layers=recurrent,
            shift_values=shift,
            state_values=inner * state,
            # What comes in with its gate, three times what is convolved, what is scanned, and what goes out.
            token_values=(inner + convolved) + 3 * convolved + inner + width,
            sequence_values=inner * state + 2 * shift,
        )
    if head := count("wkv.head_size"):
        shift, state = (count("token_shift_count") or _RWKV_SHIFTS) * width, head * width
        return Recurrence(
            layers=recurrent,
            shift_values=shift,
            state_values=state,
            token_values=_RWKV_WIDTHS * width,
            sequence_values=2 * state + shift,
        )
    if kept := count("shortconv.l_cache"):
        shift = (kept - 1) * width
        return Recurrence(layers=recurrent, shift_values=shift, sequence_values=2 * shift)
    return Recurrence()
