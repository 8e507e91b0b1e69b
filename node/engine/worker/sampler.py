"""Builds the sampler chain of one request: how the next token is drawn."""

from __future__ import annotations

from node.engine.protocol import Sampling
from node.engine.worker.native import llama


def build_chain(sampling: Sampling, *, seed: int, vocabulary_size: int, max_tokens: int) -> int:
    """A llama.cpp sampler chain, to be freed with ``llama_sampler_free``.

    The order is llama.cpp's own: penalties, top-k, top-p, min-p, temperature, then the draw; at temperature 0 the best
    token is taken. Penalties look at the whole answer, as OpenAI's do, and not at the prompt.
    """
    params = llama.llama_sampler_chain_default_params()
    params.no_perf = True
    chain: int = llama.llama_sampler_chain_init(params)

    def add(sampler: int) -> None:
        llama.llama_sampler_chain_add(chain, sampler)

    repeat, frequency, presence = sampling.repeat_penalty, sampling.frequency_penalty, sampling.presence_penalty
    if repeat != 1.0 or frequency != 0.0 or presence != 0.0:
        add(llama.llama_sampler_init_penalties(vocabulary_size, max_tokens, repeat, frequency, presence))
    if sampling.temperature == 0.0:
        add(llama.llama_sampler_init_greedy())
        return chain
    if sampling.top_k > 0:
        add(llama.llama_sampler_init_top_k(sampling.top_k))
    if sampling.top_p < 1.0:
        add(llama.llama_sampler_init_top_p(sampling.top_p, 1))
    if sampling.min_p > 0.0:
        add(llama.llama_sampler_init_min_p(sampling.min_p, 1))
    add(llama.llama_sampler_init_temp(sampling.temperature))
    add(llama.llama_sampler_init_dist(seed))
    return chain
