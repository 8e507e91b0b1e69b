"""Trains the demo model and writes its GGUF: `python -m bench.demo_model.train --out demo.gguf`.

Needs PyTorch (the `train` dependency group). One seed decides the text, the tokenizer, the initial weights and the
order of everything; the work is shared by a fixed number of single-threaded processes with deterministic kernels, so
another machine of the same kind writes the same file. It took 25 minutes on two busy CPU cores.
"""

from __future__ import annotations

import argparse
import math
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed, nn
from torch.multiprocessing import spawn
from torch.nn import functional

from bench.demo_model import tokenizer as bpe
from bench.demo_model.corpus import conversations
from bench.demo_model.corpus.arithmetic import DIFFERENCE, KINDS, SUM, ask, draw, problems_below
from bench.demo_model.export import Shape, write_gguf
from node.models.demo import demo_model_path

PROCESSES = 2
"""How many processes share the work of a step. Part of the recipe: another number adds in another order."""


@dataclass(frozen=True)
class Recipe:
    """How the training runs."""

    steps: int = 1600
    tokens_per_step: int = 4096
    part_tokens: int = 1024
    long_step_every: int = 25
    warmup_steps: int = 60
    decay_from: float = 0.35
    matrix_rate: float = 0.02
    vector_rate: float = 0.004
    short_share: float = 0.7
    short_tokens: int = 12
    drill_share: float = 0.3


class RmsNorm(nn.Module):
    """Scales a vector to a mean square of one, then by a learned gain."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        """Normalize the last dimension."""
        return functional.rms_norm(x, (x.shape[-1],), self.weight, self.epsilon)


class Block(nn.Module):
    """One llama block: causal attention and a gated feed-forward part, each behind a norm."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.attn_norm = RmsNorm(shape.width, shape.norm_epsilon)
        self.attn_q = nn.Linear(shape.width, shape.width, bias=False)
        self.attn_k = nn.Linear(shape.width, shape.width, bias=False)
        self.attn_v = nn.Linear(shape.width, shape.width, bias=False)
        self.attn_output = nn.Linear(shape.width, shape.width, bias=False)
        self.ffn_norm = RmsNorm(shape.width, shape.norm_epsilon)
        self.ffn_gate = nn.Linear(shape.width, shape.hidden, bias=False)
        self.ffn_up = nn.Linear(shape.width, shape.hidden, bias=False)
        self.ffn_down = nn.Linear(shape.hidden, shape.width, bias=False)

    def forward(self, x: Tensor, rotation: tuple[Tensor, Tensor], mask: Tensor) -> Tensor:
        """Run the block on `(rows, tokens, width)`."""
        normed = self.attn_norm(x)
        query = _rotate(self._by_head(self.attn_q(normed)), rotation).transpose(1, 2)
        key = _rotate(self._by_head(self.attn_k(normed)), rotation).transpose(1, 2)
        value = self._by_head(self.attn_v(normed)).transpose(1, 2)
        # Spelled out: on a CPU the fused kernel's backward pass costs more than all the rest of the step.
        scores = query @ key.transpose(2, 3) * query.shape[3] ** -0.5 + mask
        mixed = scores.softmax(3) @ value
        x = x + self.attn_output(mixed.transpose(1, 2).flatten(2))
        normed = self.ffn_norm(x)
        return x + self.ffn_down(functional.silu(self.ffn_gate(normed)) * self.ffn_up(normed))

    def _by_head(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.heads, -1))


