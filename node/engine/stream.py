"""One running request as its reader sees it: a queue that can't grow beyond the credit its worker was given."""

from __future__ import annotations

import asyncio
from collections import deque

from node.engine import ipc
from node.engine.protocol import Chunk, EngineError, EngineEvent, Finished, Started


class ResponseStream:
    """Events of one request, from the worker's frames to the reader.

    Args:
        ticket: The number its frames carry.
        request_id: The id the caller knows it by.
        seed: The seed that its answer is drawn with.
        window_tokens: Tokens the worker may be ahead of the reader.
        work_tokens: Tokens of prompt and answer that it may take.
    """

    def __init__(self, ticket: int, request_id: str, seed: int, window_tokens: int, work_tokens: int = 0) -> None:
        self.ticket = ticket
        self.request_id = request_id
        self.work_tokens = work_tokens
        self._seed = seed
        self._grant_at = max(1, window_tokens // 2)
        self._taken_tokens = 0
        self._events: deque[EngineEvent] = deque()
        self._error: EngineError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self.over = False

    def put(self, frame: ipc.Began | ipc.OutputText | ipc.Ended | ipc.Refused) -> None:
        """Take a frame of the worker."""
        match frame:
            case ipc.OutputText():
                self._events.append(
                    Chunk(
                        text=frame.text,
                        tokens=frame.tokens,
                        thinking=frame.thinking,
                        marker=frame.marker,
                        logprobs=frame.logprobs,
                    )
                )
            case ipc.Began():
                self._events.append(Started(input_tokens=frame.input_tokens, seed=self._seed))
            case ipc.Ended():
                self.over = True
                self._events.append(
                    Finished(
                        reason=frame.reason,
                        input_tokens=frame.input_tokens,
                        output_tokens=frame.output_tokens,
                        prefill_ms=frame.prefill_ms,
                        decode_ms=frame.decode_ms,
                    )
                )
            case ipc.Refused():
                self.fail(EngineError(frame.message, fix=frame.fix, peer_code=frame.code))
        self._wake()

    def fail(self, error: EngineError) -> None:
        """End the stream with an error, after what it holds already."""
        if not self.over:
            self.over = True
            self._error = error
            self._wake()

    async def next(self) -> EngineEvent:
        """The next event.

        Raises:
            EngineError: If the request failed.
        """
        while not self._events:
            if self._error is not None:
                raise self._error
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._events.popleft()

    def credit_for(self, chunk: Chunk) -> int:
        """Tokens to grant the worker now that the reader took this chunk; 0 until it is worth a frame."""
        self._taken_tokens += chunk.tokens
        if self._taken_tokens < self._grant_at or self.over:
            return 0
        granted, self._taken_tokens = self._taken_tokens, 0
        return granted

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
