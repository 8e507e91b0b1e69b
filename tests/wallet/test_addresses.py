import pytest
from hypothesis import given
from hypothesis import strategies as st

from wallet.addresses import checksum_address, parse_address
from wallet.wallet_error import WalletError

EIP_55_EXAMPLES = (
    "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
    "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
    "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
    "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
)


@pytest.mark.parametrize("text", EIP_55_EXAMPLES)
def test_the_examples_of_eip_55_survive_the_round_trip(text: str) -> None:
    assert checksum_address(parse_address(text)) == text


@given(st.binary(min_size=20, max_size=20))
def test_every_address_reads_back_from_any_of_its_spellings(address: bytes) -> None:
    text = checksum_address(address)
    assert parse_address(f" {text}\n") == address
    assert parse_address("0x" + text[2:].lower()) == address
    assert parse_address("0x" + text[2:].upper()) == address


@pytest.mark.parametrize(
    "text", ["", "0x", "0x12", "5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "0x" + "g" * 40, "0x" + "٣" * 40]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(WalletError) as caught:
        parse_address(text)
    assert caught.value.code == "bad_address"


def test_a_mistyped_letter_is_caught_by_the_checksum() -> None:
    with pytest.raises(WalletError, match="mistyped"):
        parse_address("0x5AAeb6053F3E94C9b9A09f33669435E7Ef1BeAed")
