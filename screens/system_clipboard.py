"""``python -m screens.system_clipboard``: puts standard input on the system's clipboard, and checks that it is there.

It runs as a child of the app, because the programs that it starts can hang. Its exit status says whether it worked.
"""

from __future__ import annotations

import sys

import pyperclip


def copy_and_compare(text: str) -> bool:
    """Copy, then read back: pyperclip ignores whether the program that it started failed."""
    pyperclip.copy(text)
    return bool(pyperclip.paste().replace("\r\n", "\n") == text.replace("\r\n", "\n"))


if __name__ == "__main__":
    sys.exit(not copy_and_compare(sys.stdin.buffer.read().decode()))
