r"""The sealed channel between buyer and provider: a sans-I/O state machine over opaque frames.

The pattern is Noise's NK (https://noiseprotocol.org/noise.html#interactive-handshake-patterns-fundamental): the buyer
(initiator) is anonymous and brings a fresh X25519 key ``e_i``; the provider (responder) answers with a fresh ``e_r``
and proves that it holds the static transport key ``s_r`` from its signed offer, because one of the two mixed secrets
needs it::

    -> version ‖ e_i                       es = X25519(e_i, s_r)
    <- version ‖ e_r ‖ header ‖ sealed(transcript)   ee = crypto_kx(e_i, e_r)

    transcript = BLAKE2b-256(protocol name ‖ version ‖ s_r ‖ e_i ‖ e_r)
    key of a direction = BLAKE2b-256(key = the direction's crypto_kx key, es ‖ transcript)

``ee`` gives forward secrecy: a transport key stolen later opens no recorded session. ``es`` gives authentication: the
first frame, which seals the transcript, opens only if the responder knew ``s_r``. The primitives are libsodium's; the
framing is not Noise's own, because each direction continues as a libsodium *secretstream*, which detects reordering,
replay, loss and, by its final tag, truncation.

Plaintexts are padded to whole blocks of ``PAD_BLOCK_BYTES``, so a frame's length says how many blocks it holds and no
more.
"""

from __future__ import annotations

from typing import Final, Literal

import nacl.bindings as sodium
import nacl.exceptions

from chain.errors import IdlewattError

PAD_BLOCK_BYTES: Final = 256
MAX_FRAME_BYTES: Final = 65_536
"""The largest sealed frame either side makes or opens; it fits one relay frame."""

_VERSION: Final = b"\x01"
_PROTOCOL: Final = b"idlewatt sealed NK X25519 BLAKE2b secretstream"
_KEY_BYTES: Final = 32
_HEADER_BYTES: Final = sodium.crypto_secretstream_xchacha20poly1305_HEADERBYTES
_TAG_BYTES: Final = sodium.crypto_secretstream_xchacha20poly1305_ABYTES
_MORE: Final = sodium.crypto_secretstream_xchacha20poly1305_TAG_MESSAGE
_FINAL: Final = sodium.crypto_secretstream_xchacha20poly1305_TAG_FINAL
_MAX_BLOCKS: Final = (MAX_FRAME_BYTES - _HEADER_BYTES - _TAG_BYTES) // PAD_BLOCK_BYTES

MAX_PLAINTEXT_BYTES: Final = _MAX_BLOCKS * PAD_BLOCK_BYTES - 1
"""The largest plaintext of one frame: padding takes at least one byte."""

_CRYPTO_FAILURES: Final = (nacl.exceptions.CryptoError, RuntimeError, ValueError, TypeError)


class SealError(IdlewattError):
    """The channel is broken: a frame was forged, replayed, lost, cut or out of turn. The session must end."""

    default_code = "seal_broken"


def generate_transport_key() -> bytes:
    """Return a fresh X25519 secret key of 32 bytes."""
    return sodium.crypto_kx_keypair()[1]


def transport_public_key(secret_key: bytes) -> bytes:
    """Return the X25519 public key that belongs to ``secret_key``, as an offer carries it."""
    return sodium.crypto_scalarmult_base(secret_key)


