"""What was asked of a worker and isn't answered yet: streams of running requests, and questions with one answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from node.engine import ipc
from node.engine.process import WorkerProcess
from node.engine.protocol import EngineError
from node.engine.stream import ResponseStream

Reply = ipc.TokenCount | ipc.Measured | ipc.ScoreDone | ipc.EmbedDone
"""A worker's answer to a question that has one."""
RequestFrame = ipc.OutputText | ipc.Began | ipc.Ended | ipc.Refused | Reply
"""A frame that belongs to one request."""


class PendingRequests:
    """Gives a worker's frames to the stream or question that waits for them, by the ticket of each request."""

    def __init__(self) -> None:
        self._streams: dict[int, ResponseStream] = {}
        self._by_id: dict[str, ResponseStream] = {}
        self._answers: dict[int, asyncio.Future[Reply]] = {}
        self._next_ticket = 0

    @property
    def work_tokens(self) -> int:
        """Tokens that all running and waiting streams may take at most."""
        return sum(stream.work_tokens for stream in self._streams.values())

    def open(self, request_id: str, *, seed: int, window_tokens: int, work_tokens: int) -> ResponseStream:
        """A stream under a new ticket; `close` it.

        Args:
            request_id: The id that the caller knows it by.
            seed: The seed that the answer is drawn with.
            window_tokens: Tokens that the worker may be ahead of the reader.
            work_tokens: Tokens that prompt and answer may have together.

        Raises:
            EngineError: If a request with this id is running.
        """
        if request_id in self._by_id:
            raise EngineError("A request with this id is already running.", code="bad_request")
        stream = ResponseStream(self._ticket(), request_id, seed, window_tokens, work_tokens)
        self._streams[stream.ticket] = self._by_id[request_id] = stream
        return stream

    def close(self, stream: ResponseStream) -> None:
        """Forget a stream; frames that still come for it are dropped."""
        del self._streams[stream.ticket], self._by_id[stream.request_id]

    def running(self, request_id: str) -> ResponseStream | None:
        """The stream of a request that is neither over nor unknown."""
        stream = self._by_id.get(request_id)
        return None if stream is None or stream.over else stream

    async def ask(self, worker: WorkerProcess, question: Callable[[int], ipc.ToWorker]) -> Reply:
        """Send a question and wait for its one answer; cancelling the caller withdraws the question.

        Args:
            worker: The worker to ask.
            question: Makes the frame for a ticket.

        Raises:
            EngineError: If the worker refused it, or ended.
        """
        ticket = self._ticket()
        self._answers[ticket] = asyncio.get_running_loop().create_future()
        try:
            worker.send(question(ticket))
            return await self._answers[ticket]
        except asyncio.CancelledError:
            worker.send(ipc.Cancel(ticket))
            raise
        finally:
            del self._answers[ticket]

    def take(self, frame: RequestFrame) -> None:
        """Pass a frame on; it is dropped if its request is gone."""
        match frame:
            case ipc.OutputText() | ipc.Began() | ipc.Ended() | ipc.Refused():
                stream = self._streams.get(frame.ticket)
                if stream is not None:
                    stream.put(frame)
                elif isinstance(frame, ipc.Refused):
                    self._answer(frame.ticket, EngineError(frame.message, fix=frame.fix, peer_code=frame.code))
            case ipc.TokenCount() | ipc.Measured() | ipc.ScoreDone() | ipc.EmbedDone():
                self._answer(frame.ticket, frame)

    def fail(self, error: EngineError) -> None:
        """End everything with an error."""
        for stream in self._streams.values():
            stream.fail(error)
        for waiting in self._answers.values():
            if not waiting.done():
                waiting.set_exception(error)

    def _answer(self, ticket: int, answer: Reply | EngineError) -> None:
        waiting = self._answers.get(ticket)
        if waiting is None or waiting.done():
            return
        if isinstance(answer, EngineError):
            waiting.set_exception(answer)
        else:
            waiting.set_result(answer)

    def _ticket(self) -> int:
        self._next_ticket += 1
        return self._next_ticket
