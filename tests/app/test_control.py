"""The control socket: every call of the node's API reaches a running node, and nothing else does."""

import asyncio
import stat
from contextlib import asynccontextmanager

import msgspec
import pytest

from app.control.client import attach
from app.control.protocol import METHODS, Answer, Call, ControlError, read_frame, write_frame
from app.control.server import serve_control
from app.late import LateNode
from chain.errors import IdlewattError, UsageError
from node.api import NodeApi
from node.values import ChatDelta, ChatMessage, ChatTurn, Notice, Prices
from node.wire import framing
from tests.patience import PATIENCE_S


class RecordingNode:
    """A node that remembers what it was asked; its snapshot is that of a node still starting."""

    def __init__(self):
        self.asked = []
        self.chat_ended = asyncio.Event()
        self._late = LateNode(demo=False, why="Recording.")

    def snapshot(self):
        return self._late.snapshot()

    async def go_online(self, model="", prices=None):
        self.asked.append((model, prices))

    async def withdraw(self, wallet_id, amount_nano, to=""):
        if amount_nano == 13:
            raise IdlewattError("No.", code="spend_limit", fix="Take another.")
        if amount_nano == 16:
            raise UsageError("No.", code="unknown_model")
        if amount_nano == 15:
            raise IdlewattError("No.", peer_code="unlucky", fix="Take another.")
        if amount_nano == 14:
            raise RuntimeError("secret detail")
        return f"{wallet_id}:{amount_nano}:{to}"

    @asynccontextmanager
    async def chat(self, turn):
        async def events():
            for message in turn.messages:
                yield ChatDelta(text=message.content, output_tokens=1, spent_nano=1)
            await asyncio.Event().wait()

        try:
            yield events()
        finally:
            self.chat_ended.set()

    @asynccontextmanager
    async def subscribe(self):
        async def events():
            yield Notice(severity="warning", text="look")

        yield events()


@pytest.fixture
async def served(tmp_path):
    node = RecordingNode()
    path = tmp_path / "node.sock"
    async with serve_control(node, path):
        yield node, path


async def test_the_socket_is_its_owners_alone(served):
    _, path = served
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_arguments_and_results_cross_with_their_types(served):
    node, path = served
    attached = await attach(path)
    prices = Prices(input_nano_per_mtok=1, output_nano_per_mtok=2**63)

    await attached.go_online("demo", prices)

    assert node.asked == [("demo", prices)]
    assert await attached.withdraw("main", None, to="0xab") == "main:None:0xab"
    assert attached.snapshot().why == "Recording."


async def test_a_refusal_keeps_its_code_and_fix(served):
    attached = await attach(served[1])

    with pytest.raises(IdlewattError, match=r"^No\.$") as refusal:
        await attached.withdraw("main", 13)
    assert (refusal.value.code, refusal.value.fix) == ("spend_limit", "Take another.")


async def test_a_refusal_keeps_a_word_that_only_another_version_knows(served):
    attached = await attach(served[1])

    with pytest.raises(IdlewattError, match=r"^No\.$") as refusal:
        await attached.withdraw("main", 15)
    assert (refusal.value.code, refusal.value.wire_code) == ("failed", "unlucky")
    assert refusal.value.fix == "Take another."


async def test_the_callers_own_mistake_is_one_through_the_socket_too(served):
    attached = await attach(served[1])

    with pytest.raises(UsageError, match=r"^No\.$") as refusal:
        await attached.withdraw("main", 16)
    assert (refusal.value.code, refusal.value.entry.exit_status) == ("unknown_model", 2)


async def test_an_inner_failure_is_not_told_to_the_caller(served, caplog):
    attached = await attach(served[1])

    with pytest.raises(IdlewattError, match="failed unexpectedly") as failure:
        await attached.withdraw("main", 14)
    assert failure.value.code == "internal"
    assert "secret detail" in caplog.text


