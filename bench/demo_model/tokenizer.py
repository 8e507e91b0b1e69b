"""The demo model's tokenizer: byte-level BPE, trained, encoded and decoded here, and read by llama.cpp.

The text is first split the way llama.cpp's ``smollm`` pre-tokenizer splits it (every digit alone, then GPT-2's rule),
so a vocabulary exported under that name gives the same tokens on both sides. Digits never merge: arithmetic over
whole numbers is learned digit by digit.
"""

from __future__ import annotations

import functools
import itertools
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

PRE_TOKENIZER = "smollm"
END_OF_TEXT, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
SPECIAL_TOKENS = (END_OF_TEXT, TURN_START, TURN_END)
END_OF_TEXT_ID, TURN_START_ID, TURN_END_ID = range(3)

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""ChatML, in Jinja. `Tokenizer.encode_chat` writes the same text, and a test holds the two together."""

# The Unicode White_Space property; `str.isspace` also counts four ASCII separators that it excludes.
_SPACES = frozenset("\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000") | {chr(c) for c in range(0x2000, 0x200B)}
_CONTRACTIONS = ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d")


def _byte_symbols() -> list[str]:
    """Give each byte GPT-2's printable stand-in, so that vocabulary entries are plain text."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    symbols = {byte: chr(byte) for byte in printable}
    for offset, byte in enumerate(byte for byte in range(256) if byte not in symbols):
        symbols[byte] = chr(0x100 + offset)
    return [symbols[byte] for byte in range(256)]


BYTE_SYMBOLS = _byte_symbols()
_BYTE_OF_SYMBOL = {symbol: byte for byte, symbol in enumerate(BYTE_SYMBOLS)}


@functools.lru_cache(maxsize=4096)
def _kind(char: str) -> str:
    if char in _SPACES:
        return "space"
    return {"L": "letter", "N": "number"}.get(unicodedata.category(char)[0], "other")


def split(text: str) -> Iterator[str]:
    """Cut `text` into the pieces within which merges may happen; joined, they are `text` again."""
    start = 0
    for index, char in enumerate(text):
        if _kind(char) == "number":
            yield from _split_wordlike(text[start:index])
            yield char
            start = index + 1
    yield from _split_wordlike(text[start:])


def _split_wordlike(text: str) -> Iterator[str]:
    """Split text without numbers by GPT-2's rule: contractions, words, other signs, spaces."""
    at = 0
    while at < len(text):
        end = _piece_end(text, at)
        yield text[at:end]
        at = end


def _piece_end(text: str, at: int) -> int:
    for contraction in _CONTRACTIONS:
        if text.startswith(contraction, at):
            return at + len(contraction)
    first = at + 1 if text[at] == " " and at + 1 < len(text) else at
    kind = _kind(text[first])
    end = first
    if kind != "space":
        while end < len(text) and _kind(text[end]) == kind:
            end += 1
        return end
    end = at
    while end < len(text) and _kind(text[end]) == "space":
        end += 1
    # The last space before a word belongs to the word.
    return end - 1 if end < len(text) and end - at > 1 else end


