"""The person's token for the hub, which is dropped where the hub refuses it and needs none."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import TypeVar

from huggingface_hub import constants, get_token
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

Answer = TypeVar("Answer")
_SENDABLE = re.compile(r"[!-~]+")
UNAUTHORIZED = 401


class HubToken:
    """Asks with the token that the person has, or without one once it was refused.

    A token that expired or was revoked makes the hub refuse public repositories too, which need none.
    """

    def __init__(self) -> None:
        self.notice = ""
        """What a person should know of the token; empty while all is well."""
        self._value: str | None = None
        self._source = next((name for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN") if os.environ.get(name)), "")
        self._source = self._source or f"the file {constants.HF_TOKEN_PATH}"
        try:
            self._value = get_token()
        except Exception as error:  # a file that can't be read, or a token service that is away
            self._drop(f"can't be read ({type(error).__name__})")
        if self._value is not None and not _SENDABLE.fullmatch(self._value):
            self._drop("holds characters that no token has")

    @property
    def source(self) -> str:
        """Where the token comes from, in words; empty where none is sent."""
        return self._source if self._value is not None else ""

    def sent(self) -> str | bool:
        """The token for the hub's own library; False for none."""
        return self._value if self._value is not None else False

    def headers(self) -> dict[str, str]:
        """The headers of a request to the hub."""
        return build_hf_headers(token=self.sent())

    def asking(self, ask: Callable[[], Answer], refused_with: Callable[[Exception], int]) -> Answer:
        """Ask; where the hub doesn't know the token, ask once more without it.

        Args:
            ask: Asks with `headers` or `sent` as they are when it is called.
            refused_with: The status of the hub's refusal that an exception is; 0 for any other exception.

        Raises:
            Exception: As the last call of `ask` did.
        """
        try:
            return ask()
        except Exception as error:
            if not self.source or refused_with(error) != UNAUTHORIZED:
                raise
        self.drop_refused()
        return ask()

    def drop_refused(self) -> None:
        """Send it no more: the hub doesn't know it."""
        self._drop("is not valid any more: the hub refuses it")

    def _drop(self, why: str) -> None:
        self._value = None
        remedy = "Unset it" if self._source.startswith("H") else "Run `hf auth logout`"
        self.notice = f"The hub's token in {self._source} {why}. Asking without it. {remedy}, or store a new one."
