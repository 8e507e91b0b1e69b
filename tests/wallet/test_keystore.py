import asyncio
import errno
import os
import secrets
import stat
from pathlib import Path
from typing import Any

import msgspec
import pytest

from chain.signing import SECP256K1_N
from tests.patience import PATIENCE_S
from tests.wallet.keys import ADDRESS_HEX, JUNK_ADDRESSES, JUNK_MNEMONIC, PRIVATE_KEY, TEST_SCRYPT_N
from wallet import v3
from wallet.addresses import checksum_address
from wallet.ethereum import eth_account
from wallet.keystore import Keystore
from wallet.wallet_error import WalletError

Account = eth_account()

PASSPHRASE = "correct horse – battery ✓"
ADDRESS = bytes.fromhex(ADDRESS_HEX[2:])

SPECIFICATION_FILE: dict[str, Any] = {
    "address": "008aeeda4d805471df9b2a5b0f38a0c3bcba786b",
    "crypto": {
        "cipher": "aes-128-ctr",
        "cipherparams": {"iv": "83dbcc02d8ccb40e466191a123791e0e"},
        "ciphertext": "d172bf743a674da9cdad04534d56926ef8358534d458fffccd4e6ad2fbde479c",
        "kdf": "scrypt",
        "kdfparams": {
            "dklen": 32,
            "n": 262144,
            "p": 8,
            "r": 1,
            "salt": "ab0c7876052600dd703518d6fc3fe8984592145b591fc8fb5c6d43190334ba19",
        },
        "mac": "2103ac29920d71da29f15d75b4a16dbe95cfd7ff8faea1056c33131d846e3097",
    },
    "id": "3198bc9c-6672-5ab3-d995-4942343ae5b6",
    "version": 3,
}
"""The example of the Web3 Secret Storage definition; its passphrase is ``testpassword``."""


@pytest.fixture
def keystore(tmp_path: Path) -> Keystore:
    return Keystore(tmp_path / "home" / "keystore", scrypt_n=TEST_SCRYPT_N)


def changed(**crypto: Any) -> bytes:
    return msgspec.json.encode(SPECIFICATION_FILE | {"crypto": SPECIFICATION_FILE["crypto"] | crypto})


def with_params(**params: Any) -> bytes:
    return changed(kdfparams=SPECIFICATION_FILE["crypto"]["kdfparams"] | params)


async def test_a_created_wallet_unlocks_with_its_passphrase_and_with_no_other(keystore: Keystore) -> None:
    address = await keystore.create(PASSPHRASE)
    assert (await keystore.unlock(None, PASSPHRASE)).address == address
    assert (await keystore.unlock(address, PASSPHRASE)).address == address
    with pytest.raises(WalletError) as caught:
        await keystore.unlock(None, PASSPHRASE + "x")
    assert caught.value.code == "wrong_passphrase"
    assert PASSPHRASE not in caught.value.line()


