"""Puts characters together whose halves came in two pieces; pure."""

from __future__ import annotations

import codecs
from typing import Final

_REPLACED: Final = "\ufffd".encode()


class HalfJoiner:
    """Joins the text of one stream.

    A character beyond U+FFFF that is written as two JSON escapes may come in two pieces, as lone surrogates. One that
    is written as bytes may be cut between any two of them. Half a character that stays alone becomes U+FFFD: it has no
    bytes to be counted, hashed or sent.
    """

    def __init__(self) -> None:
        self._high = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._is_waiting = False

    def join(self, text: str) -> str:
        """What is complete with this text.

        Args:
            text: A piece; undecodable bytes stand in it as ``surrogateescape`` writes them.
        """
        if not self._is_waiting and _is_clean(text):
            return text
        text = _paired(self._high + text)
        self._high = text[-1:] if "\ud800" <= text[-1:] <= "\udbff" else ""
        whole = text[: len(text) - len(self._high)]
        joined = self._decoder.decode(whole.encode("utf-8", _BYTES_OR_REPLACED))
        self._is_waiting = bool(self._high or self._decoder.getstate()[0])
        return joined

    def finish(self) -> str:
        """What stands for a half that nothing followed."""
        left = self._decoder.decode(b"", final=True) + ("\ufffd" if self._high else "")
        self._high, self._is_waiting = "", False
        self._decoder.reset()
        return left


def whole_text(text: str) -> str:
    """A text that nothing follows."""
    joiner = HalfJoiner()
    return joiner.join(text) + joiner.finish()


def _is_clean(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _paired(text: str) -> str:
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def _bytes_or_replaced(error: UnicodeError) -> tuple[bytes, int]:
    assert isinstance(error, UnicodeEncodeError)
    halves = error.object[error.start : error.end]
    return b"".join(_as_bytes(ord(half)) for half in halves), error.end


def _as_bytes(half: int) -> bytes:
    return bytes([half - 0xDC00]) if 0xDC80 <= half <= 0xDCFF else _REPLACED


_BYTES_OR_REPLACED: Final = "idlewatt.bytes_or_replaced"
codecs.register_error(_BYTES_OR_REPLACED, _bytes_or_replaced)
