"""One question through the whole demo, settled, with the figures that show where the money went."""

from __future__ import annotations

import time

from app.asking import Answered, answered
from app.demo import Demo
from chain.client import RollupClient
from chain.views import Inclusion
from node.values import ChatDelta, ChatDone, ChatEvent, ChatMessage, ChatTurn, Sampling

BATCH_TIMEOUT_S = 30.0


async def ask_and_settle(demo: Demo, prompt: str, *, started_s: float) -> dict[str, object]:
    """Ask, then redeem and close the channel and wait until its batch stands on L1.

    Returns:
        The facts as the demo prints them: amounts in nano, times in ms since ``started_s``, the command's own start.

    Raises:
        IdlewattError: If the answer or the settlement fails.
    """
    async with RollupClient(demo.chain_url) as chain:
        buyer, provider = (side.snapshot().wallets[0].address for side in (demo.buyer, demo.seller))
        before = await _balances(chain, buyer, provider)
        answer, timing = await _ask(demo, prompt, started_s)
        quote, done = answer.quote, answer.done
        redeem_tx = await demo.seller.redeem(quote.channel_id)
        await demo.buyer.close_channel(quote.channel_id)
        channel = next(c for c in await demo.buyer.channels() if c.channel_id == quote.channel_id)
        await chain.flush()
        settled = await chain.wait_for(redeem_tx, Inclusion.BATCHED, timeout_s=BATCH_TIMEOUT_S)
        after = await _balances(chain, buyer, provider)
    timing["total_ms"] = _since_ms(started_s)
    return {
        "answer": answer.text,
        "finish_reason": answer.ending.reason,
        "model": {"name": quote.model, "sha256": quote.model_sha256},
        "usage": {"input_tokens": done.input_tokens, "output_tokens": done.output_tokens},
        "cost_nano": done.cost_nano,
        "buyer": buyer,
        "provider": provider,
        "channel": {
            "id": quote.channel_id,
            "deposit_nano": channel.deposit_nano,
            "redeemed_nano": channel.redeemed_nano,
        },
        "receipt": done.receipt,
        "settlement": {
            "l2_tx": settled.l2_tx,
            "batch": settled.batch_id,
            "l1_tx": settled.l1_tx,
            "state_root": settled.state_root,
            "status": settled.inclusion,
        },
        "balances": {
            "buyer_before_nano": before[0],
            "buyer_after_nano": after[0],
            "provider_before_nano": before[1],
            "provider_after_nano": after[1],
            "fees_nano": after[2] - before[2],
        },
        "timing": timing,
    }


async def _ask(demo: Demo, prompt: str, started_s: float) -> tuple[Answered, dict[str, float]]:
    turn = ChatTurn(messages=(ChatMessage("user", prompt),), sampling=Sampling(temperature=0.0))
    timing: dict[str, float] = {}

    def mark(event: ChatEvent) -> None:
        if isinstance(event, ChatDelta | ChatDone):
            timing.setdefault("start_to_first_token_ms", _since_ms(started_s))

    answer = await answered(demo.buyer, turn, mark)
    timing["ttft_ms"] = round(answer.done.ttft_ms, 1)
    timing["tokens_per_s"] = round(answer.done.tokens_per_s, 1)
    return answer, timing


async def _balances(chain: RollupClient, buyer: str, provider: str) -> tuple[int, int, int]:
    """The balances of both accounts and the fees collected so far, from the rollup's state."""
    held = []
    for address in (buyer, provider):
        account = await chain.account(bytes.fromhex(address.removeprefix("0x")))
        held.append(account.balance_nano if account else 0)
    return held[0], held[1], (await chain.info()).fee_pool_nano


def _since_ms(started_s: float) -> float:
    return round((time.time() - started_s) * 1_000, 1)
