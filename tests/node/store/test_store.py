import asyncio
import contextlib
import sqlite3
import stat
from pathlib import Path

import aiosqlite
import psutil
import pytest

from node.store import Store, StoreError
from node.store.database import APPLICATION_ID
from node.store.migrations import LATEST, v001
from node.store.sqlite_errors import path_error, store_error

FIRST, SECOND = "0x" + "AA" * 32, "0x" + "bb" * 32


async def add_channel(store: Store, signer: bytes = b"k" * 20) -> None:
    await store.record_opening(provider=b"p" * 20, signer=signer, salt=b"", deposit_nano=5, expiry_s=1, opened_at_ms=1)


async def test_the_file_is_its_owners_alone_and_durable(tmp_path: Path) -> None:
    path = tmp_path / "home" / "node.db"
    async with await Store.open(path) as store:
        await store.bind_deployment(FIRST)
        files = sorted(path.parent.iterdir())
        assert [file.name for file in files] == ["node.db", "node.db-shm", "node.db-wal"]
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        database = store._database
        assert await database.rows("PRAGMA journal_mode") == [("wal",)]
        assert await database.rows("PRAGMA synchronous") == [(2,)]
        assert await database.rows("PRAGMA user_version") == [(LATEST,)]
        assert await database.rows("PRAGMA application_id") == [(APPLICATION_ID,)]


async def test_the_first_chain_is_taken_and_another_is_noticed(tmp_path: Path) -> None:
    async with await Store.open(tmp_path / "node.db") as store:
        assert store.deployment is None
        assert await store.bind_deployment(FIRST)
        assert await store.bind_deployment(FIRST.lower())
        assert not await store.bind_deployment(SECOND)
        assert store.deployment == FIRST.lower()
    async with await Store.open(tmp_path / "node.db") as store:
        assert store.deployment == FIRST.lower()
        assert not await store.bind_deployment(SECOND)


async def test_channels_of_a_chain_that_is_gone_are_archived_and_come_back_with_it(tmp_path: Path) -> None:
    async with await Store.open(tmp_path / "node.db") as store:
        await store.bind_deployment(FIRST)
        await add_channel(store)
        await store.archive_foreign(SECOND, at_ms=77)
        assert await store.buyer_channels() == []
        await add_channel(store)
        (archived,) = await store.archived_deployments()
        assert (archived.deployment, archived.archived_at_ms) == (FIRST.lower(), 77)
        assert (archived.buyer_channels, archived.provider_channels) == (1, 0)
        assert len(await store.buyer_channels(deployment=FIRST.lower())) == 1
        await store.archive_foreign(SECOND)
        await store.archive_foreign(FIRST)
        assert store.deployment == FIRST.lower()
        assert len(await store.buyer_channels()) == 1
        assert [found.deployment for found in await store.archived_deployments()] == [SECOND]


async def test_nothing_is_kept_before_a_chain_is_known(tmp_path: Path) -> None:
    async with await Store.open(tmp_path / "node.db") as store:
        with pytest.raises(StoreError) as caught:
            await add_channel(store)
        assert caught.value.code == "no_deployment"
        assert await store.buyer_channels() == []
        assert await store.provider_channels() == []


async def test_channel_rows_cannot_be_deleted_or_lowered_even_by_hand(tmp_path: Path) -> None:
    async with await Store.open(tmp_path / "node.db") as store:
        await store.bind_deployment(FIRST)
        await add_channel(store)
        await store.confirm_opening(b"k" * 20, 1)
        await store.raise_signed(1, 3)
        for statement in (
            "DELETE FROM buyer_channels",
            "UPDATE buyer_channels SET signed_nano = 2",
            "UPDATE buyer_channels SET signed_nano = 6",
        ):

            async def by_hand(connection: aiosqlite.Connection, sql: str = statement) -> None:
                await connection.execute(sql)

            with pytest.raises(StoreError) as caught:
                await store._database.write(by_hand)
            assert caught.value.code == "bad_record"
        channel = await store.buyer_channel(1)
        assert channel is not None
        assert channel.signed_nano == 3


async def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "node.db")
    await store.close()
    await store.close()
    for attempt in (store.buyer_channels(), store.bind_deployment(FIRST)):
        with pytest.raises(StoreError) as caught:
            await attempt
        assert caught.value.code == "store_closed"


