"""Who proves on L1, and the salts of its commitments."""

from __future__ import annotations

from collections.abc import Callable

from chain.signing import checksum_address, keccak256

_SALT_LABEL = b"idlewatt fraud proof salt"


class Prover:
    """The account that proves on L1, and the salts of its commitments, which a restarted watchtower derives again.

    Args:
        address: Of the key that the L1 connection sends with; 20 bytes.
        sign_digest: Signs 32 bytes with that key, always alike; what only it can sign, only it can derive salts from.
    """

    def __init__(self, address: bytes, sign_digest: Callable[[bytes], bytes]) -> None:
        self.address = address
        self._secret = keccak256(sign_digest(keccak256(_SALT_LABEL)))

    def salt(self, rollup: bytes, identity: bytes, frame: int) -> bytes:
        """The salt for a frame of a batch: 32 bytes that nobody else can guess.

        Args:
            rollup: The rollup contract's address.
            identity: `core.identity` of the batch.
            frame: The wrong frame's place in it.
        """
        return keccak256(self._secret + rollup + identity + frame.to_bytes(4, "big"))

    def __repr__(self) -> str:
        return f"<Prover {checksum_address(self.address)}>"
