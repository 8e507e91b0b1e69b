"""Structured records reach any handler of the standard library as readable text, and cost nothing until then."""

import logging
import subprocess
import sys

import pytest

from chain.logs import LogEvent, get_logger
from tests.patience import PATIENCE_S

NAME = "tests.chain.logs"


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, NAME)
    return get_logger(NAME)


def test_a_handler_shows_the_event_and_then_its_values_in_their_order(log, caplog):
    log.info("batch_posted", batch=12, l1_tx=b"\x01\xff")
    (record,) = caplog.records
    assert (record.name, record.levelname) == (NAME, "INFO")
    assert record.getMessage() == "batch_posted batch=12 l1_tx=0x01ff"


@pytest.mark.parametrize("value", ["two words", "", 'a "quote"', "a=b", "a\nline", "\x1b[31m"])
def test_a_value_that_is_not_one_plain_word_is_quoted(value):
    assert str(LogEvent("seen", {"what": value})) == f"seen what={value!r}"


def test_bound_values_stand_in_each_record(log, caplog):
    bound = log.bind(channel=7)
    bound.warning("channel_closed", paid_nano=5)
    assert caplog.messages == ["channel_closed channel=7 paid_nano=5"]


def test_an_exception_keeps_its_traceback_outside_the_values(log, caplog):
    try:
        raise ValueError("broken")
    except ValueError:
        log.exception("call_failed", method="x")
    (record,) = caplog.records
    assert (record.levelname, record.getMessage()) == ("ERROR", "call_failed method=x")
    assert record.exc_info is not None
    assert "broken" in caplog.text


def test_a_level_that_nobody_wants_is_not_written(log, caplog):
    log.debug("too_fine")
    assert not caplog.records


def test_a_logger_loads_nothing_before_its_first_wanted_record_and_never_writes_on_stdout():
    script = (
        "import sys; from chain.logs import get_logger; log = get_logger('x'); log.info('unwanted', a=1);"
        "assert 'structlog' not in sys.modules and 'rich' not in sys.modules; log.warning('wanted', a=1)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=PATIENCE_S
    )
    assert (done.stdout, done.stderr) == ("", "wanted a=1\n")
