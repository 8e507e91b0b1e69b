"""What a format's pattern takes is of that format, by the standard library and by jsonschema's own checks."""

from __future__ import annotations

import datetime
import ipaddress
import random
import urllib.parse
import uuid
from collections.abc import Callable

import jsonschema
import pytest

from node.engine.worker.regular.automaton import Automaton
from node.engine.worker.regular.expression import texts
from node.engine.worker.regular.formats import PATTERNS
from node.engine.worker.regular.patterns import parsed
from tests.node.engine.worker.regular.drawing import drawn

READ: dict[str, Callable[[str], object]] = {
    "date": datetime.date.fromisoformat,
    "time": datetime.time.fromisoformat,
    "date-time": datetime.datetime.fromisoformat,
    "uuid": uuid.UUID,
    "ipv4": ipaddress.IPv4Address,
    "ipv6": ipaddress.IPv6Address,
    "uri": urllib.parse.urlsplit,
}


def taken(name: str) -> Automaton:
    return texts([parsed(PATTERNS[name])], 0, None, name)


@pytest.mark.parametrize("name", PATTERNS)
def test_what_is_drawn_is_of_the_format(name):
    automaton, dice = taken(name), random.Random(name)
    for _ in range(200):
        text = drawn(automaton, dice)
        assert text is not None
        READ.get(name, str)(text)
        jsonschema.validate(
            text, {"type": "string", "format": name}, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
        )


def test_every_day_that_there_is_and_no_other_is_a_date():
    automaton = taken("date")
    for year in (1, 4, 1900, 2000, 2023, 2024, 9999):
        for month in range(14):
            for day in range(33):
                text = f"{year:04}-{month:02}-{day:02}"
                try:
                    datetime.date.fromisoformat(text)
                except ValueError:
                    assert not automaton.takes(text)
                else:
                    assert automaton.takes(text)
    assert not automaton.takes("0000-01-01")


@pytest.mark.parametrize(
    ("name", "good", "wrong"),
    [
        (
            "email",
            ["a.b+c@example.org", "x@y.co", "root@localhost", "a@[127.0.0.1]"],
            ["a@1.2.3.4", "a@", "a..b@c.de", "@c.de", "a@-c.de"],
        ),
        ("ipv4", ["0.0.0.0", "255.255.255.255"], ["256.1.1.1", "01.1.1.1", "1.1.1"]),
        ("ipv6", ["::", "::1", "1::", "1:2:3:4:5:6:7:8", "1::8", "fe80::1:2"], ["1:2:3:4:5:6:7", ":::", "1::2::3"]),
        ("hostname", ["example.org", "a-b.c1.de", "localhost", "10.0.0.1"], ["-a.de", "a_.de", "a..de", "10.0.0.256"]),
        (
            "uri",
            ["http://localhost:11434/v1", "http://127.0.0.1:65535", "ws://[::1]:8080/", "urn:a:b"],
            ["http://a:65536"],
        ),
        ("uri-reference", ["/a/b?c", "../a", "#x", "https://a.de"], ["://", "a b", "\\"]),
        ("uri-template", ["/a/{b}{?c,d*}", "x"], ["{", "a{b", "{}"]),
        ("json-pointer", ["", "/a~1b/0"], ["a", "/~2"]),
        ("regex", ["^[a-z]+$", r"\d{1,100}", "a(b|c)*"], ["*", "\\", "(", "[z-a]"]),
        ("uri", ["https://example.org", "http://a.de:80/b?c=d#e", "ftp://a.de/%20"], ["a.de", "http://a.de/%2", "x:"]),
        ("duration", ["P3D", "P1Y2M", "PT5M", "P1DT2H", "P4W"], ["P", "PT", "P1YT", "P1Y3D", "5D"]),
        ("time", ["23:59:59Z", "00:00:00.123+01:00"], ["24:00:00Z", "12:00:00", "12:00Z"]),
        ("date-time", ["2024-02-29T12:00:00Z"], ["2023-02-29T12:00:00Z", "2024-02-29 12:00:00Z"]),
        ("uuid", ["01234567-89ab-cdef-0123-456789abcdef"], ["01234567-89ab-cdef-0123-456789abcdeg"]),
    ],
)
def test_formats_are_what_people_write(name, good, wrong):
    automaton = taken(name)
    assert [text for text in good if not automaton.takes(text)] == []
    assert [text for text in wrong if automaton.takes(text)] == []
