"""The one base error: what every layer raises for a failure a person or a peer should read."""

from __future__ import annotations


class IdlewattError(Exception):
    """A failure with one clear line, a stable code, and what to do about it.

    Args:
        message: One sentence for a person; never holds key material or an unescaped peer string.
        code: A stable snake_case word, for programs and for coded errors on the wire.
        fix: What to do next, as an imperative sentence; empty when there is nothing to do.
    """

    default_code = "failed"

    def __init__(self, message: str, *, code: str | None = None, fix: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.fix = fix

    def line(self) -> str:
        """The message and its fix as the single line that a command prints."""
        return f"{self.message} {self.fix}".strip()


class UsageError(IdlewattError):
    """The caller asked for something that can't be asked for; commands exit with 2."""

    default_code = "usage"


class ChainUnavailableError(IdlewattError):
    """The chain could not be reached or did not answer in time."""

    default_code = "chain_unreachable"


class ChainRejectedError(IdlewattError):
    """The chain answered and refused; ``code`` says why."""

    default_code = "chain_rejected"
