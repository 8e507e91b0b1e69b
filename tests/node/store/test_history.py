import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from node.store import JobRecord, Role, Store, StoreError
from node.store.history import DAY_MS
from node.values import ChatSession
from node.values.inference import ChatMessage
from tests.wallet.keys import DOMAIN, account, receipt
from wallet.receipts import conflicts, sign_receipt

DEPLOYMENT, OTHER = "0x" + "ab" * 32, "0x" + "cd" * 32


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with await Store.open(tmp_path / "node.db") as opened:
        await opened.bind_deployment(DEPLOYMENT)
        yield opened


def job(job_id: str, *, role: Role = "provider", **changes: object) -> JobRecord:
    values: dict[str, object] = {
        "model": "demo",
        "peer": b"p" * 20,
        "started_ms": 1_000,
        "finished_ms": 2_000,
        "input_tokens": 10,
        "output_tokens": 20,
        "amount_nano": 300,
        "finish_reason": "stop",
        "tokens_per_s": 40.0,
        "channel_id": 1,
        "sequence": 0,
    }
    return JobRecord(job_id=job_id, role=role, **(values | changes))  # type: ignore[arg-type]


async def test_a_receipt_is_kept_once_and_found_by_its_number(store: Store) -> None:
    signed = sign_receipt(account(), DOMAIN, receipt(seed=2**64 - 1))
    assert await store.save_receipt("buyer", signed) is None
    assert await store.save_receipt("buyer", signed) is None
    assert await store.receipts() == [signed]
    assert await store.receipt("buyer", 3, 0) == signed
    assert await store.receipt("provider", 3, 0) is None
    assert await store.receipts(role="provider") == []


async def test_a_buyer_keeps_two_receipts_for_one_number_as_evidence(store: Store) -> None:
    first = sign_receipt(account(), DOMAIN, receipt())
    second = sign_receipt(account(), DOMAIN, receipt(output_hash=b"?" * 32))
    await store.save_receipt("buyer", first)
    evidence = await store.save_receipt("buyer", second)
    assert evidence == first
    assert conflicts(evidence, second)
    assert await store.receipts(channel_id=3) == [second, first]
    assert await store.receipt("buyer", 3, 0) == first


async def test_a_provider_never_keeps_a_second_receipt_for_a_number(store: Store) -> None:
    first = sign_receipt(account(), DOMAIN, receipt())
    await store.save_receipt("provider", first)
    with pytest.raises(StoreError) as caught:
        await store.save_receipt("provider", sign_receipt(account(), DOMAIN, receipt(output_tokens=1)))
    assert caught.value.code == "receipt_conflict"
    assert await store.receipts() == [first]


async def test_receipts_are_listed_newest_first_and_filtered(store: Store) -> None:
    for channel_id, sequence in ((3, 0), (3, 1), (4, 0)):
        await store.save_receipt("buyer", receipt(channel_id=channel_id, sequence=sequence))
    listed = [(found.channel_id, found.sequence) for found in await store.receipts(role="buyer", limit=2)]
    assert listed == [(4, 0), (3, 1)]
    assert len(await store.receipts(channel_id=3)) == 2


async def test_receipts_belong_to_their_chain(store: Store) -> None:
    await store.save_receipt("buyer", receipt())
    await store.archive_foreign(OTHER)
    assert await store.receipts() == []
    assert await store.save_receipt("buyer", receipt(output_tokens=7)) is None


async def test_a_job_is_replaced_by_what_is_known_later(store: Store) -> None:
    await store.save_job(job("a", finished_ms=None, finish_reason="", amount_nano=0))
    assert (await store.totals("provider")).jobs == 0
    await store.save_job(job("a"))
    await store.save_job(job("a", role="buyer", amount_nano=5))
    assert await store.jobs(role="provider") == [job("a")]
    assert len(await store.jobs()) == 2
    assert await store.jobs(role="buyer") == [job("a", role="buyer", amount_nano=5)]


async def test_jobs_are_paged_newest_first(store: Store) -> None:
    for index in range(5):
        await store.save_job(job(f"j{index}", started_ms=index * 10, finished_ms=index * 10 + 1))
    page = await store.jobs(2)
    assert [found.job_id for found in page] == ["j4", "j3"]
    assert [found.job_id for found in await store.jobs(2, before_ms=page[-1].started_ms)] == ["j2", "j1"]


async def test_sums_cover_finished_jobs_since_then(store: Store) -> None:
    await store.save_job(job("old", finished_ms=1_000, amount_nano=1))
    await store.save_job(job("new", finished_ms=5_000, amount_nano=20))
    await store.save_job(job("bad", finished_ms=6_000, amount_nano=0, output_tokens=0, error_code="engine_crashed"))
    await store.save_job(job("mine", role="buyer", amount_nano=7))
    earned = await store.earnings(since_ms=2_000)
    assert (earned.jobs, earned.failed, earned.amount_nano, earned.output_tokens) == (2, 1, 20, 20)
    assert (await store.earnings()).amount_nano == 21
    assert (await store.totals("buyer")).amount_nano == 7
    assert (await store.totals("buyer", since_ms=9_999)).jobs == 0


