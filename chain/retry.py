"""Trying again after a failure, with longer and longer pauses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from chain.errors import IdlewattError

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
