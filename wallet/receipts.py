"""Receipts: what a provider says, signed, about one finished request; two different ones for one number are evidence.

The EIP-712 type has only static fields, so that a contract rebuilds the digest with one ``abi.encode`` and two hashes::

    Receipt(uint32 channel,uint32 sequence,bytes32 model,bytes32 engineBuild,bytes32 promptHash,bytes32 outputHash,
            uint32 inputTokens,uint32 outputTokens,uint64 cumulative,uint64 seed,bytes32 fingerprint,
            uint64 startedMs,uint64 finishedMs,address provider)

(without the line breaks). ``engineBuild`` is the keccak of the build's UTF-8 text; the other hashes are signed
as they are.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from chain.eip712 import RECEIPT_CONTENT_TYPE, RECEIPT_TYPE, SigningDomain, hash_struct
from chain.money import MAX_NANO
from chain.signing import SIGNATURE_BYTES, keccak256, recover
from chain.txs import ReceiptEvidence
from wallet.addresses import ADDRESS_BYTES, checksum_address
from wallet.vouchers import MAX_CHANNEL_ID, DigestSigner
from wallet.wallet_error import WalletError

MAX_ENGINE_BUILD_CHARS = 200

_U32 = 2**32 - 1
_U64 = 2**64 - 1

Hash = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Count = Annotated[int, msgspec.Meta(ge=0, le=_U32)]
Unsigned = Annotated[int, msgspec.Meta(ge=0)]


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """One request's facts, signed by the provider's account."""

    channel_id: Annotated[int, msgspec.Meta(ge=0, le=MAX_CHANNEL_ID)]
    sequence: Count
    """Counts the requests of this channel; the provider never signs two receipts with one number."""
    model_sha256: Hash
    engine_build: Annotated[str, msgspec.Meta(max_length=MAX_ENGINE_BUILD_CHARS)]
    prompt_hash: Hash
    output_hash: Hash
    input_tokens: Count
    output_tokens: Count
    cumulative_nano: Unsigned
    """What the channel owes in all after this request."""
    seed: Unsigned
    fingerprint_hash: Hash
    started_ms: Unsigned
    finished_ms: Unsigned
    provider: Annotated[bytes, msgspec.Meta(min_length=ADDRESS_BYTES, max_length=ADDRESS_BYTES)]
    signature: Annotated[bytes, msgspec.Meta(max_length=SIGNATURE_BYTES)] = b""
    """64 bytes, EIP-2098; empty before it is signed."""


def receipt_struct_hash(receipt: Receipt) -> bytes:
    """EIP-712's ``hashStruct`` of everything but the signature: equal for equal content."""
    content = receipt_content_hash(receipt)
    return hash_struct(RECEIPT_TYPE, receipt.channel_id, receipt.sequence, receipt.provider, content)


def receipt_content_hash(receipt: Receipt) -> bytes:
    """``hashStruct`` of what it says besides channel, sequence and provider."""
    return hash_struct(
        RECEIPT_CONTENT_TYPE,
        receipt.model_sha256,
        keccak256(receipt.engine_build.encode()),
        receipt.prompt_hash,
        receipt.output_hash,
        receipt.input_tokens,
        receipt.output_tokens,
        receipt.cumulative_nano,
        receipt.seed,
        receipt.fingerprint_hash,
        receipt.started_ms,
        receipt.finished_ms,
    )


def receipt_digest(domain: SigningDomain, receipt: Receipt) -> bytes:
    """The 32 bytes a provider signs."""
    return domain.digest(receipt_struct_hash(receipt))


def sign_receipt(account: DigestSigner, domain: SigningDomain, receipt: Receipt) -> Receipt:
    """The same receipt with the provider's signature.

    Raises:
        WalletError: ``bad_receipt`` if it names another provider, or holds a value the contracts can't read.
    """
    if receipt.provider != account.address or not _is_well_formed(receipt):
        raise WalletError("That receipt can't be signed by this wallet.", code="bad_receipt")
    return msgspec.structs.replace(receipt, signature=account.sign_digest(receipt_digest(domain, receipt)))


def verify_receipt(domain: SigningDomain, receipt: Receipt, provider: bytes) -> bool:
    """Whether ``provider`` (20 bytes) signed exactly this receipt for this deployment.

    Args:
        domain: The deployment's.
        receipt: The receipt, as a peer sent it.
        provider: The address that must have signed it; 20 bytes.
    """
    if receipt.provider != provider or not _is_well_formed(receipt):
        return False
    return recover(receipt_digest(domain, receipt), receipt.signature) == provider


def conflicts(first: Receipt, second: Receipt) -> bool:
    """Whether two receipts number the same request of one provider's channel and say different things about it.

    Signatures are not looked at: verify both before calling it evidence.
    """
    same_request = (first.provider, first.channel_id, first.sequence) == (
        second.provider,
        second.channel_id,
        second.sequence,
    )
    return same_request and receipt_struct_hash(first) != receipt_struct_hash(second)


def check_conflict(domain: SigningDomain, first: Receipt, second: Receipt) -> None:
    """Make sure that two receipts slash their provider on this deployment.

    Raises:
        WalletError: ``bad_receipt`` if they prove nothing.
    """
    if not conflicts(first, second) or not all(
        verify_receipt(domain, receipt, first.provider) for receipt in (first, second)
    ):
        raise WalletError("Those two receipts prove nothing on this chain.", code="bad_receipt")


def receipt_evidence(receipt: Receipt) -> ReceiptEvidence:
    """The receipt as a slash carries it: the hash of what it says, and its signature."""
    return ReceiptEvidence(receipt_content_hash(receipt), receipt.signature)


def receipt_facts(receipt: Receipt) -> dict[str, int | str]:
    """The receipt as plain JSON values: hashes and addresses in ``0x`` hex, money as a decimal string."""
    return {
        "channel_id": receipt.channel_id,
        "sequence": receipt.sequence,
        "model_sha256": receipt.model_sha256.hex(),
        "engine_build": receipt.engine_build,
        "prompt_hash": "0x" + receipt.prompt_hash.hex(),
        "output_hash": "0x" + receipt.output_hash.hex(),
        "input_tokens": receipt.input_tokens,
        "output_tokens": receipt.output_tokens,
        "cumulative_nano": str(receipt.cumulative_nano),
        "seed": str(receipt.seed),
        "fingerprint_hash": "0x" + receipt.fingerprint_hash.hex(),
        "started_ms": receipt.started_ms,
        "finished_ms": receipt.finished_ms,
        "provider": checksum_address(receipt.provider),
        "signature": "0x" + receipt.signature.hex(),
    }


def _is_well_formed(receipt: Receipt) -> bool:
    """The bounds that decoding enforces, again for values built in Python, plus those that msgspec can't express."""
    hashes = (receipt.model_sha256, receipt.prompt_hash, receipt.output_hash, receipt.fingerprint_hash)
    counts = (receipt.sequence, receipt.input_tokens, receipt.output_tokens)
    large = (receipt.seed, receipt.started_ms, receipt.finished_ms)
    return (
        all(len(value) == 32 for value in hashes)
        and all(0 <= value <= _U32 for value in counts)
        and all(0 <= value <= _U64 for value in large)
        and 0 <= receipt.channel_id <= MAX_CHANNEL_ID
        and 0 <= receipt.cumulative_nano <= MAX_NANO
        and len(receipt.provider) == ADDRESS_BYTES
        and _is_text(receipt.engine_build)
    )


def _is_text(text: str) -> bool:
    return len(text) <= MAX_ENGINE_BUILD_CHARS and not any("\ud800" <= letter <= "\udfff" for letter in text)
