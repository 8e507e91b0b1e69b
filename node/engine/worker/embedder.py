"""The worker's loop for an embedding model: it turns texts into vectors, and refuses the rest in a clear line."""

from __future__ import annotations

from node.engine import ipc
from node.engine.protocol import EngineError
from node.engine.worker.connection import EngineConnection
from node.engine.worker.extra_context import Weights
from node.engine.worker.score_embed import ScoreEmbedQueue

_NO_CHAT = "This is an embedding model: it writes no text."


class EmbeddingLoop:
    """Serves embeddings.

    Args:
        connection: Where frames come from and go to.
        weights: What is loaded; this loop alone touches it.
        config: The frame that began it all.
    """

    def __init__(self, connection: EngineConnection, weights: Weights, config: ipc.Load) -> None:
        self._connection = connection
        self._extra = ScoreEmbedQueue(weights, config, lambda _messages: [])
        self._quit = False

    def run(self) -> None:
        """Serve until told to quit.

        Raises:
            ParentGoneError: If the engine is gone.
        """
        try:
            while not self._quit:
                out: list[ipc.FromWorker] = []
                for frame in self._connection.receive(wait_ms=0 if self._extra.waiting else None):
                    if (answer := self._take(frame)) is not None:
                        out.append(answer)
                if self._extra.waiting and (done := self._extra.step()) is not None:
                    out.append(done)
                if out:
                    self._connection.send(out)
        finally:
            self._extra.close()

    def _take(self, frame: ipc.ToWorker) -> ipc.FromWorker | None:
        match frame:
            case ipc.Embed(ticket=ticket):
                try:
                    self._extra.submit(frame)
                except EngineError as error:
                    return ipc.Refused(ticket, error.code, error.message, error.fix)
            case ipc.Generate(ticket=ticket) | ipc.Count(ticket=ticket) | ipc.Score(ticket=ticket):
                return ipc.Refused(ticket, "bad_request", _NO_CHAT, "Choose a chat model.")
            case ipc.Cancel(ticket=ticket):
                self._extra.cancel(ticket)
            case ipc.Measure(ticket=ticket):
                return ipc.Measured(ticket, 0.0, 0.0)
            case ipc.Ping():
                return ipc.Pong()
            case ipc.Quit():
                self._quit = True
            case ipc.Load():
                raise EngineError("A worker loads one model only.", code="engine_crashed")
            case _:
                pass
        return None
