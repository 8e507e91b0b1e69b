"""How many tokens of prompts go into a batch, so that no running stream waits long: from measured times."""

from __future__ import annotations

PAUSE_SECONDS = 0.25
"""How long a prompt may hold up a running stream at a time."""
ALONE_SECONDS = 1.0
"""How long a batch of prompts may take while no stream waits for a token: until then no cancellation is seen."""
LEAST_TOKENS = 32
"""Fewer at a time cost a third more each."""
FIRST_TOKENS = 128
_WEIGHT = 0.25
_CALM_STREAMS = 4
_MOST_GATHERED = 2.0


def gathering(streams: int) -> float:
    """How many times as long text is gathered with so many streams: each piece has its price, at every buyer's cost.

    Four streams may have their pieces as often as one; with eight or more, each has them half as often.
    """
    return min(_MOST_GATHERED, max(1.0, streams / _CALM_STREAMS))


class Pacer:
    """Learns what a step costs: a part for the streams that draw a token, and a part for each token of a prompt.

    Args:
        most: Tokens that a batch can hold.
        round_to: Sizes are whole multiples of this where they are larger: llama.cpp's micro-batch.
    """

    __slots__ = ("_most", "_round_to", "decode_s", "prompt_token_s")

    def __init__(self, most: int, round_to: int = LEAST_TOKENS) -> None:
        self._most = most
        self._round_to = round_to
        self.decode_s = 0.0
        self.prompt_token_s = 0.0

    def observe(self, decoding: int, prompt_tokens: int, seconds: float) -> None:
        """Learn from a step that took so long.

        Args:
            decoding: Streams that drew a token in it.
            prompt_tokens: Tokens of prompts in it.
            seconds: How long it took.
        """
        if not prompt_tokens:
            self.decode_s += (seconds - self.decode_s) * (_WEIGHT if self.decode_s else 1.0)
        elif prompt_tokens >= LEAST_TOKENS:
            each = max(0.0, seconds - (self.decode_s if decoding else 0.0)) / prompt_tokens
            self.prompt_token_s += (each - self.prompt_token_s) * (_WEIGHT if self.prompt_token_s else 1.0)

    def prompt_tokens(self, *, beside: bool) -> int:
        """Tokens of prompts for the next batch, with streams that draw tokens beside them or without."""
        seconds = PAUSE_SECONDS if beside else ALONE_SECONDS
        if not self.prompt_token_s:
            return min(FIRST_TOKENS, self._most)
        tokens = int(seconds / self.prompt_token_s)
        if tokens > self._round_to:
            tokens -= tokens % self._round_to
        return max(min(LEAST_TOKENS, self._most), min(tokens, self._most))

    def step_s(self) -> float:
        """How long a batch takes at most, by what is known; 0.0 before anything is."""
        return self.decode_s + self.prompt_token_s * self._most