async def test_hanging_up_cancels_a_stream(served):
    node, path = served
    attached = await attach(path)
    turn = ChatTurn(messages=(ChatMessage("user", "one"), ChatMessage("user", "two")))

    async with attached.chat(turn) as events:
        heard = [(await anext(events)).text, (await anext(events)).text]

    assert heard == ["one", "two"]
    await asyncio.wait_for(node.chat_ended.wait(), PATIENCE_S)


async def test_events_cross_and_end(served):
    attached = await attach(served[1])

    async with attached.subscribe() as events:
        assert [event async for event in events] == [Notice(severity="warning", text="look")]


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET / HTTP/1.1\r\n\r\n", b"\xff\xff\xff\xff", b"\0\0\0\1\xc1", b"\0\0\0\x05hello", bytes(range(192, 256))],
)
async def test_garbage_on_the_socket_hurts_nobody(served, sent):
    _, path = served
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(sent)
    writer.write_eof()
    await asyncio.wait_for(reader.read(), PATIENCE_S)
    writer.close()

    assert (await attach(path)).snapshot().why == "Recording."


async def test_what_is_no_method_of_the_api_is_refused_on_both_ends(served):
    _, path = served
    with pytest.raises(AttributeError):
        (await attach(path)).format_disk()

    reader, writer = await asyncio.open_unix_connection(path)
    await write_frame(writer, Call("format_disk", {}))
    answer = msgspec.msgpack.decode(await read_frame(reader), type=Answer)
    writer.close()

    assert "format_disk" in answer.message


async def test_nobody_there_is_said_plainly(tmp_path):
    with pytest.raises(ControlError, match="does not answer"):
        await attach(tmp_path / "node.sock")


def test_every_method_of_the_api_can_be_called():
    public = {name for name in vars(NodeApi) if not name.startswith("_")}
    assert set(METHODS) == public


async def test_a_node_that_is_still_starting_says_so_and_then_forwards():
    late = LateNode(demo=True, why="Starting the network.")
    assert late.api.snapshot().why == "Starting the network."
    waiting = asyncio.ensure_future(late.api.withdraw("main", 5))
    node = RecordingNode()

    late.arrived(node)

    assert await waiting == "main:5:"
    async with late.api.chat(ChatTurn(messages=(ChatMessage("user", "hi"),))) as events:
        assert (await anext(events)).text == "hi"


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\xc0",
        msgspec.msgpack.encode({"type": "later"}),
        msgspec.msgpack.encode({"type": "end", "value": {"renamed": 1}}),
        msgspec.msgpack.encode({"type": "end", "value": msgspec.Raw(b"\x91" * 5_000 + b"\xc0")}),
        msgspec.msgpack.encode({"type": "failure", "message": "No.", "fix": "", "code": ["usage"]}),
        b"\x84\xa4type\xa7failure\xa4code\xa1\xff\xa7message\xa1m\xa3fix\xa1f",
    ],
)
async def test_a_node_of_another_version_is_refused_with_what_to_do(tmp_path, said):
    async def answer(reader, writer):
        writer.write(framing.frame(said))
        writer.close()

    server = await asyncio.start_unix_server(answer, tmp_path / "node.sock")
    async with server:
        with pytest.raises(ControlError, match="this version") as refused:
            await attach(tmp_path / "node.sock")
    assert "same version" in refused.value.fix


async def test_a_call_that_is_nested_too_deeply_is_answered(tmp_path):
    deep = msgspec.Raw(b"\x91" * 5_000 + b"\xc0")
    async with serve_control(RecordingNode(), tmp_path / "node.sock"):
        reader, writer = await asyncio.open_unix_connection(tmp_path / "node.sock")
        await write_frame(writer, Call("unlock", {"passphrase": deep}))
        answer = msgspec.msgpack.decode(await read_frame(reader), type=Answer)
        writer.close()
    assert (answer.code, answer.message) == ("control_broken", "That is no call of this node.")


async def test_a_folder_where_the_socket_belongs_is_refused_by_name(tmp_path):
    (tmp_path / "node.sock").mkdir()
    with pytest.raises(ControlError, match=r"node\.sock") as refused:
        async with serve_control(RecordingNode(), tmp_path / "node.sock"):
            pass
    assert refused.value.code == "home_unusable"
