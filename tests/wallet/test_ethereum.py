import subprocess
import sys

from tests.patience import PATIENCE_S

NESTED = """
import sys
from wallet.v3 import check_key_file, seal_key
seal_key(b"k" * 32, "passphrase", 2)
assert sys.getrecursionlimit() <= 10_240, sys.getrecursionlimit()
try:
    check_key_file(b"[" * 60_000)
except Exception as error:
    print(error.code)
"""

LATE = "import sys, wallet.keystore, wallet.receipts; print([m for m in ('eth_account', 'web3') if m in sys.modules])"


def test_nested_brackets_do_not_end_a_process_that_uses_eth_account() -> None:
    done = subprocess.run(
        [sys.executable, "-c", NESTED], capture_output=True, text=True, check=False, timeout=PATIENCE_S
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "bad_keystore\n", "")


def test_the_wallet_imports_no_ethereum_library_before_it_needs_one() -> None:
    done = subprocess.run([sys.executable, "-c", LATE], capture_output=True, text=True, check=True, timeout=PATIENCE_S)
    assert done.stdout == "[]\n"
