"""The formats of strings that a schema can name, as patterns: narrower than their standards, never wider.

A validator may look at a format or not; it finds nothing wrong with these.
"""

from __future__ import annotations

_YEAR = r"(?:[1-9]\d{3}|0[1-9]\d\d|00[1-9]\d|000[1-9])"
_FOURTH = "(?:0[48]|[2468][048]|[13579][26])"
_LEAP_YEAR = rf"(?:\d\d{_FOURTH}|{_FOURTH}00)"
_MONTH_AND_DAY = (
    r"(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])"
    r"|(?:0[469]|11)-(?:0[1-9]|[12]\d|30)"
    r"|02-(?:0[1-9]|1\d|2[0-8]))"
)
_DATE = f"(?:{_YEAR}-{_MONTH_AND_DAY}|{_LEAP_YEAR}-02-29)"
_TIME = r"(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{3}(?:\d{3})?)?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)"
_CLOCK = r"T(?:\d{1,9}H(?:\d{1,9}M(?:\d{1,9}S)?)?|\d{1,9}M(?:\d{1,9}S)?|\d{1,9}S)"
_DAYS = r"(?:\d{1,9}Y(?:\d{1,9}M(?:\d{1,9}D)?)?|\d{1,9}M(?:\d{1,9}D)?|\d{1,9}D)"
_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,38}[A-Za-z0-9])?"
# A last label of letters can't be taken for a part of an address in numbers.
_HOST = rf"(?:{_LABEL}\.){{1,3}}[A-Za-z]{{2,24}}"
_WORD = "[A-Za-z0-9_%+-]{1,20}"
_BYTE = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_IPV4 = rf"(?:{_BYTE}\.){{3}}{_BYTE}"
_HEX = "[0-9a-fA-F]{1,4}"
_SHORT = "|".join(
    [
        f"(?:{_HEX}:){{{before}}}(?::{_HEX}){{1,{7 - before}}}" if before else f":(?::{_HEX}){{1,7}}"
        for before in range(7)
    ]
)
_IPV6 = f"(?:(?:{_HEX}:){{7}}{_HEX}|(?:{_HEX}:){{1,7}}:|{_SHORT}|::)"
_URL_CHAR = r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})"

_BODIES = {
    "date": _DATE,
    "time": _TIME,
    "date-time": f"{_DATE}T{_TIME}",
    "duration": f"P(?:{_DAYS}(?:{_CLOCK})?|{_CLOCK}|\\d{{1,9}}W)",
    "uuid": "[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
    "hostname": _HOST,
    "email": rf"{_WORD}(?:\.{_WORD}){{0,2}}@{_HOST}",
    "ipv4": _IPV4,
    "ipv6": _IPV6,
    "uri": rf"[a-zA-Z][a-zA-Z0-9+.-]{{0,15}}://{_HOST}(?::[1-9]\d{{0,3}})?"
    rf"(?:/{_URL_CHAR}*)?(?:\?(?:{_URL_CHAR}|\?)*)?(?:#(?:{_URL_CHAR}|\?)*)?",
}

PATTERNS = {name: f"^(?:{body})$" for name, body in _BODIES.items()}
"""By format, a pattern whose strings are all of that format.

Sources: RFC 3339 (dates, times and, in its appendix A, durations), RFC 9562 (UUID), RFC 1123 (hosts), RFC 5321 (mail),
RFC 2673 and RFC 4291 (addresses), RFC 3986 (URI).
"""
