"""Asks a server for embeddings, text by text, so that each text's tokens are known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from node.engine.protocol import Embeddings, EngineError
from node.engine.upstream import answers as a
from node.engine.upstream import dialect as d
from node.engine.upstream.refusals import broken
from node.engine.upstream.server import Server
from node.engine.upstream.vectors import EmbeddingAnswer, Vector, read_vector

EMBED_S: Final = 120.0


async def embed_texts(server: Server, texts: Sequence[str], *, length: int, context_length: int) -> Embeddings:
    """A vector for each text.

    Args:
        server: The server to ask.
        texts: Checked texts, none empty.
        length: Numbers in a vector, as the server showed when it was tried.
        context_length: Tokens that a text may have.

    Raises:
        UpstreamError: If the server fails.
        EngineError: With code ``context_too_long`` if a text is too long.
    """
    vectors = []
    for text in texts:
        vector = await embed_text(server, text)
        if len(vector.numbers) != length:
            raise broken("an embedding of another length")
        # A text that fills the context may have been cut off there in silence.
        if vector.tokens >= context_length:
            raise _too_long()
        vectors.append(vector)
    return Embeddings(
        vectors=tuple(vector.numbers for vector in vectors),
        input_tokens=tuple(vector.tokens for vector in vectors),
    )


async def embed_text(server: Server, text: str) -> Vector:
    """The vector of one text.

    Raises:
        UpstreamError: If the server makes none.
        EngineError: With code ``context_too_long`` if it took only the beginning of the text.
    """
    async with server.access.held():
        body = d.embedding_body(server.model, text)
        vector = read_vector(await server.client.embed(body, EmbeddingAnswer, timeout_s=EMBED_S))
        if server.dialect.cuts_embedded:
            count = d.text_count_body(text)
            whole = await server.client.post("/extras/tokenize/count", count, a.CountReply, timeout_s=EMBED_S)
            if vector.tokens < whole.count:
                raise _too_long()
    return vector


def _too_long() -> EngineError:
    return EngineError(
        "A text is longer than the provider's server embeds.", code="context_too_long", fix="Cut it into parts."
    )
