"""The signed challenge by which a node proves its identity to one relay, and only to that one.

Both signatures cover the whole handshake so far, under different tags: the versions offered (so that nobody talks
both sides down to an older one), both public keys and both nonces. A node's signature names the relay it was made
for; shown to another relay, or to the same one under another challenge, it proves nothing.
"""

from __future__ import annotations

import secrets
from typing import Final

from nacl.exceptions import BadSignatureError, CryptoError
from nacl.signing import SigningKey, VerifyKey

from node.relay.circuit import NodeId
from node.wire.messages import Auth, Challenge, Hello
from node.wire.wire_error import WireError

_NODE_TAG: Final = b"idlewatt relay v1: node answers challenge\x00"
_RELAY_TAG: Final = b"idlewatt relay v1: relay makes challenge\x00"


def node_id(key: bytes) -> NodeId:
    """The identity that belongs to a 32-byte Ed25519 public key."""
    return NodeId(key.hex())


def node_key(node: NodeId) -> bytes:
    """The Ed25519 public key of an identity.

    Raises:
        WireError: If ``node`` isn't 64 hexadecimal digits.
    """
    try:
        key = bytes.fromhex(node)
    except ValueError:
        key = b""
    if len(key) != 32 or key.hex() != node:
        raise WireError("A node id is 64 lower-case hexadecimal digits.")
    return key


def make_challenge(hello: Hello, version: int, relay_key: SigningKey) -> Challenge:
    """Make a fresh challenge for the node that said ``hello``."""
    nonce = secrets.token_bytes(32)
    relay = bytes(relay_key.verify_key)
    proof = relay_key.sign(_transcript(_RELAY_TAG, hello, version, relay, nonce)).signature
    return Challenge(version, relay, nonce, proof)


def answer_challenge(hello: Hello, challenge: Challenge, key: SigningKey, *, token: bytes, received: int) -> Auth:
    """Check the relay's proof and sign its challenge.

    Raises:
        WireError: With code ``auth`` if the relay doesn't hold the key it names.
    """
    transcript = (hello, challenge.version, challenge.relay, challenge.nonce)
    _verify(
        challenge.relay,
        _transcript(_RELAY_TAG, *transcript),
        challenge.proof,
        "The relay failed to prove its identity.",
    )
    return Auth(key.sign(_transcript(_NODE_TAG, *transcript)).signature, token, received)


def check_answer(hello: Hello, challenge: Challenge, auth: Auth) -> None:
    """Check that the node that said ``hello`` signed exactly this challenge.

    Raises:
        WireError: With code ``auth`` if it didn't.
    """
    transcript = _transcript(_NODE_TAG, hello, challenge.version, challenge.relay, challenge.nonce)
    _verify(hello.node, transcript, auth.signature, "The challenge wasn't signed by the key that was named.")


def _transcript(tag: bytes, hello: Hello, version: int, relay: bytes, nonce: bytes) -> bytes:
    versions = b"".join(number.to_bytes(2, "big") for number in (hello.min_version, hello.max_version, version))
    return tag + versions + relay + nonce + hello.node + hello.nonce


def _verify(key: bytes, message: bytes, signature: bytes, complaint: str) -> None:
    try:
        VerifyKey(key).verify(message, signature)
    except (BadSignatureError, CryptoError, ValueError):
        raise WireError(complaint, code="auth") from None