@dataclass(frozen=True)
class Tokenizer:
    """A byte-level BPE vocabulary.

    Attributes:
        merges: Pairs of symbols, most important first; each makes one token.
    """

    merges: tuple[tuple[str, str], ...]
    tokens: tuple[str, ...] = field(init=False)
    _ids: dict[str, int] = field(init=False, repr=False, compare=False)
    _ranks: dict[tuple[str, str], int] = field(init=False, repr=False, compare=False)
    _pieces: dict[str, tuple[int, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        tokens = (*SPECIAL_TOKENS, *BYTE_SYMBOLS, *(left + right for left, right in self.merges))
        object.__setattr__(self, "tokens", tokens)
        object.__setattr__(self, "_ids", {token: number for number, token in enumerate(tokens)})
        object.__setattr__(self, "_ranks", {pair: rank for rank, pair in enumerate(self.merges)})
        object.__setattr__(self, "_pieces", {})

    def encode(self, text: str) -> list[int]:
        """Turn text into token ids; text that spells a special token stays text."""
        ids: list[int] = []
        for piece in split(text):
            known = self._pieces.get(piece)
            if known is None:
                known = self._merge(piece)
                if len(self._pieces) < 50_000:
                    self._pieces[piece] = known
            ids.extend(known)
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Turn token ids into text; special tokens show as their names, broken UTF-8 as U+FFFD."""
        parts = bytearray()
        for number in ids:
            token = self.tokens[number]
            if number < len(SPECIAL_TOKENS):
                parts += token.encode()
            else:
                parts += bytes(_BYTE_OF_SYMBOL[symbol] for symbol in token)
        return parts.decode("utf-8", errors="replace")

    def encode_chat(self, turns: Sequence[tuple[str, str]]) -> tuple[list[int], list[bool]]:
        """Write a conversation as the chat template does.

        Args:
            turns: `(role, content)` pairs.

        Returns:
            Token ids, and for each whether the assistant is to learn it: its words and the end of its turn.
        """
        ids: list[int] = []
        learned: list[bool] = []
        for role, content in turns:
            head = [TURN_START_ID, *self.encode(f"{role}\n")]
            body = [*self.encode(content), TURN_END_ID]
            tail = self.encode("\n")
            ids += head + body + tail
            learned += [False] * len(head) + [role == "assistant"] * len(body) + [False] * len(tail)
        return ids, learned

    def encode_prompt(self, turns: Sequence[tuple[str, str]]) -> list[int]:
        """Write a conversation up to where the assistant answers."""
        return [*self.encode_chat(turns)[0], TURN_START_ID, *self.encode("assistant\n")]

    def _merge(self, piece: str) -> tuple[int, ...]:
        symbols = [BYTE_SYMBOLS[byte] for byte in piece.encode("utf-8", errors="surrogatepass")]
        while len(symbols) > 1:
            ranked = [(self._ranks[pair], at) for at, pair in enumerate(_pairs(symbols)) if pair in self._ranks]
            if not ranked:
                break
            at = min(ranked)[1]
            symbols[at : at + 2] = [symbols[at] + symbols[at + 1]]
        return tuple(self._ids[symbol] for symbol in symbols)


def train(texts: Iterable[str], vocabulary_size: int) -> Tokenizer:
    """Learn merges from `texts` until the vocabulary has `vocabulary_size` tokens.

    Ties go to the pair that sorts first, so the same texts always give the same vocabulary.
    """
    words = Counter(piece for text in texts for piece in split(text))
    symbols_of = {word: [BYTE_SYMBOLS[byte] for byte in word.encode()] for word in words}
    counts: Counter[tuple[str, str]] = Counter()
    found_in: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for word, symbols in symbols_of.items():
        for pair in _pairs(symbols):
            counts[pair] += words[word]
            found_in[pair].add(word)
    merges: list[tuple[str, str]] = []
    while len(merges) < vocabulary_size - len(SPECIAL_TOKENS) - len(BYTE_SYMBOLS):
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        merges.append(best)
        for word in sorted(found_in.pop(best)):
            for pair in _pairs(symbols_of[word]):
                counts[pair] -= words[word]
            symbols_of[word] = _replace(symbols_of[word], best)
            for pair in _pairs(symbols_of[word]):
                counts[pair] += words[word]
                found_in[pair].add(word)
        del counts[best]
    return Tokenizer(tuple(merges))


def _pairs(symbols: Sequence[str]) -> Iterator[tuple[str, str]]:
    return itertools.pairwise(symbols)


def _replace(symbols: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    at = 0
    while at < len(symbols):
        if tuple(symbols[at : at + 2]) == pair:
            merged.append(pair[0] + pair[1])
            at += 2
        else:
            merged.append(symbols[at])
            at += 1
    return merged