async def test_a_file_that_is_no_database_is_one_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "node.db"
    path.write_bytes(b"certainly not a database\n" * 100)
    with pytest.raises(StoreError) as caught:
        await Store.open(path)
    assert caught.value.code == "store_corrupt"
    assert str(path) in caught.value.fix


async def test_a_damaged_database_is_noticed_on_opening(tmp_path: Path) -> None:
    path = tmp_path / "node.db"
    async with await Store.open(path) as store:
        await store.bind_deployment(FIRST)
        for index in range(50):
            await add_channel(store, index.to_bytes(20, "big"))
    data = bytearray(path.read_bytes())
    for offset in range(4096 * 4, len(data) - 512, 4096):
        data[offset : offset + 512] = b"\xa5" * 512
    path.write_bytes(data)
    with pytest.raises(StoreError) as caught:
        await Store.open(path)
    assert caught.value.code == "store_corrupt"


async def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "node.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    with pytest.raises(StoreError) as caught:
        await Store.open(path)
    assert caught.value.code == "store_foreign"


async def test_a_database_of_the_first_version_goes_on_with_its_channels(tmp_path: Path) -> None:
    path = tmp_path / "node.db"
    connection = sqlite3.connect(path)
    for statement in v001.STATEMENTS:
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute("PRAGMA user_version = 1")
    connection.execute("INSERT INTO deployments VALUES (?, NULL)", (FIRST,))
    for number, state in enumerate(("open", "closing", "closed"), start=1):
        connection.execute(
            "INSERT INTO buyer_channels VALUES (?, ?, x'', ?, ?, 1000, 70, 9, ?, ?)",
            (FIRST, number.to_bytes(20, "big"), number, b"p" * 20, state, number),
        )
    connection.commit()
    connection.close()
    async with await Store.open(path) as store:
        assert [(c.channel_id, c.signed_nano, c.redeemed_nano) for c in await store.buyer_channels()] == [
            (3, 70, 70),
            (2, 70, 0),
            (1, 70, 0),
        ]


async def test_a_newer_database_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "node.db"
    await (await Store.open(path)).close()
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {LATEST + 1}")
    connection.close()
    with pytest.raises(StoreError) as caught:
        await Store.open(path)
    assert caught.value.code == "store_newer"


async def test_a_place_that_cannot_hold_a_file_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file" / "node.db", tmp_path):
        with pytest.raises(StoreError) as caught:
            await Store.open(path)
        assert caught.value.code == "store_unwritable"


async def test_two_processes_opening_a_new_home_at_once_migrate_it_once(tmp_path: Path) -> None:
    stores = await asyncio.gather(*(Store.open(tmp_path / "node.db") for _ in range(4)))
    assert await stores[0].bind_deployment(FIRST)
    for store in stores:
        await store.close()


async def test_a_full_disk_is_told_and_keeps_what_was_there(tmp_path: Path) -> None:
    async with await Store.open(tmp_path / "node.db") as store:
        await store.bind_deployment(FIRST)
        await store.save_setting("kept", "yes")
        (pages,) = (await store._database.rows("PRAGMA page_count"))[0]
        await store._database.rows(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(StoreError) as caught:
            await store.save_setting("large", "x" * 100_000)
        assert caught.value.code == "disk_full"
        assert await store.setting("large") is None
        assert await store.setting("kept") == "yes"
        await store.save_setting("kept", "still")
        assert await store.setting("kept") == "still"


async def test_a_database_that_another_process_holds_is_told(tmp_path: Path) -> None:
    path = tmp_path / "node.db"
    async with await Store.open(path) as store:
        await store._database.rows("PRAGMA busy_timeout = 1")
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError) as caught:
            await store.bind_deployment(FIRST)
        assert caught.value.code == "store_locked"
        other.execute("ROLLBACK")
        other.close()
        assert await store.bind_deployment(FIRST)


async def test_a_failing_transaction_leaves_nothing(tmp_path: Path) -> None:
    async with await Store.open(tmp_path / "node.db") as store:

        async def half(connection: aiosqlite.Connection) -> None:
            await connection.execute("INSERT INTO settings VALUES ('a', 'b')")
            raise LookupError("halfway")

        with pytest.raises(LookupError):
            await store._database.write(half)
        assert await store.setting("a") is None
        await store.save_setting("a", "c")
        assert await store.setting("a") == "c"