def _rotate(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Turn pairs by their position's angle; a pair's two numbers stand half a head apart (see `gguf_weights`)."""
    cos, sin = rotation
    first, second = x.chunk(2, dim=3)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=3)


class Network(nn.Module):
    """A llama-architecture language model whose output layer is its token embedding."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.token_embd = nn.Embedding(shape.vocabulary, shape.width)
        self.blk = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.output_norm = RmsNorm(shape.width, shape.norm_epsilon)
        for parameter in self.parameters():
            if parameter.ndim == 2:
                nn.init.normal_(parameter, std=0.02)
        for block in self.blk:
            for last in (block.attn_output, block.ffn_down):
                nn.init.normal_(last.weight, std=0.02 / math.sqrt(2 * shape.layers))

    def forward(self, tokens: Tensor, wanted: Tensor) -> Tensor:
        """Give the logits that follow the `wanted` positions.

        Args:
            tokens: `(rows, tokens)` ids, one conversation a row.
            wanted: `(rows, tokens)` mask.
        """
        x = self.token_embd(tokens)
        length = tokens.shape[1]
        rotation = _rotation(self.shape, length)
        mask = torch.full((length, length), -torch.inf).triu(1)
        for block in self.blk:
            x = block(x, rotation, mask)
        return functional.linear(self.output_norm(x)[wanted], self.token_embd.weight)


def _rotation(shape: Shape, length: int) -> tuple[Tensor, Tensor]:
    size = shape.width // shape.heads
    rates = shape.rope_base ** (-torch.arange(0, size, 2, dtype=torch.float32) / size)
    angles = torch.arange(length, dtype=torch.float32)[:, None] * rates
    return angles.cos()[:, None], angles.sin()[:, None]


class Muon(torch.optim.Optimizer):
    """Momentum whose matrix updates are made orthogonal by Newton-Schulz steps (Jordan et al., 2024)."""

    def __init__(self, parameters: list[nn.Parameter], rate: float, momentum: float = 0.95) -> None:
        super().__init__(parameters, {"lr": rate, "momentum": momentum, "weight_decay": 0.01})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update every matrix from its gradient, matrices of one shape together."""
        for group in self.param_groups:
            alike: dict[torch.Size, list[nn.Parameter]] = {}
            for matrix in group["params"]:
                alike.setdefault(matrix.shape, []).append(matrix)
            for matrices in alike.values():
                self._step(matrices, **{name: group[name] for name in ("lr", "momentum", "weight_decay")})

    def _step(self, matrices: list[nn.Parameter], *, lr: float, momentum: float, weight_decay: float) -> None:
        gradients = torch.stack([matrix.grad for matrix in matrices])
        velocity = self.state[matrices[0]].setdefault("velocity", torch.zeros_like(gradients))
        velocity.lerp_(gradients, 1 - momentum)
        updates = _orthogonal(gradients.lerp(velocity, momentum))
        scale = max(1.0, matrices[0].shape[0] / matrices[0].shape[1]) ** 0.5
        for matrix, update in zip(matrices, updates, strict=True):
            matrix.mul_(1 - lr * weight_decay).add_(update, alpha=-lr * scale)


def _orthogonal(matrices: Tensor) -> Tensor:
    """Push all singular values of each matrix towards one."""
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.mT if tall else x


@dataclass(frozen=True)
class Batch:
    """Conversations of similar length, one a row, padded at the end."""

    tokens: Tensor
    targets: Tensor
    learned: Tensor


def steps_of(seed: int, recipe: Recipe, shape: Shape, vocabulary: bpe.Tokenizer) -> Iterator[list[Batch]]:
    """Draw what each step learns from: a few batches by length, now and then of long conversations."""
    rng = random.Random(f"{seed} batches")
    number = 0
    while True:
        number += 1
        long = number % recipe.long_step_every == 0
        drawn: list[tuple[list[int], list[bool]]] = []
        left = recipe.tokens_per_step
        while left > 0:
            if not long and left < recipe.tokens_per_step * recipe.drill_share:
                drawn.append(_drill(rng, vocabulary))
                left -= len(drawn[-1][0])
                continue
            ids, learned = vocabulary.encode_chat(next(conversations(rng, longest=40 if long else 3)))
            cut = shape.context + 1
            if not long and rng.random() < recipe.short_share:
                cut = _cut_in_last_answer(learned, recipe.short_tokens)
            drawn.append((ids[:cut], learned[:cut]))
            left -= len(drawn[-1][0])
        drawn.sort(key=lambda one: len(one[0]))
        yield [_padded(part) for part in _parts(drawn, recipe.part_tokens)]


def _cut_in_last_answer(learned: list[bool], tokens: int) -> int:
    """Find where the last answer's first `tokens` end: the start of an answer is hard, the rest is recited."""
    last = len(learned) - 2
    start = max((at for at in range(1, last) if learned[at] and not learned[at - 1]), default=0)
    # A short answer is left whole: of a sum, every digit counts.
    return start + tokens if len(learned) - start > 2 * tokens else len(learned)


def _drill(rng: random.Random, vocabulary: bpe.Tokenizer) -> tuple[list[int], list[bool]]:
    """Write sums and differences line after line as answers state them; only the results are learned."""
    ids = [bpe.TURN_START_ID, *vocabulary.encode("assistant\n")]
    learned = [False] * len(ids)
    for _ in range(6):
        problem = draw(rng, (SUM, DIFFERENCE))
        stated, result = problem.stated().split("=", 1)
        for text, learn in ((stated + "=", False), (result, True), ("\n", False)):
            tokens = vocabulary.encode(text)
            ids += tokens
            learned += [learn] * len(tokens)
    return ids, learned


def _parts(drawn: list[tuple[list[int], list[bool]]], tokens: int) -> Iterator[list[tuple[list[int], list[bool]]]]:
    part: list[tuple[list[int], list[bool]]] = []
    for one in drawn:
        if part and ((len(part) + 1) * len(one[0]) > tokens or len(one[0]) > 1.3 * len(part[0][0])):
            yield part
            part = []
        part.append(one)
    if part:
        yield part


def _padded(part: list[tuple[list[int], list[bool]]]) -> Batch:
    length = max(len(ids) for ids, _ in part)
    tokens = torch.tensor([ids + [bpe.END_OF_TEXT_ID] * (length - len(ids)) for ids, _ in part])
    learned = torch.tensor([mask + [False] * (length - len(mask)) for _, mask in part])
    return Batch(tokens[:, :-1], tokens[:, 1:], learned[:, 1:])


def rate_at(step: int, recipe: Recipe) -> float:
    """Give the share of the full learning rate: warm-up, plateau, straight down to almost nothing."""
    if step < recipe.warmup_steps:
        return (step + 1) / recipe.warmup_steps
    left = (recipe.steps - step) / (recipe.steps * (1 - recipe.decay_from))
    return max(0.005, min(1.0, left))


def train(seed: int, recipe: Recipe, shape: Shape, save: Callable[[Network, bpe.Tokenizer], None]) -> None:
    """Train tokenizer and network from one seed.

    Args:
        seed: Decides everything that is left to chance.
        recipe: How the training runs.
        shape: The network's measures.
        save: Called now and then, and at the end, with what has been learned.
    """
    torch.manual_seed(seed)
    # One thread a process: sums in floating point then never depend on how many cores there are.
    torch.set_num_threads(1)
    rank = distributed.get_rank()
    torch.use_deterministic_algorithms(True)
    sample = islice(conversations(random.Random(f"{seed} tokenizer"), longest=4), 20_000)
    vocabulary = bpe.train((f"{role}\n{content}" for turns in sample for role, content in turns), shape.vocabulary)
    network = Network(shape)
    matrices = [p for name, p in network.named_parameters() if p.ndim == 2 and "embd" not in name]
    others = [p for name, p in network.named_parameters() if p.ndim != 2 or "embd" in name]
    optimizers = [
        Muon(matrices, recipe.matrix_rate),
        torch.optim.AdamW(others, lr=recipe.vector_rate, betas=(0.9, 0.98), weight_decay=0.0),
    ]
    full_rates = [recipe.matrix_rate, recipe.vector_rate]
    began = time.monotonic()
    seen = 0
    for step, parts in enumerate(islice(steps_of(seed, recipe, shape, vocabulary), recipe.steps)):
        for optimizer, full in zip(optimizers, full_rates, strict=True):
            optimizer.param_groups[0]["lr"] = full * rate_at(step, recipe)
        network.zero_grad(set_to_none=True)
        words = sum(int(part.learned.sum()) for part in parts)
        loss = 0.0
        for part in parts[rank :: distributed.get_world_size()]:
            logits = network(part.tokens, part.learned)
            share = functional.cross_entropy(logits, part.targets[part.learned], reduction="sum") / words
            share.backward()
            loss += share.item()
        loss = _add_up(network, loss)
        seen += sum(part.tokens.numel() for part in parts)
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
        if rank == 0 and (step % 50 == 0 or step + 1 == recipe.steps):
            took = time.monotonic() - began
            print(f"step {step:5d}  loss {loss:.4f}  {took:6.0f} s  {seen / took:7.0f} tokens/s", flush=True)
        if rank == 0 and (step % 200 == 199 or step + 1 == recipe.steps):
            print(f"reserved problems answered right: {probe(network, vocabulary)}", flush=True)
            save(network, vocabulary)


def _add_up(network: Network, loss: float) -> float:
    """Add the processes' shares of the gradient, and of the loss, which is given back."""
    parameters = list(network.parameters())
    gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
    together = torch.cat([*(gradient.flatten() for gradient in gradients), torch.tensor([loss])])
    distributed.all_reduce(together)
    for parameter, gradient in zip(parameters, together[:-1].split([p.numel() for p in parameters]), strict=True):
        parameter.grad = gradient.view_as(parameter)
    return together[-1].item()


def gguf_weights(network: Network) -> dict[str, NDArray[np.float32]]:
    """Name the weights as GGUF does, with the rows of queries and keys in llama.cpp's order: pairs side by side."""
    weights = {}
    for name, stored in network.state_dict().items():
        values = stored
        if ".attn_q." in name or ".attn_k." in name:
            values = stored.unflatten(0, (network.shape.heads, 2, -1)).transpose(1, 2).flatten(0, 2)
        weights[name] = values.numpy()
    return weights


@torch.no_grad()
def probe(network: Network, vocabulary: bpe.Tokenizer) -> dict[str, float]:
    """Measure which share of reserved problems the network would answer right, greedily, by kind."""
    rng = random.Random("probe")
    found: dict[str, float] = {}
    for kind in KINDS:
        reserved = [problem for problem in problems_below(100, kind) if problem.reserved]
        chats = [
            [("user", question), ("assistant", answer)]
            for question, answer in (ask(problem, rng) for problem in rng.sample(reserved, 60))
        ]
        right = 0
        for turns in chats:
            batch = _padded([vocabulary.encode_chat(turns)])
            right += bool((network(batch.tokens, batch.learned).argmax(1) == batch.targets[batch.learned]).all())
        found[kind] = right / len(chats)
    return found


def main() -> None:
    """Train and write the GGUF and its hash."""
    parser = argparse.ArgumentParser(description="Train Idlewatt's demo model.")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--steps", type=int, default=Recipe.steps)
    parser.add_argument("--out", type=Path, default=demo_model_path())
    options = parser.parse_args()
    # A polite end of this process ends its workers: Python stops daemonic children on its way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory() as meeting:
        spawn(_work, (options, f"file://{meeting}/ranks"), nprocs=PROCESSES, daemon=True)


def _work(rank: int, options: argparse.Namespace, meeting: str) -> None:
    """Be one of the processes that share each step's batches."""
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=PROCESSES)
    shape, recipe = Shape(), Recipe(steps=options.steps)
    if rank == 0:
        print(f"{asdict(shape)}\n{asdict(recipe)}\nseed {options.seed}, torch {torch.__version__}", flush=True)

    def save(network: Network, vocabulary: bpe.Tokenizer) -> None:
        digest = write_gguf(options.out, shape, gguf_weights(network), vocabulary)
        options.out.with_suffix(".gguf.sha256").write_text(f"{digest}  {options.out.name}\n")
        print(f"{options.out}: {options.out.stat().st_size} bytes, sha256 {digest}", flush=True)

    train(options.seed, recipe, shape, save)
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