async def test_earnings_of_another_chain_are_not_counted_but_still_listed(store: Store) -> None:
    await store.save_job(job("a"))
    await store.archive_foreign(OTHER)
    assert (await store.earnings()).amount_nano == 0
    assert len(await store.jobs()) == 1


async def test_sums_by_day_and_by_model(store: Store) -> None:
    await store.save_job(job("a", finished_ms=2 * DAY_MS + 5, amount_nano=1))
    await store.save_job(job("b", finished_ms=3 * DAY_MS - 1, amount_nano=2, tokens_per_s=0.0))
    await store.save_job(job("c", finished_ms=3 * DAY_MS, amount_nano=4, model="big", tokens_per_s=10.0))
    days = await store.net_totals("day")
    assert [(day.name, day.jobs, day.earned_nano) for day in days] == [(str(2 * DAY_MS), 2, 3), (str(3 * DAY_MS), 1, 4)]
    models = await store.net_totals("model")
    assert [(found.name, found.jobs, found.earned_nano) for found in models] == [("big", 1, 4), ("demo", 2, 3)]


async def test_jobs_that_a_crash_cut_short_end_as_interrupted(store: Store) -> None:
    await store.save_job(job("running", finished_ms=None, finish_reason=""))
    await store.save_job(job("done"))
    assert await store.end_unfinished_jobs(9_000) == 1
    assert await store.end_unfinished_jobs(9_000) == 0
    ended = {found.job_id: (found.finished_ms, found.error_code) for found in await store.jobs()}
    assert ended == {"running": (9_000, "interrupted"), "done": (2_000, "")}


async def test_a_job_with_impossible_numbers_is_refused(store: Store) -> None:
    with pytest.raises(StoreError) as caught:
        await store.save_job(job("a", amount_nano=2**63))
    assert caught.value.code == "bad_record"


def chat(session_id: str, *texts: str) -> ChatSession:
    messages = tuple(ChatMessage(role="user", content=text) for text in texts)
    return ChatSession(session_id=session_id, title=f"on {session_id}", model="demo", created_ms=1, messages=messages)


async def test_chats_are_saved_listed_and_deleted(store: Store) -> None:
    hostile = "[/x] \x1b[31m 🦙 \u202e"
    await store.save_chat(chat("a", "hello", hostile), updated_ms=10)
    await store.save_chat(chat("b"), updated_ms=20)
    assert await store.chats() == [chat("b"), chat("a", "hello", hostile)]
    await store.save_chat(msgspec.structs.replace(chat("a", "hi"), title="renamed"))
    assert [found.title for found in await store.chats()] == ["renamed", "on b"]
    assert await store.delete_chat("a")
    assert not await store.delete_chat("a")
    assert await store.chats(limit=1) == [chat("b")]


@pytest.mark.parametrize(
    "edit",
    [
        "messages = x'ffff'",
        "messages = x'9181a4726f6c65a475736572'",
        "messages = x''",
        "endings = x'c1'",
        "session_id = CAST(x'ff' AS TEXT)",
    ],
)
async def test_a_saved_chat_that_was_spoilt_leaves_the_others_readable(store: Store, tmp_path: Path, edit: str) -> None:
    """One row that was edited by hand, or half of a broken disk's, hid every saved chat."""
    await store.save_chat(chat("a", "hello"))
    await store.save_chat(chat("b", "hello"))
    with closing(sqlite3.connect(tmp_path / "node.db")) as database, database:
        database.execute(f"UPDATE chats SET {edit} WHERE session_id = 'a'")
    assert await store.chats() == [chat("b", "hello")]


async def test_a_saved_chat_whose_title_is_not_utf_8_keeps_its_messages(store: Store, tmp_path: Path) -> None:
    """SQLite's driver refuses a text that is no UTF-8, and with it every row."""
    await store.save_chat(chat("a", "hello"))
    with closing(sqlite3.connect(tmp_path / "node.db")) as database, database:
        database.execute("UPDATE chats SET title = CAST(x'6fff' AS TEXT)")
    (found,) = await store.chats()
    assert found == msgspec.structs.replace(chat("a", "hello"), title="o\ufffd")


async def test_settings_are_remembered(store: Store) -> None:
    assert await store.setting("relay") is None
    await store.save_setting("relay", "ws://one")
    await store.save_setting("relay", "ws://two")
    assert await store.setting("relay") == "ws://two"
