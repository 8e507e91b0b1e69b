from __future__ import annotations

from node.engine.threads import BYTES_PER_THREAD, default_threads


def test_small_models_get_one_thread_and_large_ones_no_more_than_the_cores():
    assert default_threads(BYTES_PER_THREAD // 8) == 1
    assert 1 <= default_threads(1 << 40) <= 4096
