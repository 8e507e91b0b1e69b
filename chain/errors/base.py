"""The base of every failure that a person or a peer should read, and the kinds that are caught across layers."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from chain.errors.codes import ErrorCode
from chain.errors.entry import EXIT_FAILED, EXIT_USAGE, HTTP_BAD_REQUEST, ErrorEntry, JsonRpc
from chain.errors.registry import ERRORS, is_known


class IdlewattError(Exception):
    """A failure with one clear line, a stable code, and what to do about it.

    Args:
        message: One sentence for a person; never holds key material or an unescaped peer string.
        code: What it is, for programs and for coded errors on the wire.
        fix: What to do next, as an imperative sentence; empty when there is nothing to do.
        peer_code: The word that came with it from outside: from a peer, a server, or another process. It becomes the
            code where the registry knows it. Where not, the code is ``code``, and the word is kept beside it.
        retry_after_s: After how long another try is likely to do, where that is known.
    """

    default_code: ClassVar[ErrorCode] = "failed"

    def __init__(
        self,
        message: str,
        *,
        code: ErrorCode | None = None,
        fix: str = "",
        peer_code: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after_s = retry_after_s
        self.code: ErrorCode = peer_code if is_known(peer_code) else code or self.default_code
        self.fix = fix
        self.peer_code = peer_code
        assert self.code in ERRORS, f"{self.code!r} is not in the registry of error codes"

    @property
    def entry(self) -> ErrorEntry:
        """What the registry says about it: its exit status, and its status in every protocol."""
        entry = ERRORS[self.code]
        # Wrong usage is what this program finds in its own caller's words: a peer's word isn't about those.
        return replace(entry, exit_status=EXIT_FAILED) if self.peer_code else entry

    @property
    def wire_code(self) -> str:
        """The word that travels and is kept on disk: the peer's own where one came, so that nothing is lost."""
        return self.peer_code or self.code

    def line(self) -> str:
        """The message and its fix as the single line that a command prints."""
        return f"{self.message} {self.fix}".strip()


class UsageError(IdlewattError):
    """The caller asked for something that can't be asked for."""

    default_code: ClassVar[ErrorCode] = "usage"

    @property
    def entry(self) -> ErrorEntry:
        """What the registry says about it, as the caller's own mistake."""
        return replace(
            ERRORS[self.code], http_status=HTTP_BAD_REQUEST, json_rpc=JsonRpc.INVALID_PARAMS, exit_status=EXIT_USAGE
        )


class ChainUnavailableError(IdlewattError):
    """The chain could not be reached or did not answer in time."""

    default_code: ClassVar[ErrorCode] = "chain_unreachable"


class ChainRejectedError(IdlewattError):
    """The chain answered and refused; ``code`` says why."""

    default_code: ClassVar[ErrorCode] = "chain_rejected"
