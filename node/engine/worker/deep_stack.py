"""Runs a call of llama.cpp with a larger stack.

Some of its tokenizers split text by `std::regex`, which goes a step deeper with each character of a run: at 8 MiB of
stack, some 50,000 spaces or letters in a row end the process.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, TypeVar

STACK_BYTES: Final = 1 << 30
"""For the longest conversation of a session in one run; the system gives only what is used."""

_T = TypeVar("_T")


def on_deep_stack(work: Callable[[], _T], stack_bytes: int = STACK_BYTES) -> _T:
    """Call something in a thread with a larger stack, and wait for it.

    Where the system has no address space for such a stack, it is called on the present one.

    Args:
        work: What to call.
        stack_bytes: The stack that it gets.
    """
    made: list[_T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            made.append(work())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, name="deep stack", daemon=True)
    usual = threading.stack_size(stack_bytes)
    try:
        thread.start()
    except RuntimeError:
        return work()
    finally:
        threading.stack_size(usual)
    thread.join()
    if failed:
        raise failed[0]
    return made[0]
