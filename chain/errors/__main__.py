"""``python -m chain.errors > docs/errors.md`` writes the page that lists every error code."""

from __future__ import annotations

import sys

from chain.errors.page import errors_page

if __name__ == "__main__":
    sys.stdout.write(errors_page())
