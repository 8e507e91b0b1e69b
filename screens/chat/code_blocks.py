"""The code blocks of an answer, as Markdown defines them."""

from __future__ import annotations

import io
from typing import Final

from markdown_it import MarkdownIt

_PARSER: Final = MarkdownIt("commonmark")


def code_blocks(markdown: str) -> list[str]:
    """The text of every fenced code block, in order, without its fences.

    A fence is three or more backticks or tildes, and lasts to one of at least its length, or to the end of the answer
    (https://spec.commonmark.org/0.31.2/#fenced-code-blocks). Line ends stay as they came.
    """
    lines = list(io.StringIO(markdown, newline=""))
    blocks = []
    for token in _PARSER.parse(markdown):
        if token.type == "fence" and token.map:
            first, last = token.map
            # The parser makes every line end a line feed.
            is_crlf = any(line.endswith("\r\n") for line in lines[first:last])
            blocks.append(token.content.replace("\n", "\r\n") if is_crlf else token.content)
    return blocks
