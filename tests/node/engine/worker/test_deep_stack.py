from __future__ import annotations

import threading

import pytest

from node.engine.worker.deep_stack import on_deep_stack


def test_it_returns_what_the_call_returns_and_leaves_the_stack_size_as_it_was():
    before = threading.stack_size()
    assert on_deep_stack(lambda: (threading.current_thread() is threading.main_thread(), 5)) == (False, 5)
    assert threading.stack_size() == before


def test_what_the_call_raises_arrives():
    with pytest.raises(ZeroDivisionError):
        on_deep_stack(lambda: 1 // 0)


def test_without_room_for_such_a_stack_the_call_is_made_on_the_present_one():
    assert on_deep_stack(threading.current_thread, stack_bytes=1 << 60) is threading.current_thread()
