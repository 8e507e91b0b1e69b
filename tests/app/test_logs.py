"""A process's log file: one JSON object a record, with the values of structured records as its keys."""

import json
import logging

import pytest

from app.logs import log_to
from chain.logs import get_logger
from node.runtime.log_ring import LogRing


@pytest.fixture
def lines(tmp_path):
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    for handler in handlers:
        root.removeHandler(handler)
    path = log_to(tmp_path, "test")
    yield lambda: [json.loads(line) for line in path.read_text().splitlines()]
    for handler in root.handlers[:]:
        root.removeHandler(handler)
        handler.close()
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(level)


def test_a_structured_record_has_its_values_as_keys(lines):
    get_logger("chain.some.module").info("batch_posted", batch=12, l1_tx=b"\x01", hint="two words")
    (line,) = lines()
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "batch_posted",
        "level": "info",
        "logger": "chain.some.module",
        "batch": 12,
        "l1_tx": "0x01",
        "hint": "two words",
    }


def test_a_record_of_the_standard_library_stands_beside_it(lines):
    logging.getLogger("other.library").warning("%s of %d", "one", 2)
    (line,) = lines()
    assert (line["event"], line["level"], line["logger"]) == ("one of 2", "warning", "other.library")


def test_an_exception_is_told_with_its_traceback(lines):
    try:
        raise ValueError("broken")
    except ValueError:
        get_logger("app.x").exception("call_failed", method="x")
    (line,) = lines()
    assert (line["event"], line["method"], line["level"]) == ("call_failed", "x", "error")
    assert "ValueError: broken" in line["exception"]


def test_a_value_that_json_does_not_know_is_told_as_text(lines):
    get_logger("app.x").info("seen", what={1, 2})
    assert lines()[0]["what"] == "{1, 2}"


async def test_the_logs_screen_shows_the_event_and_then_its_values_made_harmless():
    ring = LogRing(lambda _line: None)
    with ring.attached():
        get_logger("node.some.module").warning("peer_refused", reason="\x1b[31mno", price_nano=5)
    (line,) = ring.newest(1)
    assert (line.level, line.source) == ("warning", "node.some.module")
    assert line.text.startswith("peer_refused reason=")
    assert line.text.endswith("price_nano=5")
    assert line.text.isprintable()


class Mute:
    def __str__(self):
        raise RuntimeError("no words")

    __repr__ = __str__


def nested_in_itself():
    found: list[object] = []
    found.append(found)
    return found


@pytest.mark.parametrize(
    "value",
    [Mute(), [Mute()], {1: 2, (3, 4): 5}, 10**5_000, float("nan"), nested_in_itself(), {b"key": {"deep": [b"x"]}}],
    ids=["mute", "mute inside", "keys", "long number", "no number", "circle", "bytes"],
)
def test_a_record_is_never_lost_to_a_value_that_can_not_be_written(lines, value):
    get_logger("app.x").warning("seen", first=1, what=value)

    (line,) = lines()
    assert line["event"].startswith("seen")
    assert (line["level"], line["logger"]) == ("warning", "app.x")


async def test_the_logs_screen_takes_a_value_that_has_no_text():
    ring = LogRing(lambda _line: None)
    with ring.attached():
        get_logger("node.some.module").warning("seen", what=Mute(), price_nano=5)
    assert ring.newest(1)[0].text == "seen what=<Mute> price_nano=5"


def test_a_value_that_is_called_like_a_key_of_the_line_stands_beside_it(lines):
    get_logger("app.x").warning("seen", level="high", logger="mine", timestamp=7, _record=1)
    (line,) = lines()
    assert (line["level"], line["logger"]) == ("warning", "app.x")
    assert (line["level_"], line["logger_"], line["timestamp_"], line["_record_"]) == ("high", "mine", 7, 1)