class _SealedChannel:
    """What both ends share once their keys are agreed: one secretstream each way."""

    def __init__(self) -> None:
        self._push = sodium.crypto_secretstream_xchacha20poly1305_state()
        self._pull = sodium.crypto_secretstream_xchacha20poly1305_state()
        self._receive_key = b""
        self._pending_header = b""
        self._phase: Literal["hello", "open", "broken"] = "hello"
        self._pull_ready = False
        self._sent_final = False
        self._read_final = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._phase}>"

    __reduce__ = None  # type: ignore[assignment]  # keys never travel in a pickle

    @property
    def ready(self) -> bool:
        """Whether the handshake is done and frames can be sealed and opened."""
        return self._phase == "open"

    @property
    def closed(self) -> bool:
        """Whether the peer's final frame was read: nothing of what it sent is missing."""
        return self._read_final

    @property
    def ended(self) -> bool:
        """Whether this side has sealed its final frame: nothing can follow."""
        return self._sent_final

    def seal(self, plaintext: bytes, *, final: bool = False) -> bytes:
        """Seal the next frame of this direction.

        Args:
            plaintext: At most ``MAX_PLAINTEXT_BYTES``; empty is allowed.
            final: Whether this is the last frame; the peer can then tell an end from a cut.

        Raises:
            SealError: If the handshake isn't done, the channel is broken or ended, or ``plaintext`` is too long.
        """
        if self._phase != "open":
            raise SealError("The sealed channel isn't open." if self._phase == "hello" else "The sealed channel broke.")
        if self._sent_final:
            raise SealError("The sealed channel was already ended by this side.")
        if len(plaintext) > MAX_PLAINTEXT_BYTES:
            raise SealError(f"{len(plaintext)} bytes don't fit one sealed frame of {MAX_PLAINTEXT_BYTES} bytes.")
        self._sent_final = final
        padded = sodium.sodium_pad(plaintext, PAD_BLOCK_BYTES)
        tag = _FINAL if final else _MORE
        sealed = sodium.crypto_secretstream_xchacha20poly1305_push(self._push, padded, tag=tag)
        header, self._pending_header = self._pending_header, b""
        return header + sealed

    def open(self, frame: bytes) -> bytes:
        """Open the peer's next frame; any failure breaks the channel for good.

        Raises:
            SealError: If the frame is not exactly the next one that the peer sealed.
        """
        if self._phase != "open":
            raise SealError("The sealed channel isn't open." if self._phase == "hello" else "The sealed channel broke.")
        try:
            return self._open(frame)
        except SealError:
            self._phase = "broken"
            raise

    def expect_closed(self) -> None:
        """Check, when the transport has ended, that the peer had ended the channel.

        Raises:
            SealError: If the peer's final frame is missing: the stream was cut.
        """
        if not self._read_final:
            self._phase = "broken"
            raise SealError("The sealed channel was cut before its end.")

    def _open(self, frame: bytes) -> bytes:
        if self._read_final:
            raise SealError("A frame came after the end of the sealed channel.")
        if len(frame) > MAX_FRAME_BYTES:
            raise SealError("A sealed frame is larger than allowed.")
        if not self._pull_ready:
            self._start_pull(frame[:_HEADER_BYTES])
            frame = frame[_HEADER_BYTES:]
        body_bytes = len(frame) - _TAG_BYTES
        if body_bytes <= 0 or body_bytes % PAD_BLOCK_BYTES:
            raise SealError("A sealed frame has an impossible length.")
        try:
            padded, tag = sodium.crypto_secretstream_xchacha20poly1305_pull(self._pull, frame)
            plaintext = sodium.sodium_unpad(padded, PAD_BLOCK_BYTES)
        except _CRYPTO_FAILURES:
            raise SealError("A sealed frame is not the one the peer sent.") from None
        if tag not in {_MORE, _FINAL}:
            raise SealError("A sealed frame carries an unknown tag.")
        self._read_final = tag == _FINAL
        return plaintext

    def _start_pull(self, header: bytes) -> None:
        if len(header) != _HEADER_BYTES:
            raise SealError("The sealed channel's first frame is too short.")
        try:
            sodium.crypto_secretstream_xchacha20poly1305_init_pull(self._pull, header, self._receive_key)
        except _CRYPTO_FAILURES:
            raise SealError("The sealed channel's first frame is malformed.") from None
        self._receive_key = b""
        self._pull_ready = True

    def _start(self, *, send_key: bytes, receive_key: bytes) -> None:
        self._pending_header = sodium.crypto_secretstream_xchacha20poly1305_init_push(self._push, send_key)
        self._receive_key = receive_key
        self._phase = "open"

    def _public_key_of(self, hello: bytes, length: int) -> bytes:
        if self._phase != "hello":
            raise SealError("The sealed channel got a second hello.")
        if len(hello) != length:
            raise SealError("The sealed channel's hello has the wrong length.")
        if hello[:1] != _VERSION:
            raise SealError("The peer seals with another version.")
        return hello[1 : 1 + _KEY_BYTES]


_REPLY_BYTES: Final = 1 + _KEY_BYTES + _HEADER_BYTES + PAD_BLOCK_BYTES + _TAG_BYTES


