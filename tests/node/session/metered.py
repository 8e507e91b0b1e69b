"""A buyer, a provider and a wire between them in memory, so that both machines can be driven message by message."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from chain.eip712 import SigningDomain
from chain.signing import address_of, sign_digest
from chain.views import Inclusion
from node.session import buyer, buyer_io, messages, provider, provider_io
from node.session.terms import ChannelFacts
from node.values import Prices
from node.values.inference import ChatMessage, Sampling
from wallet.receipts import Receipt, sign_receipt
from wallet.vouchers import Voucher, sign_voucher

DOMAIN = SigningDomain(l1_chain_id=84_001, rollup_address=bytes(range(20)), salt=bytes(range(32)))
MODEL = bytes(range(32))
CHANNEL = 7


class Key:
    """A key pair for tests."""

    def __init__(self, number: int) -> None:
        self.secret = number.to_bytes(32, "big")
        self.address = address_of(self.secret)

    def sign_digest(self, digest: bytes) -> bytes:
        return sign_digest(self.secret, digest)


SELLER, PAYER, VOUCHER_KEY, STRANGER = (Key(number) for number in (11, 12, 13, 14))
PRICES = Prices(input_nano_per_mtok=100_000_000, output_nano_per_mtok=200_000_000)


def facts(**changes) -> ChannelFacts:
    values = {
        "channel_id": CHANNEL,
        "payer": PAYER.address,
        "payee": SELLER.address,
        "signer": VOUCHER_KEY.address,
        "deposit_nano": 10_000_000,
        "redeemed_nano": 0,
        "expiry_s": 100_000,
        "closing_at_s": 0,
        "inclusion": Inclusion.SOFT,
        "now_s": 1_000,
    }
    return ChannelFacts(**(values | changes))


def policy(**changes) -> provider.ProviderPolicy:
    values = {
        "domain": DOMAIN,
        "account": SELLER.address,
        "model_sha256": MODEL,
        "context_length": 4_096,
        "prices": PRICES,
    }
    return provider.ProviderPolicy(**(values | changes))


def ask(**changes) -> messages.Ask:
    values = {
        "request_id": "r1",
        "channel_id": CHANNEL,
        "model_sha256": MODEL,
        "messages": (ChatMessage("user", "What is 17 + 25?"),),
        "max_tokens": 256,
        "prices": PRICES,
        "max_cost_nano": 10_000_000,
        "sampling": Sampling(seed=3),
    }
    return messages.Ask(**(values | changes))


def voucher(cumulative_nano: int, key: Key = VOUCHER_KEY, channel_id: int = CHANNEL) -> Voucher:
    return sign_voucher(key, DOMAIN, channel_id, cumulative_nano)


def receipt_from(action: provider_io.IssueReceipt, key: Key = SELLER) -> Receipt:
    return sign_receipt(
        key,
        DOMAIN,
        Receipt(
            channel_id=action.channel_id,
            sequence=1,
            model_sha256=MODEL,
            engine_build="test",
            prompt_hash=action.prompt_hash,
            output_hash=action.output_hash,
            input_tokens=action.input_tokens,
            output_tokens=action.output_tokens,
            cumulative_nano=action.cumulative_nano,
            seed=action.seed,
            fingerprint_hash=action.fingerprint_hash,
            started_ms=action.started_ms,
            finished_ms=action.finished_ms,
            provider=key.address,
        ),
    )


@dataclass
class ProviderSide:
    """Runs a provider machine's actions at once, with an engine that is a list of (text, tokens)."""

    state: provider.ProviderState
    channel: ChannelFacts
    input_tokens: int = 9
    chunks: deque = field(default_factory=deque)
    finish: provider_io.EngineEnded = field(default_factory=lambda: provider_io.EngineEnded("stop", 50))
    sent: list = field(default_factory=list)
    actions: list = field(default_factory=list)
    stored: list = field(default_factory=list)
    generating: bool = False
    worst_exposure_excess_nano: int = -(2**63)

    def feed(self, event) -> None:
        self.state, actions = provider.step(self.state, event)
        self.check()
        for action in actions:
            self.actions.append(action)
            self.run(action)

    def check(self) -> None:
        excess = self.state.exposure_nano - self.state.window_nano
        self.worst_exposure_excess_nano = max(self.worst_exposure_excess_nano, excess)

    def run(self, action) -> None:
        match action:
            case provider_io.Send(message):
                self.sent.append(messages.decode(messages.encode(message)))
            case provider_io.CheckChannel(channel_id):
                if channel_id == self.channel.channel_id:
                    self.feed(provider_io.ChannelChecked(self.channel))
                else:
                    self.feed(provider_io.Refused("unknown_channel", "There is no such channel."))
            case provider_io.StoreVoucher(stored):
                self.stored.append(stored)
                self.feed(provider_io.VoucherStored(stored))
            case provider_io.CountInput():
                self.feed(provider_io.InputCounted(self.input_tokens))
            case provider_io.Generate(request):
                self.generating = True
                self.feed(provider_io.Started(self.input_tokens, request.sampling.seed or 0, 10))
            case provider_io.StopGenerating():
                self.generating = False
            case provider_io.IssueReceipt():
                self.feed(provider_io.ReceiptReady(receipt_from(action)))
            case provider_io.AgreeClose():
                self.feed(provider_io.CloseSigned(self.state.paid_nano, bytes(64)))
            case _:
                pass

    def turn_engine(self) -> bool:
        """Let the engine make one more chunk, if anybody reads it."""
        if not self.generating or not self.state.wants_chunks:
            return False
        if self.chunks:
            self.feed(provider_io.TextProduced(*self.chunks.popleft()))
        else:
            self.generating = False
            self.feed(self.finish)
        return True


@dataclass
class BuyerSide:
    """Runs a buyer machine's actions at once."""

    state: buyer.BuyerState
    sent: list = field(default_factory=list)
    actions: list = field(default_factory=list)
    signed: list = field(default_factory=list)

    @classmethod
    def asking(cls, request: messages.Ask, **terms) -> BuyerSide:
        values = {
            "domain": DOMAIN,
            "provider": SELLER.address,
            "signer": VOUCHER_KEY.address,
            "deposit_nano": 10_000_000,
            "signed_nano": 0,
        }
        state, actions = buyer.start(buyer.BuyerTerms(**(values | terms)), request)
        side = cls(state)
        for action in actions:
            side.run(action)
        return side

    def feed(self, event) -> None:
        self.state, actions = buyer.step(self.state, event)
        for action in actions:
            self.actions.append(action)
            self.run(action)

    def run(self, action) -> None:
        match action:
            case buyer_io.Send(message):
                self.sent.append(messages.decode(messages.encode(message)))
            case buyer_io.SignVoucher(cumulative_nano):
                signed = voucher(cumulative_nano, channel_id=self.state.ask.channel_id)
                self.signed.append(cumulative_nano)
                self.feed(buyer_io.Signed(signed))
            case _:
                pass

    @property
    def outcome(self):
        return next((a for a in self.actions if isinstance(a, buyer_io.Finished | buyer_io.Failed)), None)


def pump(buying: BuyerSide, selling: ProviderSide) -> None:
    """Carry messages both ways and turn the engine until nothing moves."""
    moved = True
    while moved:
        moved = False
        while buying.sent:
            selling.feed(provider_io.Received(buying.sent.pop(0)))
            moved = True
        while selling.sent:
            buying.feed(buyer_io.Received(selling.sent.pop(0)))
            moved = True
        moved = selling.turn_engine() or moved
