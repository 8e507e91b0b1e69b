"""The wallet's forms and the checks behind them: pure, so that they are easy to read and to test."""

from __future__ import annotations

from textual.content import Content

from node.values import IdlewattError, WalletView, parse_usd
from screens.dialogs import Field, FormSpec, Values
from screens.text import usd

MIN_PASSPHRASE_CHARS = 8
_HEX_DIGITS = set("0123456789abcdefABCDEF")
_ADDRESS_CHARS = 42
_WORDS_A_LINE = 4

IMPORT_KINDS = (
    ("Recovery words", "mnemonic"),
    ("Private key (hex)", "private_key"),
    ("V3 keystore file (its JSON text)", "v3"),
)
EXPORT_KINDS = (("V3 keystore file, encrypted", "v3"), ("Private key, in the clear", "private_key"))


def passphrase_problem(first: str, second: str) -> str:
    """What is wrong with a new passphrase, or nothing."""
    if len(first) < MIN_PASSPHRASE_CHARS:
        return f"The passphrase is too short. Use at least {MIN_PASSPHRASE_CHARS} characters."
    if first != second:
        return "The two passphrases differ. Type the same one twice."
    return ""


def read_amount(text: str) -> int | None:
    """Nano, or ``None`` for "all".

    Raises:
        IdlewattError: If it is neither.
    """
    if text.strip().lower() == "all":
        return None
    amount_nano = parse_usd(text)
    if amount_nano == 0:
        raise IdlewattError("The amount is zero.", code="usage", fix='Write an amount such as 0.10, or "all".')
    return amount_nano


def address_problem(text: str) -> str:
    """What is wrong with a destination, or nothing; empty means the wallet's own address."""
    text = text.strip()
    if not text:
        return ""
    if len(text) != _ADDRESS_CHARS or not text.startswith("0x") or not set(text[2:]) <= _HEX_DIGITS:
        return "That is not an address. It is 0x and 40 hex digits; leave it empty for this wallet's own."
    return ""


def _check_withdraw(wallet: WalletView, values: Values) -> str:
    amount_nano = read_amount(values["amount"])
    if amount_nano is not None and wallet.balance_nano is not None and amount_nano > wallet.balance_nano:
        return f'There is {usd(wallet.balance_nano)} to withdraw. Write less, or "all".'
    return address_problem(values["to"])


def withdraw_form(wallet: WalletView) -> FormSpec:
    """How much, and where to."""
    return FormSpec(
        title=f"Withdraw from {wallet.label} to L1",
        rows=(("on L2 now", usd(wallet.balance_nano)),),
        fields=(
            Field("amount", 'Amount in dollars, or "all"', hint="0.10"),
            Field("to", "To address (empty: this wallet's own)", hint=wallet.address),
        ),
        verb="Next",
        check=lambda values: _check_withdraw(wallet, values),
    )


def _check_deposit(values: Values) -> str:
    return "The amount is needed: a deposit has no all." if read_amount(values["amount"]) is None else ""


def deposit_form(wallet: WalletView) -> FormSpec:
    """How much to bring over from L1."""
    return FormSpec(
        title=f"Deposit from L1 to {wallet.label}",
        fields=(Field("amount", "Amount in dollars", hint="1.00"),),
        verb="Next",
        note="Moves money that this address has on L1 into the rollup.",
        check=_check_deposit,
    )


def unlock_form(wallet: WalletView) -> FormSpec:
    """The passphrase."""
    return FormSpec(
        title=f"Unlock {wallet.label}",
        fields=(Field("passphrase", "Passphrase", password=True),),
        verb="Unlock",
        note="Unlocks until the app ends.",
        check=lambda values: "" if values["passphrase"] else "Type the passphrase.",
    )


def create_form() -> FormSpec:
    """A new passphrase, twice."""
    return FormSpec(
        title="New wallet",
        fields=(Field("passphrase", "Passphrase", password=True), Field("again", "The same again", password=True)),
        verb="Create",
        note="The passphrase encrypts the key on this disk. Nobody can reset it; the recovery words that follow can.",
        check=lambda values: passphrase_problem(values["passphrase"], values["again"]),
    )


def _check_import(values: Values) -> str:
    if not values["secret"].strip():
        return "Paste the words, the key, or the file's text."
    if values["kind"] == "v3" and not values["file_passphrase"]:
        return "The file has a passphrase of its own. Type it."
    return passphrase_problem(values["passphrase"], values["again"])


def import_form() -> FormSpec:
    """A wallet from elsewhere."""
    return FormSpec(
        title="Import a wallet",
        fields=(
            Field("kind", "From", options=IMPORT_KINDS),
            Field("secret", "Words, key, or file text", password=True),
            Field("file_passphrase", "The file's passphrase", password=True, only_when=("kind", "v3")),
            Field("passphrase", "Passphrase for this machine", password=True),
            Field("again", "The same again", password=True),
        ),
        verb="Import",
        check=_check_import,
    )


def export_form(wallet: WalletView) -> FormSpec:
    """What to export; the passphrase is asked for again."""
    return FormSpec(
        title=f"Export {wallet.label}",
        fields=(Field("kind", "As", options=EXPORT_KINDS), Field("passphrase", "Passphrase", password=True)),
        verb="Next",
        note="Whoever has a private key has the money. The V3 file is encrypted with the passphrase.",
        check=lambda values: "" if values["passphrase"] else "Type the passphrase.",
    )


def words_content(words: str) -> Content:
    """Recovery words, numbered, a few a line."""
    cells = [
        Content.assemble((f"{number:>2} ", "dim"), (word.ljust(11), "bold"))
        for number, word in enumerate(words.split(), start=1)
    ]
    lines = [Content("").join(cells[at : at + _WORDS_A_LINE]) for at in range(0, len(cells), _WORDS_A_LINE)]
    return Content("\n").join(lines)


def word_check_form(words: str, position: int) -> FormSpec:
    """Proves that the words were written down, by asking for one."""
    wanted = words.split()[position]
    return FormSpec(
        title="Prove the backup",
        fields=(Field("word", f"Word number {position + 1}"),),
        verb="Check",
        note="From what you wrote down, not from the screen.",
        check=lambda values: (
            "" if values["word"].strip().lower() == wanted else "That is another word. Look at your notes again."
        ),
    )
