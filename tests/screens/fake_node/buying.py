"""Recorded offers, and conversations with what they offer."""

import asyncio
from contextlib import asynccontextmanager

from node.values import ChatDelta, ChatDone, ChatMessage, ChatQuote, ChatSession, ChatStage, OfferView, Prices
from tests.screens.fake_node.constants import ANSWER, NOW_MS, PRICES, SELLER, SHA
from tests.screens.fake_node.jobs import receipt
from tests.screens.fake_node.played import Played


def offer(number, **changes):
    values = {
        "offer_id": f"offer-{number}",
        "provider": f"0x{number:02x}" + "ab" * 19,
        "node_id": f"{number:064x}",
        "model": f"idlewatt-demo-{number}",
        "model_sha256": SHA,
        "architecture": "llama",
        "quantization": "Q8_0",
        "parameters": 4_200_000,
        "context_length": 512,
        "prices": Prices(input_nano_per_mtok=100_000_000 * number, output_nano_per_mtok=200_000_000 * number),
        "slots": 4,
        "free_slots": 3,
        "tokens_per_s": 400.0 / number,
        "ttft_ms": 38.0 * number,
        "min_deposit_nano": 10_000_000,
        "stake_nano": 0,
        "engine_build": "llama.cpp b6000 cpu",
        "abilities": ("chat", "turns", "system"),
        "expires_ms": NOW_MS + 240_000,
    }
    return OfferView(**(values | changes))


def offers():
    return (
        offer(1, mine=True),
        offer(
            2,
            model="Qwen3-8B-Instruct",
            quantization="Q4_K_M",
            architecture="qwen3",
            parameters=8_190_000_000,
            context_length=32_768,
        ),
        offer(
            3,
            model="Llama-3.3-70B",
            quantization="Q4_0",
            parameters=70_600_000_000,
            context_length=8_192,
            free_slots=0,
            tokens_per_s=11.2,
            ttft_ms=2_400,
        ),
        offer(4, model="Mistral-Small-24B", quantization="Q6_K", parameters=23_600_000_000, context_length=16_384),
    )


def chat_script(text=ANSWER):
    yield ChatStage(stage="choosing", detail="4 offers")
    yield ChatStage(stage="opening_channel", detail="deposit $0.10")
    yield ChatQuote(
        job_id="job-chat",
        model="idlewatt-demo-q8",
        model_sha256=SHA,
        provider=SELLER,
        channel_id=7,
        input_tokens=24,
        max_output_tokens=512,
        ceiling_nano=104_800,
        prices=PRICES,
    )
    for count, start in enumerate(range(0, len(text), 9), start=1):
        yield ChatDelta(text=text[start : start + 9], output_tokens=count, spent_nano=2_400 + 200 * count)
    yield ChatDone(
        job_id="job-chat",
        reason="stop",
        input_tokens=24,
        output_tokens=42,
        cost_nano=10_800,
        deposit_left_nano=99_968_800,
        ttft_ms=38.0,
        tokens_per_s=118.4,
        total_ms=420.0,
        receipt=receipt(),
    )


class BuyingCalls(Played):
    """What ``NodeApi`` says about buying."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.offers = offers()
        self.script = chat_script
        self.sessions = [
            ChatSession(
                session_id="old",
                title="What is a voucher?",
                model="idlewatt-demo-q8",
                created_ms=NOW_MS - 86_400_000,
                messages=(
                    ChatMessage("user", "What is a voucher?"),
                    ChatMessage("assistant", "A signed promise to pay."),
                ),
            ),
        ]

    async def market(self):
        self._called("market")
        return self.offers

    @asynccontextmanager
    async def chat(self, turn):
        self._called("chat", turn)

        async def play():
            items = list(self.script())
            for at, item in enumerate(items):
                if self.hold is not None and at == len(items) - 1:
                    await self.hold.wait()
                yield item

        events = play()
        try:
            yield events
        except asyncio.CancelledError:
            self.left_early.set()
            raise
        finally:
            await events.aclose()

    async def chat_sessions(self):
        return tuple(self.sessions)

    async def save_chat(self, session):
        self._called("save_chat", session)
        self.sessions = [session, *(kept for kept in self.sessions if kept.session_id != session.session_id)]

    async def delete_chat(self, session_id):
        self._called("delete_chat", session_id)
        self.sessions = [kept for kept in self.sessions if kept.session_id != session_id]