async def test_cancelling_a_writer_never_splits_its_transaction(tmp_path: Path) -> None:
    async with await Store.open(tmp_path / "node.db") as store:
        reached, go_on = asyncio.Event(), asyncio.Event()

        async def both(connection: aiosqlite.Connection) -> None:
            await connection.execute("INSERT INTO settings VALUES ('first', '1')")
            reached.set()
            await go_on.wait()
            await connection.execute("INSERT INTO settings VALUES ('second', '2')")

        writer = asyncio.create_task(store._database.write(both))
        await reached.wait()
        writer.cancel()
        reading = asyncio.create_task(store.setting("first"))
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await writer
        assert await reading == "1"
        assert await store.setting("second") == "2"


async def test_closing_waits_for_a_write_whose_caller_has_gone(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "node.db")
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def slow(connection: aiosqlite.Connection) -> None:
        reached.set()
        await go_on.wait()
        await connection.execute("INSERT INTO settings VALUES ('slow', 'kept')")

    writer = asyncio.create_task(store._database.write(slow))
    await reached.wait()
    writer.cancel()
    closing = asyncio.create_task(store.close())
    go_on.set()
    await closing
    with pytest.raises(asyncio.CancelledError):
        await writer
    async with await Store.open(tmp_path / "node.db") as again:
        assert await again.setting("slow") == "kept"


async def test_a_reader_that_waited_for_a_closing_store_is_told(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "node.db")
    async with store._database._lock:
        closing = asyncio.create_task(store.close())
        while not store._database._closed:
            await asyncio.sleep(0.01)
        reading = asyncio.create_task(store.setting("a"))
    await closing
    with pytest.raises(StoreError) as caught:
        await reading
    assert caught.value.code == "store_closed"


async def test_a_transaction_that_is_itself_cancelled_is_undone(tmp_path: Path) -> None:
    async with await Store.open(tmp_path / "node.db") as store:
        reached = asyncio.Event()

        async def endless(connection: aiosqlite.Connection) -> None:
            await connection.execute("INSERT INTO settings VALUES ('a', 'b')")
            reached.set()
            await asyncio.Event().wait()

        writer = asyncio.create_task(store._database.write(endless))
        await reached.wait()
        (inner,) = store._database._writes
        inner.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writer
        assert await store.setting("a") is None


async def test_numbers_sqlite_cannot_hold_are_a_bad_record(tmp_path: Path) -> None:
    async with await Store.open(tmp_path / "node.db") as store:

        async def huge(connection: aiosqlite.Connection) -> None:
            await connection.execute("INSERT INTO settings VALUES (?, ?)", ("n", 2**70))

        with pytest.raises(StoreError) as caught:
            await store._database.write(huge)
        assert caught.value.code == "bad_record"


async def test_a_read_that_fails_is_coded_too(tmp_path: Path) -> None:
    async with await Store.open(tmp_path / "node.db") as store:
        with pytest.raises(StoreError) as caught:
            await store._database.rows("SELECT * FROM nowhere")
        assert caught.value.code == "store_failed"


async def test_a_broken_deployments_table_does_not_leave_the_file_open(tmp_path: Path) -> None:
    path = tmp_path / "node.db"
    async with await Store.open(path):
        assert str(path) in open_files()
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("DROP TABLE deployments")
    with pytest.raises(StoreError) as caught:
        await Store.open(path)
    assert caught.value.code == "store_failed"
    assert str(path) not in open_files()


def open_files() -> set[str]:
    return {file.path for file in psutil.Process().open_files()}


def test_file_system_failures_are_told_apart() -> None:
    assert path_error(OSError(28, "No space left on device"), Path("x")).code == "disk_full"
    assert path_error(OSError(13, "Permission denied"), Path("x")).code == "store_unwritable"
    assert path_error(OSError("odd"), Path("x")).message == "The database can't be opened (OSError)."
    assert store_error(sqlite3.ProgrammingError("closed"), Path("x")).code == "store_closed"
    assert store_error(sqlite3.OperationalError("?"), Path("x")).code == "store_failed"
