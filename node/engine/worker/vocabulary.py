"""A loaded model's vocabulary: text to tokens, and tokens to bytes."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterable, Sequence
from functools import cached_property

from node.engine.protocol import EngineError
from node.engine.worker.deep_stack import on_deep_stack
from node.engine.worker.markers import is_marker
from node.engine.worker.native import llama
from node.engine.worker.tokens import TokenTable

_PIECE_BYTES = 256
_LONG_BYTES = 8 * 1024
_TURN = re.compile(
    r"im_(?:start|end)|turn|eot|header_id|end_of_(?:text|message|msg)|endoftext|endofprompt"
    r"|[<\[|\uff5c]/?(?:user|assistant|system|human|bot|chatbot|ai|inst|sys|system_prompt|end)(?:_token)?[>\]|\uff5c]",
    re.IGNORECASE,
)
"""Names of tokens around turns, in the families of models that are known."""
_USER_DEFINED = llama.LLAMA_TOKEN_ATTR_USER_DEFINED
_PROBE = "A line, a tab\t\n\u00e9 \u4e16 \U0001f999 \x01"


class Vocabulary:
    """Reads llama.cpp's vocabulary of one model; not for more than one thread."""

    def __init__(self, model: int) -> None:
        vocab = llama.llama_model_get_vocab(model)
        if vocab is None:
            raise EngineError("The model has no vocabulary.", code="model_unusable")
        self._vocab = vocab
        self.size = int(llama.llama_vocab_n_tokens(vocab))
        self._pieces: dict[int, bytes | None] = {}
        self._silent: list[int] | None = None
        self._ends: set[int] = set()
        self._buffer = ctypes.create_string_buffer(_PIECE_BYTES)
        bos = int(llama.llama_vocab_bos(vocab))
        add_bos = bool(llama.llama_vocab_get_add_bos(vocab)) and bos >= 0
        self._leading = [bos] if add_bos else []
        self.bos_text = self._text(bos)
        self.eos_text = self._text(int(llama.llama_vocab_eos(vocab)))
        self._adds_space = False
        # Where tokens for single bytes are missing, llama.cpp aborts: better now than at the first request with some.
        self.tokenize(_PROBE, special=False)
        first = self.tokenize("a", special=False)[:1]
        self._adds_space = any((self.piece(token) or b"").startswith(b" ") for token in first)

    @property
    def leading_tokens(self) -> list[int]:
        """The BOS token, if the model wants one before every text."""
        return self._leading

    def markers(self, template: str = "") -> dict[int, str]:
        """The text of every token that a user must not be able to type, by its token.

        Args:
            template: The chat template's source: what it writes of the user-defined tokens are markers too.
        """
        vocab, get_attr = self._vocab, llama.llama_vocab_get_attr
        controls, defined = llama.LLAMA_TOKEN_ATTR_CONTROL | llama.LLAMA_TOKEN_ATTR_UNKNOWN, _USER_DEFINED
        found: dict[int, str] = {}
        for token in range(self.size):
            kind = get_attr(vocab, token)
            if kind & controls or (kind & defined and is_marker(self._text(token), template)):
                found[token] = self._text(token)
        return found

    def tokenize(self, text: str, *, special: bool, whole: bool = False, continues: bool = False) -> list[int]:
        """Tokens of a text; control tokens are recognized only if `special`, user-defined ones always.

        Args:
            text: Any text.
            special: Whether the text of a control token becomes that token.
            whole: Whether the text stands by itself: then it gets what the model wants around a text (BOS, EOS, CLS).
            continues: Whether other text comes before it: then it gets no space that the model wants before a text.

        Raises:
            EngineError: With code ``context_too_long`` if llama.cpp can't hold so many.
        """
        if continues and self._adds_space:
            tokens = self.tokenize(f"\n{text}", special=special)
            before = self.tokenize("\n", special=False)
            # Where the line break became one token with what follows, there is no way to tell them apart.
            return tokens[len(before) :] if tokens[: len(before)] == before else self.tokenize(text, special=special)
        raw = text.encode()
        room = len(raw) + 8
        buffer = (llama.llama_token * room)()

        def tokenize() -> int:
            return int(llama.llama_tokenize(self._vocab, raw, len(raw), buffer, room, whole, special))

        count = tokenize() if len(raw) < _LONG_BYTES else on_deep_stack(tokenize)
        if count < 0:
            raise EngineError("The conversation can't be tokenized: it is too long.", code="context_too_long")
        return list(buffer[:count])

    def special_texts(self) -> list[str]:
        """The text of every control and user-defined token."""
        vocab, mask = self._vocab, llama.LLAMA_TOKEN_ATTR_CONTROL | llama.LLAMA_TOKEN_ATTR_USER_DEFINED
        get_attr = llama.llama_vocab_get_attr
        return [self._text(token) for token in range(self.size) if get_attr(vocab, token) & mask]

    def show(self, texts: Iterable[str]) -> dict[int, bytes]:
        """Have tokens appear in answers as their text, as a reasoning model's markers must; a control token has none.

        Returns:
            Those of the texts that are one token each. One that ends an answer goes on doing so: `piece` says so.
        """
        shown: dict[int, bytes] = {}
        for text in texts:
            tokens = self.tokenize(text, special=True)
            if len(tokens) == 1:
                shown[tokens[0]] = text.encode()
                if self.piece(tokens[0]) == b"":
                    self._pieces[tokens[0]] = text.encode()
        return shown

    def end_of(self, tokens: Sequence[int], count: int) -> str:
        """The text of the last tokens of a prompt, control tokens included.

        Args:
            tokens: The prompt.
            count: How many tokens of it to read.
        """
        return b"".join(self._read_piece(token, special=True) for token in tokens[-count:]).decode("utf-8", "replace")

    def end_at_turns(self) -> None:
        """End answers at every token that begins or ends a turn, where no template says which of them does.

        llama.cpp ends them at the tokens that it knows to end a turn. A model that opens the next turn has ended too.
        """
        for token, text in self.markers().items():
            if _TURN.search(text):
                self._pieces[token] = None
                self._ends.add(token)

    def silent_tokens(self) -> list[int]:
        """Every token without text that doesn't end an answer: no format has a place for it."""
        if self._silent is None:
            is_end, controls = llama.llama_vocab_is_eog, llama.LLAMA_TOKEN_ATTR_CONTROL | llama.LLAMA_TOKEN_ATTR_UNKNOWN
            self._silent = [
                token
                for token in range(self.size)
                if llama.llama_vocab_get_attr(self._vocab, token) & controls
                and not is_end(self._vocab, token)
                and token not in self._ends
            ]
        return self._silent

    @property
    def native(self) -> int:
        """llama.cpp's pointer to it."""
        vocab: int = self._vocab
        return vocab

    @cached_property
    def table(self) -> TokenTable:
        """The tokens as the formats of answers need them."""
        return TokenTable([self.piece(token) for token in range(self.size)], self.silent_tokens())

    def piece(self, token: int) -> bytes | None:
        """The bytes of a token (none for a control token), or None if it ends the answer."""
        try:
            return self._pieces[token]
        except KeyError:
            is_end = llama.llama_vocab_is_eog(self._vocab, token)
            self._pieces[token] = piece = None if is_end else self._read_piece(token)
            return piece

    def _read_piece(self, token: int, *, special: bool = False) -> bytes:
        size = llama.llama_token_to_piece(self._vocab, token, self._buffer, len(self._buffer), 0, special)
        if size < 0:
            self._buffer = ctypes.create_string_buffer(-size)
            size = llama.llama_token_to_piece(self._vocab, token, self._buffer, len(self._buffer), 0, special)
        return self._buffer.raw[:size]

    def _text(self, token: int) -> str:
        if not 0 <= token < self.size:
            return ""
        text: bytes | None = llama.llama_vocab_get_text(self._vocab, token)
        return (text or b"").decode("utf-8", "replace")
