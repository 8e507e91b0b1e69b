import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.wire.framing import HEADER_BYTES, FrameSplitter, FrameTooLongError, body_length, frame


@given(st.lists(st.binary(max_size=40), max_size=8), st.lists(st.integers(1, 12), max_size=30))
def test_frames_arrive_as_sent_however_the_stream_is_cut(bodies, cuts):
    stream = b"".join(map(frame, bodies))
    splitter, got, at = FrameSplitter(40), [], 0
    for cut in [*cuts, len(stream)]:
        got += splitter.feed(stream[at : at + cut])
        at += cut
    assert got == bodies


def test_a_frame_is_its_length_in_big_endian_and_its_body():
    assert frame(b"abc") == b"\0\0\0\3abc"
    assert body_length(b"\0\0\1\2", max_bytes=258) == 258


def test_a_frame_above_the_limit_is_refused_before_its_body_has_come():
    splitter = FrameSplitter(9)
    assert splitter.feed(frame(b"x" * 9)) == [b"x" * 9]
    with pytest.raises(FrameTooLongError, match="10 bytes exceeds the limit of 9"):
        splitter.feed(frame(b"x" * 10)[:HEADER_BYTES])


def test_framing_costs_the_engines_worker_no_event_loop_and_no_logging():
    heavy = "{'asyncio', 'aiohttp', 'structlog', 'nacl'}"
    code = f"import sys, node.engine.ipc; assert not {heavy} & set(sys.modules), sorted({heavy} & set(sys.modules))"
    subprocess.run([sys.executable, "-c", code], check=True)
