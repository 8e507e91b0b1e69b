"""What recorded values have in common: who, when, which model, what was said."""

from node.values import Prices

NOW_MS = 1_767_225_600_000
NOW_S = NOW_MS // 1000
SELLER = "0x5e11e7000000000000000000000000000000A11c"
BUYER = "0xB0b0000000000000000000000000000000000b0B"
SHA = "0x" + "a1b2c3d4" * 8
ROOT = "0x" + "9f8e7d6c" * 8
GIB = 2**30
PRICES = Prices(input_nano_per_mtok=100_000_000, output_nano_per_mtok=200_000_000)
WORDS = "legal winner thank year wave sausage worth useful legal winner thank yellow"
ANSWER = "17 + 25 = **42**.\n\n- tens: 10 + 20 = 30\n- ones: 7 + 5 = 12\n\n```python\nprint(17 + 25)\n```\n"
