"""The ``IDLEWATT_`` variables that are no settings; a setting's variable follows from its name."""

from __future__ import annotations

PREFIX = "IDLEWATT_"
HOME_VARIABLE = "IDLEWATT_HOME"
PASSPHRASE_VARIABLE = "IDLEWATT_PASSPHRASE"  # noqa: S105 - a variable's name, not its value
FILE_PASSPHRASE_VARIABLE = "IDLEWATT_FILE_PASSPHRASE"  # noqa: S105 - the same
DEV_FUNDS_VARIABLE = "IDLEWATT_DEV_FUNDS"
OTHER_VARIABLES = frozenset({HOME_VARIABLE, PASSPHRASE_VARIABLE, FILE_PASSPHRASE_VARIABLE, DEV_FUNDS_VARIABLE})
