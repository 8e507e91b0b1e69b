import stat
from pathlib import Path

import pytest

from tests.wallet.keys import voucher_key
from wallet.files import write_new_private_file
from wallet.voucher_keys import VoucherKeyStore
from wallet.wallet_error import WalletError


@pytest.fixture
def store(tmp_path: Path) -> VoucherKeyStore:
    return VoucherKeyStore(tmp_path / "keystore" / "hot")


async def test_a_saved_key_signs_the_same_after_a_restart(store: VoucherKeyStore, tmp_path: Path) -> None:
    await store.save(voucher_key())
    await store.save(voucher_key())
    again = await VoucherKeyStore(tmp_path / "keystore" / "hot").load(voucher_key().address)
    assert again.sign_digest(bytes(32)) == voucher_key().sign_digest(bytes(32))
    (file,) = (tmp_path / "keystore" / "hot").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_the_store_lists_and_removes_its_keys(store: VoucherKeyStore, tmp_path: Path) -> None:
    assert await store.signers() == []
    keys = [voucher_key(seed) for seed in (1, 2, 3)]
    for key in keys:
        await store.save(key)
    (tmp_path / "keystore" / "hot" / "stray").write_text("x")
    assert await store.signers() == sorted(key.address for key in keys)
    await store.remove(keys[0].address)
    await store.remove(keys[0].address)
    assert await store.signers() == sorted(key.address for key in keys[1:])
    with pytest.raises(WalletError) as caught:
        await store.load(keys[0].address)
    assert caught.value.code == "no_voucher_key"


@pytest.mark.parametrize(
    "content", [b"", b"zz" * 32, b"00" * 32 + b"\n", b"01" * 32 + b"\n", b"\xff" * 10, b"1" * 1000]
)
async def test_a_damaged_key_file_is_refused(store: VoucherKeyStore, tmp_path: Path, content: bytes) -> None:
    signer = voucher_key().address
    write_new_private_file(tmp_path / "keystore" / "hot" / f"0x{signer.hex()}.key", content)
    for attempt in (store.load(signer), store.save(voucher_key())):
        with pytest.raises(WalletError) as caught:
            await attempt
        assert caught.value.code == "bad_keystore"


async def test_a_place_that_is_no_folder_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "hot").write_text("a file")
    store = VoucherKeyStore(tmp_path / "hot")
    for attempt in (store.signers(), store.save(voucher_key()), store.remove(voucher_key().address)):
        with pytest.raises(WalletError) as caught:
            await attempt
        assert caught.value.code == "keystore_unusable"
