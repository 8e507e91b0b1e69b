from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from node.engine.worker.pacing import ALONE_SECONDS, FIRST_TOKENS, LEAST_TOKENS, PAUSE_SECONDS, Pacer, gathering


def test_nothing_is_known_at_first():
    pacer = Pacer(512, 128)
    assert pacer.prompt_tokens(beside=True) == pacer.prompt_tokens(beside=False) == FIRST_TOKENS
    assert pacer.step_s() == 0.0


def test_many_streams_have_their_text_half_as_often_as_a_few():
    assert [gathering(streams) for streams in (0, 1, 4, 6, 8, 64)] == [1.0, 1.0, 1.0, 1.5, 2.0, 2.0]


def test_chunks_follow_the_measured_speed():
    pacer = Pacer(512, 128)
    for _ in range(30):
        pacer.observe(4, 0, 0.05)
        pacer.observe(4, 128, 0.05 + 128 * 0.001)
    assert pacer.prompt_tokens(beside=True) == 128
    assert pacer.prompt_tokens(beside=False) == 512
    for _ in range(60):
        pacer.observe(4, 128, 0.05 + 128 * 0.01)
    assert pacer.prompt_tokens(beside=True) == LEAST_TOKENS
    assert pacer.step_s() > 5


@settings(deadline=None, max_examples=60)
@given(st.floats(1e-6, 1.0), st.sampled_from([16, 128, 512]))
def test_a_chunk_keeps_its_promise_wherever_the_machine_can(each, micro_batch):
    pacer = Pacer(512, micro_batch)
    pacer.observe(0, 128, 128 * each)
    for beside, seconds in ((True, PAUSE_SECONDS), (False, ALONE_SECONDS)):
        tokens = pacer.prompt_tokens(beside=beside)
        assert LEAST_TOKENS <= tokens <= 512
        assert tokens == LEAST_TOKENS or tokens * each <= seconds * 1.001
