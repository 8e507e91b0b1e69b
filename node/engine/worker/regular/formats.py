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
_TIME = r"(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,9})?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)"
_CLOCK = r"T(?:\d{1,9}H(?:\d{1,9}M(?:\d{1,9}S)?)?|\d{1,9}M(?:\d{1,9}S)?|\d{1,9}S)"
_DAYS = r"(?:\d{1,9}Y(?:\d{1,9}M(?:\d{1,9}D)?)?|\d{1,9}M(?:\d{1,9}D)?|\d{1,9}D)"
_LETTER_OR_DIGIT = "[A-Za-z0-9]"
# No two hyphens in a row: some take them for a name in Punycode. A name of these parts has 253 characters at most.
_LABEL = f"{_LETTER_OR_DIGIT}(?:-?{_LETTER_OR_DIGIT}){{0,24}}"
# A last label with a letter, first or behind two digits, can't be taken for a part of an address in numbers.
_NAME = rf"(?:{_LABEL}\.){{0,4}}(?:[1-9]\d?)?[A-Za-z](?:-?{_LETTER_OR_DIGIT}){{0,24}}"
_WORD = "[A-Za-z0-9_%+~-]{1,20}"
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
_HOST = rf"(?:{_NAME}|{_IPV4})"
_MAILBOX = rf"{_WORD}(?:\.{_WORD}){{0,2}}@(?:{_NAME}|\[{_IPV4}\])"
_PORT = r"(?:[1-9]\d{0,3}|[1-5]\d{4}|6(?:[0-4]\d{3}|5(?:[0-4]\d\d|5(?:[0-2]\d|3[0-5]))))"
_PATH_CHAR = r"(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})"
_QUERY_CHAR = rf"(?:{_PATH_CHAR}|[/?])"
_TAIL = rf"(?:\?{_QUERY_CHAR}*)?(?:#{_QUERY_CHAR}*)?"
_SEGMENTS = rf"(?:/{_PATH_CHAR}*)*"
# Here a name may have any length: an address has no bound.
_ANY_LABEL = f"{_LETTER_OR_DIGIT}(?:-?{_LETTER_OR_DIGIT})*"
_ANY_NAME = rf"(?:{_ANY_LABEL}\.)*[A-Za-z](?:-?{_LETTER_OR_DIGIT})*"
_AUTHORITY = rf"//(?:{_ANY_NAME}|{_IPV4}|\[{_IPV6}\])(?::{_PORT})?"
# Web addresses without a host are none to some, so only a few schemes come without.
_URI = (
    rf"(?:[a-zA-Z][a-zA-Z0-9+.-]*:{_AUTHORITY}{_SEGMENTS}"
    rf"|(?:urn|tel|data|news|about|mailto|tag):{_PATH_CHAR}+{_SEGMENTS}"
    rf"|file://(?:/{_PATH_CHAR}+)+){_TAIL}"
)
_FIRST_CHAR = r"(?:[A-Za-z0-9._~!$&'()*+,;=@-]|%[0-9A-Fa-f]{2})"
_RELATIVE = rf"(?:/|(?:/{_PATH_CHAR}+|{_FIRST_CHAR}+){_SEGMENTS})?{_TAIL}"
_POINTER = "(?:/(?:[^~/]|~[01])*)*"
_VARIABLE = r"[A-Za-z0-9_]+(?:\.[A-Za-z0-9_]+)*(?:\*|:[1-9]\d{0,3})?"
_TEMPLATE = rf"(?:[A-Za-z0-9._~:/?#&=@+,;$-]|%[0-9A-Fa-f]{{2}}|\{{[+#./;?&]?{_VARIABLE}(?:,{_VARIABLE})*\}})*"
# Plain expressions, which mean the same to all readers: no group in a group, no lookaround, no back references.
_ATOM = r"(?:[A-Za-z0-9 _,:;=<>!@#%&\"'~/-]|\.|\\[.^$*+?()\[\]{}|\\dDwWsS])"
_SET = r"\[\^?(?:[A-Za-z0-9 _.,:]|\\[.\-\]\\dws]|a-z|A-Z|0-9)+\]"
_TIMES = r"(?:[*+?]|\{[1-9]\d?(?:,[1-9]\d\d)?\})?"
_TERMS = rf"(?:(?:{_ATOM}|{_SET}){_TIMES})+"
_REGEX = rf"\^?(?:{_TERMS}|\((?:\?:)?{_TERMS}(?:\|{_TERMS})*\){_TIMES})*\$?"

_BODIES = {
    "date": _DATE,
    "time": _TIME,
    "date-time": f"{_DATE}T{_TIME}",
    "duration": f"P(?:{_DAYS}(?:{_CLOCK})?|{_CLOCK}|\\d{{1,9}}W)",
    "uuid": "[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
    "hostname": _HOST,
    "email": _MAILBOX,
    "ipv4": _IPV4,
    "ipv6": _IPV6,
    "uri": _URI,
    "uri-reference": f"(?:{_URI}|{_RELATIVE})",
    "uri-template": _TEMPLATE,
    "json-pointer": _POINTER,
    "relative-json-pointer": rf"(?:0|[1-9]\d{{0,8}})(?:#|{_POINTER})",
    "regex": _REGEX,
}
_BODIES |= {
    # Names beyond ASCII have rules of their own; those within are names to all.
    "idn-hostname": _BODIES["hostname"],
    "idn-email": _BODIES["email"],
    "iri": _BODIES["uri"],
    "iri-reference": _BODIES["uri-reference"],
    # Draft 3's names.
    "ip-address": _BODIES["ipv4"],
    "host-name": _BODIES["hostname"],
}

PATTERNS = {name: f"^(?:{body})$" for name, body in _BODIES.items()}
"""By format, a pattern whose strings are all of that format.

Sources: RFC 3339 (dates, times and, in its appendix A, durations), RFC 9562 (UUID), RFC 1123 (hosts), RFC 5321 (mail),
RFC 2673 and RFC 4291 (addresses), RFC 3986 (URI), RFC 6570 (templates), RFC 6901 (pointers), ECMA-262 (expressions).
"""
