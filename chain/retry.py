"""Trying again after a failure, and asking again until there is an answer, with longer and longer pauses."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from chain.errors import ChainUnavailableError, IdlewattError

POLL_S: Final = 0.05
MAX_POLL_S: Final = 1.0

T = TypeVar("T")


def _say_nothing(_error: IdlewattError) -> None: ...


async def retry(
    step: Callable[[], Awaitable[T]],
    *,
    on: tuple[type[IdlewattError], ...],
    wait_s: float,
    max_wait_s: float,
    attempts: int | None = None,
    on_failure: Callable[[IdlewattError], None] = _say_nothing,
) -> T:
    """Await ``step`` until it succeeds; returns its result.

    Args:
        step: What is tried.
        on: Errors after which it is tried again; any other one is raised at once.
        wait_s: The first pause; each is up to twice the one before, with as much jitter as the first one is long.
        max_wait_s: The longest pause.
        attempts: How often it is tried in all; ``None`` for without end.
        on_failure: Told each error that is in ``on``.

    Raises:
        IdlewattError: The last error, after so many attempts.
    """
    # Imported here: most commands never try anything twice, and the import takes 40 ms.
    import stamina

    def may_try_again(error: Exception) -> bool:
        if not isinstance(error, on):
            return False
        on_failure(error)
        return True

    # stamina's own hook writes to the standard output where structlog isn't configured.
    stamina.instrumentation.set_on_retry_hooks(())
    caller = stamina.AsyncRetryingCaller(
        attempts=attempts, timeout=None, wait_initial=wait_s, wait_max=max_wait_s, wait_jitter=wait_s
    )
    return await caller(may_try_again, step)


class _NotYetError(ChainUnavailableError):
    """The chain answered, but not yet with what is waited for."""


async def poll(ask: Callable[[], Awaitable[T | None]], *, timeout_s: float, message: str) -> T:
    """Ask the chain again until it has an answer; short outages are waited out.

    Args:
        ask: Returns the answer, or ``None`` while there is none.
        timeout_s: How long to wait.
        message: The error's sentence if that is over.

    Raises:
        ChainUnavailableError: ``not_included`` after ``timeout_s``.
    """

    async def step() -> T:
        answer = await ask()
        if answer is None:
            raise _NotYetError("Not yet.")
        return answer

    try:
        async with asyncio.timeout(timeout_s):
            return await retry(step, on=(ChainUnavailableError,), wait_s=POLL_S, max_wait_s=MAX_POLL_S)
    except TimeoutError:
        raise ChainUnavailableError(
            message, code="not_included", fix="It is not lost; look at the chain again later."
        ) from None