async def test_key_files_are_their_owners_alone(keystore: Keystore) -> None:
    await keystore.create(PASSPHRASE)
    (entry,) = await keystore.accounts()
    assert stat.S_IMODE(entry.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(keystore.directory.stat().st_mode) == 0o700
    assert [path.name for path in keystore.directory.iterdir()] == [entry.path.name]
    assert entry.address_hex in {checksum_address(entry.address)}


async def test_eth_account_opens_what_the_keystore_wrote(keystore: Keystore) -> None:
    await keystore.import_private_key("0x" + PRIVATE_KEY.hex(), PASSPHRASE)
    exported = await keystore.export_v3()
    assert bytes(Account.decrypt(exported.decode(), PASSPHRASE)) == PRIVATE_KEY


async def test_the_example_of_the_specification_opens(keystore: Keystore) -> None:
    address = await keystore.import_v3(msgspec.json.encode(SPECIFICATION_FILE), "testpassword", PASSPHRASE)
    assert address.hex() == SPECIFICATION_FILE["address"]
    exported = await keystore.export_private_key(address, PASSPHRASE)
    assert exported == "0x7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d"


async def test_a_pbkdf2_file_with_capitalized_keys_opens_too(keystore: Keystore) -> None:
    sealed = Account.encrypt(PRIVATE_KEY, "file", kdf="pbkdf2", iterations=3)
    old_style = {"Version": 3, "Crypto": sealed["crypto"]}
    assert await keystore.import_v3(msgspec.json.encode(old_style), "file", PASSPHRASE) == ADDRESS


async def test_a_private_key_comes_in_and_goes_out(keystore: Keystore) -> None:
    assert await keystore.import_private_key(PRIVATE_KEY.hex().upper(), PASSPHRASE) == ADDRESS
    assert await keystore.export_private_key(None, PASSPHRASE) == "0x" + PRIVATE_KEY.hex()


async def test_a_mnemonic_gives_the_accounts_that_every_wallet_gives(keystore: Keystore) -> None:
    for index, expected in enumerate(JUNK_ADDRESSES):
        address = await keystore.import_mnemonic(f"  {JUNK_MNEMONIC.upper()}\n", PASSPHRASE, index)
        assert checksum_address(address) == expected


async def test_fresh_words_restore_the_wallet_they_made(keystore: Keystore, tmp_path: Path) -> None:
    wallet = await keystore.create_with_mnemonic(PASSPHRASE)
    assert wallet.mnemonic not in repr(wallet)
    elsewhere = Keystore(tmp_path / "elsewhere", scrypt_n=TEST_SCRYPT_N)
    assert await elsewhere.import_mnemonic(wallet.mnemonic, "another") == wallet.address


@pytest.mark.parametrize(
    "words",
    ["", "test", " ".join(["test"] * 12), " ".join(["notaword"] * 12), JUNK_MNEMONIC.replace("junk", "absurd")],
)
async def test_wrong_words_are_refused_without_being_quoted(keystore: Keystore, words: str) -> None:
    with pytest.raises(WalletError) as caught:
        await keystore.import_mnemonic(words, PASSPHRASE)
    assert caught.value.code == "bad_mnemonic"
    assert "notaword" not in caught.value.line()


async def test_impossible_mnemonic_requests_are_refused(keystore: Keystore) -> None:
    with pytest.raises(WalletError, match="12, 15"):
        await keystore.create_with_mnemonic(PASSPHRASE, words=13)
    for index in (-1, 2**31):
        with pytest.raises(WalletError, match="out of range"):
            await keystore.import_mnemonic(JUNK_MNEMONIC, PASSPHRASE, index)


@pytest.mark.parametrize("text", ["", "0x", "12", "zz" * 32, "00" * 32, f"{SECP256K1_N:064x}", "ff" * 33])
async def test_what_is_no_private_key_is_refused_without_being_quoted(keystore: Keystore, text: str) -> None:
    with pytest.raises(WalletError) as caught:
        await keystore.import_private_key(text, PASSPHRASE)
    assert caught.value.code == "bad_key"
    assert len(text) < 8 or text not in caught.value.line()
    assert await keystore.accounts() == []


@pytest.mark.parametrize("passphrase", ["", " ", "\t\n", "\udcff"])
async def test_an_empty_passphrase_is_refused_everywhere(keystore: Keystore, passphrase: str, tmp_path: Path) -> None:
    file = tmp_path / "backup.json"
    file.write_bytes(v3.seal_key(PRIVATE_KEY, PASSPHRASE, TEST_SCRYPT_N))
    attempts = [
        keystore.create(passphrase),
        keystore.create_with_mnemonic(passphrase),
        keystore.import_private_key(PRIVATE_KEY.hex(), passphrase),
        keystore.import_mnemonic(JUNK_MNEMONIC, passphrase),
        keystore.import_v3(file.read_bytes(), PASSPHRASE, passphrase),
    ]
    for attempt in attempts:
        with pytest.raises(WalletError) as caught:
            await attempt
        assert caught.value.code == "empty_passphrase"
    await keystore.create(PASSPHRASE)
    with pytest.raises(WalletError, match="The passphrase is"):
        await keystore.unlock(None, passphrase)


async def test_a_wallet_is_never_overwritten(keystore: Keystore) -> None:
    await keystore.import_private_key(PRIVATE_KEY.hex(), PASSPHRASE)
    before = await keystore.export_v3()
    for attempt in (
        keystore.import_private_key(PRIVATE_KEY.hex(), "another"),
        keystore.import_v3(before, PASSPHRASE, "another"),
    ):
        with pytest.raises(WalletError) as caught:
            await attempt
        assert caught.value.code == "wallet_exists"
    assert await keystore.export_v3() == before


async def test_two_imports_at_once_keep_one_file_whole(keystore: Keystore) -> None:
    results = await asyncio.gather(
        *(keystore.import_private_key(PRIVATE_KEY.hex(), f"passphrase {n}") for n in range(4)), return_exceptions=True
    )
    winners = [n for n, result in enumerate(results) if result == ADDRESS]
    assert len(winners) == 1
    assert all(isinstance(result, WalletError) for n, result in enumerate(results) if n not in winners)
    assert (await keystore.unlock(None, f"passphrase {winners[0]}")).address == ADDRESS
    assert len(list(keystore.directory.iterdir())) == 1


async def test_without_a_name_only_a_lone_wallet_is_meant(keystore: Keystore) -> None:
    with pytest.raises(WalletError) as caught:
        await keystore.unlock(None, PASSPHRASE)
    assert caught.value.code == "no_wallet"
    assert caught.value.fix
    first, second = await keystore.create(PASSPHRASE), await keystore.create(PASSPHRASE)
    with pytest.raises(WalletError) as caught:
        await keystore.unlock(None, PASSPHRASE)
    assert caught.value.code == "ambiguous_wallet"
    assert {entry.address for entry in await keystore.accounts()} == {first, second}
    assert (await keystore.unlock(second, PASSPHRASE)).address == second
    with pytest.raises(WalletError) as caught:
        await keystore.unlock(bytes(20), PASSPHRASE)
    assert caught.value.code == "no_wallet"


async def test_files_of_other_tools_are_found_and_other_files_ignored(keystore: Keystore) -> None:
    keystore.directory.mkdir(parents=True)
    sealed = v3.seal_key(PRIVATE_KEY, PASSPHRASE, TEST_SCRYPT_N)
    (keystore.directory / f"UTC--2024-01-02T03-04-05.678Z--{ADDRESS_HEX[2:].lower()}").write_bytes(sealed)
    (keystore.directory / "hot").mkdir()
    (keystore.directory / "notes.txt").write_text("not a key")
    assert [entry.address for entry in await keystore.accounts()] == [ADDRESS]
    assert (await keystore.unlock(ADDRESS, PASSPHRASE)).address == ADDRESS


async def test_a_file_under_another_wallets_name_is_refused(keystore: Keystore) -> None:
    keystore.directory.mkdir(parents=True)
    (keystore.directory / f"0x{'11' * 20}.json").write_bytes(v3.seal_key(PRIVATE_KEY, PASSPHRASE, TEST_SCRYPT_N))
    with pytest.raises(WalletError) as caught:
        await keystore.unlock(None, PASSPHRASE)
    assert caught.value.code == "bad_keystore"


async def test_a_backup_that_was_cut_short_is_refused(keystore: Keystore, tmp_path: Path) -> None:
    address = await keystore.create(PASSPHRASE)
    backup = await keystore.export_v3(address)
    elsewhere = Keystore(tmp_path / "elsewhere", scrypt_n=TEST_SCRYPT_N)
    with pytest.raises(WalletError) as caught:
        await elsewhere.import_v3(backup[:-40], PASSPHRASE, PASSPHRASE)
    assert caught.value.code == "bad_keystore"
    with pytest.raises(WalletError, match="Wrong passphrase"):
        await elsewhere.import_v3(backup, "wrong", PASSPHRASE)
    assert await elsewhere.accounts() == []
    assert await elsewhere.import_v3(backup, PASSPHRASE, PASSPHRASE) == address


HOSTILE_FILES = {
    "nothing": b"",
    "no JSON": b"\xff\xfe{",
    "another type": b"[]",
    "a number": b"7",
    "deep nesting": b"[" * 60_000,
    "too large": b" " * (v3.MAX_FILE_BYTES + 1),
    "version 4": msgspec.json.encode(SPECIFICATION_FILE | {"version": 4}),
    "version as text": msgspec.json.encode(SPECIFICATION_FILE | {"version": "3"}),
    "no crypto": msgspec.json.encode({"version": 3}),
    "another cipher": changed(cipher="aes-256-gcm"),
    "unknown kdf": changed(kdf="argon2"),
    "long ciphertext": changed(ciphertext="00" * 64),
    "mac of the wrong type": changed(mac=7),
    "n of 2^40": with_params(n=2**40),
    "n of 2^31": with_params(n=2**31),
    "n no power of two": with_params(n=262143),
    "n of 1": with_params(n=1),
    "n negative": with_params(n=-(2**18)),
    "n a float": with_params(n=2.5),
    "r huge": with_params(r=2**20),
    "p huge": with_params(p=2**20),
    "dklen huge": with_params(dklen=2**30),
    "salt huge": with_params(salt="00" * 1000),
    "salt odd": with_params(salt="abc"),
    "parameters missing": changed(kdfparams={}),
    "parameters a list": changed(kdfparams=[1]),
    "pbkdf2 of 2^31 rounds": changed(
        kdf="pbkdf2", kdfparams={"c": 2**31, "prf": "hmac-sha256", "salt": "00", "dklen": 32}
    ),
    "pbkdf2 with sha-1": changed(kdf="pbkdf2", kdfparams={"c": 2, "prf": "hmac-sha1", "salt": "00", "dklen": 32}),
    "address of the wrong length": msgspec.json.encode(SPECIFICATION_FILE | {"address": "00"}),
}


@pytest.mark.timeout(PATIENCE_S)
@pytest.mark.parametrize("name", sorted(HOSTILE_FILES))
async def test_a_hostile_file_is_refused_before_any_work_is_done(keystore: Keystore, name: str) -> None:
    with pytest.raises(WalletError) as caught:
        await keystore.import_v3(HOSTILE_FILES[name], "testpassword", PASSPHRASE)
    assert caught.value.code == "bad_keystore"
    assert "\n" not in caught.value.line()


async def test_a_file_that_names_another_address_is_refused(keystore: Keystore) -> None:
    sealed = msgspec.json.decode(v3.seal_key(PRIVATE_KEY, "file", TEST_SCRYPT_N)) | {"address": "11" * 20}
    with pytest.raises(WalletError, match="another address"):
        await keystore.import_v3(msgspec.json.encode(sealed), "file", PASSPHRASE)


async def test_a_file_whose_key_is_zero_is_refused(keystore: Keystore) -> None:
    sealed = Account.encrypt(PRIVATE_KEY, "file", kdf="scrypt", iterations=TEST_SCRYPT_N)
    # In counter mode, xor-ing the ciphertext with the plaintext gives the ciphertext of zero.
    ciphertext = bytes(a ^ b for a, b in zip(bytes.fromhex(sealed["crypto"]["ciphertext"]), PRIVATE_KEY, strict=True))
    sealed["crypto"]["ciphertext"] = ciphertext.hex()
    sealed["crypto"]["mac"] = _mac_of(sealed, "file", ciphertext)
    with pytest.raises(WalletError, match="no private key"):
        await keystore.import_v3(msgspec.json.encode(sealed), "file", PASSPHRASE)


def _mac_of(sealed: dict[str, Any], passphrase: str, ciphertext: bytes) -> str:
    import hashlib

    from chain.signing import keccak256

    params = sealed["crypto"]["kdfparams"]
    derived = hashlib.scrypt(
        passphrase.encode(), salt=bytes.fromhex(params["salt"]), n=params["n"], r=params["r"], p=params["p"], dklen=32
    )
    return keccak256(derived[16:32] + ciphertext).hex()


async def test_deriving_a_key_never_holds_the_loop(tmp_path: Path) -> None:
    keystore = Keystore(tmp_path, scrypt_n=2**16)
    creating = asyncio.create_task(keystore.create(PASSPHRASE))
    turns = 0
    while not creating.done():
        await asyncio.sleep(0.001)
        turns += 1
    assert await creating
    assert turns > 3


async def test_a_full_disk_is_told_and_leaves_no_half_file(keystore: Keystore, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WalletError) as caught:
        await keystore.create(PASSPHRASE)
    assert caught.value.code == "disk_full"
    monkeypatch.undo()
    assert list(keystore.directory.iterdir()) == []


async def test_a_place_that_is_no_folder_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "keystore").write_text("a file")
    keystore = Keystore(tmp_path / "keystore", scrypt_n=TEST_SCRYPT_N)
    with pytest.raises(WalletError) as caught:
        await keystore.create(PASSPHRASE)
    assert caught.value.code == "keystore_unusable"
    below = Keystore(tmp_path / "keystore" / "deeper", scrypt_n=TEST_SCRYPT_N)
    with pytest.raises(WalletError):
        await below.create(PASSPHRASE)


