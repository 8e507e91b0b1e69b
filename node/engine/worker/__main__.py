"""``python -m node.engine.worker FD PARENT``: serve one model over an inherited socket, and die with the parent."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import socket
import sys

from node.engine import ipc
from node.engine.protocol import EngineError
from node.engine.worker.abilities import try_template
from node.engine.worker.connection import EngineConnection, ParentGoneError
from node.engine.worker.embedder import EmbeddingLoop
from node.engine.worker.loop import WorkerLoop
from node.engine.worker.markers import MarkerGuard
from node.engine.worker.model import LoadedModel
from node.engine.worker.prompt import PromptBuilder
from node.engine.worker.score_embed import embedding_length
from node.engine.worker.template import ChatTemplate
from node.values.inference import ChatMessage

_PR_SET_PDEATHSIG = 1
_PROGRESS_STEP = 0.02


def die_with(parent: int) -> None:
    """Have Linux kill this process when `parent` ends, however it ends; elsewhere the closed socket ends it."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it was gone before the kernel knew
        raise SystemExit(1)


def serve(sock: socket.socket) -> None:
    """Load what the first frame says and serve it until the engine says quit or is gone."""
    connection = EngineConnection(sock)
    try:
        while not (frames := connection.receive(wait_ms=None)):
            pass
        if not isinstance(frames[0], ipc.Load):
            raise SystemExit(2)
        connection.keep(frames[1:])
        _serve_model(connection, frames[0])
    except ParentGoneError:
        return


def _serve_model(connection: EngineConnection, config: ipc.Load) -> None:
    reported = -1.0

    def on_progress(progress: float) -> bool:
        nonlocal reported
        if progress - reported < _PROGRESS_STEP:
            return True
        reported = progress
        try:
            connection.send([ipc.Loading(progress)])
        except ParentGoneError:
            return False
        return True

    model: LoadedModel | None = None
    try:
        model = LoadedModel(config, on_progress)
        vocabulary = model.vocabulary
        vectors = embedding_length(model.model)
        if not model.chats:
            ready = (model.build, model.backend, vocabulary.size, config.fit.context_length)
            connection.send([ipc.Ready(*ready, 0.0, 0.0, chats=False, embedding_length=vectors)])
            EmbeddingLoop(connection, model, config).run()
            return
        template = ChatTemplate(config.chat_template, bos=vocabulary.bos_text, eos=vocabulary.eos_text)
        use = try_template(template)
        if template.completes:
            vocabulary.end_at_turns()
        guard = MarkerGuard(vocabulary.markers(config.chat_template or ""))
        thinking = template.thinking(vocabulary.special_texts(), use.names)
        prompts = PromptBuilder(template, vocabulary, guard, use)
        loop = WorkerLoop(connection, model, prompts, config, thinking=thinking)
        connection.send(
            [
                ipc.Ready(
                    model.build,
                    model.backend,
                    vocabulary.size,
                    config.fit.context_length,
                    *loop.speed,
                    True,
                    vectors,
                    model.threads,
                    use.abilities,
                    use.notes,
                    len(prompts.tokens((ChatMessage("user", "?"),))),
                )
            ],
        )
        loop.run()
    except EngineError as error:
        connection.send([ipc.LoadFailed(error.code, error.message, error.fix)])
    finally:
        if model is not None:
            model.close()


def main() -> None:
    """Start from the command line that the engine gives."""
    descriptor, parent = int(sys.argv[1]), int(sys.argv[2])
    die_with(parent)
    # ctrl-c goes to the whole terminal; the engine decides when its worker ends. No core file holds a prompt.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    with socket.socket(fileno=descriptor) as sock:
        serve(sock)


if __name__ == "__main__":
    main()
