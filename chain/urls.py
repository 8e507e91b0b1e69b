"""Addresses of servers as a person may see them."""

from __future__ import annotations


def shown_url(url: str) -> str:
    """A server's address without the credentials in it, for a screen, an error or a log."""
    scheme, mark, rest = url.partition("://")
    if not mark:
        return url
    place = rest.partition("/")[0].partition("?")[0].partition("#")[0]
    return f"{scheme}{mark}{place.rpartition('@')[2]}{rest[len(place) :]}"