async def test_a_key_file_that_grew_absurdly_is_not_read_whole(keystore: Keystore) -> None:
    await keystore.create(PASSPHRASE)
    (entry,) = await keystore.accounts()
    entry.path.write_bytes(b" " * (v3.MAX_FILE_BYTES + 1))
    with pytest.raises(WalletError, match="too large"):
        await keystore.unlock(None, PASSPHRASE)


async def test_running_out_of_memory_while_unlocking_is_one_clear_line(
    keystore: Keystore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await keystore.create(PASSPHRASE)

    def exhausted(*_: object) -> bytes:
        raise MemoryError

    monkeypatch.setattr(Account, "decrypt", exhausted)
    with pytest.raises(WalletError, match="more memory"):
        await keystore.unlock(None, PASSPHRASE)


async def test_a_library_failure_other_than_the_mac_does_not_blame_the_passphrase(
    keystore: Keystore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await keystore.create(PASSPHRASE)

    def broken(*_: object) -> bytes:
        raise ValueError("something else")

    monkeypatch.setattr(Account, "decrypt", broken)
    with pytest.raises(WalletError) as caught:
        await keystore.unlock(None, PASSPHRASE)
    assert caught.value.code == "bad_keystore"


async def test_a_drawn_number_that_is_no_key_is_drawn_again(
    keystore: Keystore, monkeypatch: pytest.MonkeyPatch
) -> None:
    draws = iter([bytes(32), PRIVATE_KEY])
    original = secrets.token_bytes

    def draw(count: int) -> bytes:
        return next(draws, None) or original(count)

    monkeypatch.setattr(secrets, "token_bytes", draw)
    assert await keystore.create(PASSPHRASE) == ADDRESS
