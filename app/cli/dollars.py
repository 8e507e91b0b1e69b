"""Amounts on the command line: written in dollars, held as nano."""

from __future__ import annotations

from typing import Any

import click

from chain.errors import UsageError
from chain.money import parse_usd


class Dollars(click.ParamType[int]):
    """An amount of dollars on the command line, as nano."""

    name = "dollars"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read ``0.10``; wrong text is wrong usage."""
        if isinstance(value, int):
            return value
        try:
            return parse_usd(value)
        except UsageError as error:
            self.fail(error.line(), param, ctx)