class SealedInitiator(_SealedChannel):
    """The buyer's end: anonymous, and sure to talk to the holder of ``provider_transport_public_key``.

    Args:
        provider_transport_public_key: The X25519 key from the provider's signed offer, 32 bytes.

    Raises:
        SealError: If the key isn't 32 bytes.
    """

    def __init__(self, provider_transport_public_key: bytes) -> None:
        super().__init__()
        if len(provider_transport_public_key) != _KEY_BYTES:
            raise SealError("A transport key has 32 bytes.")
        self._provider_key = bytes(provider_transport_public_key)
        self._public, self._secret = sodium.crypto_kx_keypair()
        self._greeted = False

    def hello(self) -> bytes:
        """Return the first message, once.

        Raises:
            SealError: If it was already made.
        """
        if self._greeted:
            raise SealError("The sealed channel's hello was already sent.")
        self._greeted = True
        return _VERSION + self._public

    def receive_hello(self, reply: bytes) -> bytes | None:
        """Take the provider's answer; afterwards the channel is open. Returns ``None``: nothing more is to be sent.

        Raises:
            SealError: If the answer isn't from the holder of the transport key.
        """
        if not self._greeted:
            raise SealError("The sealed channel's hello wasn't sent yet.")
        peer = self._public_key_of(reply, _REPLY_BYTES)
        try:
            receive_kx, send_kx = sodium.crypto_kx_client_session_keys(self._public, self._secret, peer)
            static_secret = sodium.crypto_scalarmult(self._secret, self._provider_key)
        except _CRYPTO_FAILURES:
            self._phase = "broken"
            raise SealError("The peer's key is unusable.") from None
        finally:
            self._secret = b""
        transcript = _transcript(self._provider_key, self._public, peer)
        self._start(
            send_key=_direction_key(send_kx, static_secret, transcript),
            receive_key=_direction_key(receive_kx, static_secret, transcript),
        )
        if self.open(reply[1 + _KEY_BYTES :]) != transcript:
            self._phase = "broken"
            raise SealError("The provider's proof doesn't match the handshake.")
        return None


class SealedResponder(_SealedChannel):
    """The provider's end, authenticated by its static transport key.

    Args:
        transport_secret_key: The X25519 secret key whose public half stands in the signed offer, 32 bytes.

    Raises:
        SealError: If the key isn't 32 bytes.
    """

    def __init__(self, transport_secret_key: bytes) -> None:
        super().__init__()
        if len(transport_secret_key) != _KEY_BYTES:
            raise SealError("A transport key has 32 bytes.")
        self._static_secret = bytes(transport_secret_key)

    def receive_hello(self, hello: bytes) -> bytes:
        """Take the buyer's first message and return the answer to send; afterwards the channel is open.

        Raises:
            SealError: If the message is malformed or its key is unusable.
        """
        peer = self._public_key_of(hello, 1 + _KEY_BYTES)
        public, secret = sodium.crypto_kx_keypair()
        try:
            receive_kx, send_kx = sodium.crypto_kx_server_session_keys(public, secret, peer)
            static_secret = sodium.crypto_scalarmult(self._static_secret, peer)
        except _CRYPTO_FAILURES:
            self._phase = "broken"
            raise SealError("The peer's key is unusable.") from None
        transcript = _transcript(transport_public_key(self._static_secret), peer, public)
        self._static_secret = b""
        self._start(
            send_key=_direction_key(send_kx, static_secret, transcript),
            receive_key=_direction_key(receive_kx, static_secret, transcript),
        )
        return _VERSION + public + self.seal(transcript)


def _transcript(responder_static: bytes, initiator: bytes, responder: bytes) -> bytes:
    data = len(_PROTOCOL).to_bytes(1, "big") + _PROTOCOL + _VERSION + responder_static + initiator + responder
    return _blake2b(data, key=b"")


def _direction_key(kx_key: bytes, static_secret: bytes, transcript: bytes) -> bytes:
    return _blake2b(static_secret + transcript, key=kx_key)


def _blake2b(data: bytes, *, key: bytes) -> bytes:
    return sodium.crypto_generichash_blake2b_salt_personal(
        data, digest_size=_KEY_BYTES, key=key, person=b"idlewatt-sealed\x00"
    )
