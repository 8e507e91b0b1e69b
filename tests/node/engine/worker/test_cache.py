from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node.engine.worker.cache import KEPT_FOR_TOKENS, PrefixCache, common_prefix
from tests.node.engine.worker.books import FakeMemory

UNHURRIED = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])


def book(*, cells=100, sequences=4, partial=True, shared=False) -> tuple[PrefixCache, FakeMemory]:
    memory = FakeMemory()
    return PrefixCache(memory, cells=cells, sequences=sequences, partial=partial, shared=shared), memory


def run(cache: PrefixCache, memory: FakeMemory, tokens: list[int], key="") -> tuple[int, int]:
    """Take a place for these tokens and compute what is missing."""
    number, reused = cache.take(key, tokens)
    memory.compute(number, tokens[reused:])
    cache.grow(number, len(tokens) - reused)
    return number, reused


def test_a_chat_goes_on_where_its_last_turn_ended():
    cache, memory = book()
    first, reused = run(cache, memory, [1, 2, 3, 4])
    assert reused == 0
    cache.keep(first)
    assert run(cache, memory, [1, 2, 3, 4, 5, 6]) == (first, 4)
    assert (memory.used, cache.free_cells) == (6, 94)


def test_a_common_beginning_costs_its_cells_once():
    cache, memory = book()
    first, _ = run(cache, memory, [1, 2, 3, 4, 5])
    second, reused = run(cache, memory, [1, 2, 3, 9])
    assert reused == 3
    assert memory.used == 6
    assert cache.free_cells == 94
    cache.drop(first)
    assert cache.free_cells == 100 - memory.used == 96
    cache.drop(second)
    assert cache.free_cells == 100


def test_the_last_token_is_always_computed():
    cache, memory = book()
    number, _ = run(cache, memory, [1, 2, 3])
    cache.keep(number)
    _, reused = run(cache, memory, [1, 2, 3])
    assert reused == 2


def test_one_buyers_tokens_are_never_matched_for_another():
    cache, memory = book()
    number, _ = run(cache, memory, [1, 2, 3, 4], key="alice")
    cache.keep(number)
    assert run(cache, memory, [1, 2, 3, 4, 5], key="bob")[1] == 0
    assert run(cache, memory, [1, 2, 3, 4, 5])[1] == 0
    assert run(cache, memory, [1, 2, 3, 4, 5], key="alice")[1] == 4


def test_buyers_share_if_the_owner_says_so():
    cache, memory = book(shared=True)
    number, _ = run(cache, memory, [1, 2, 3, 4], key="alice")
    cache.keep(number)
    assert run(cache, memory, [1, 2, 3, 4, 5], key="bob")[1] == 4


def test_a_recurrent_state_is_continued_whole_or_not_at_all():
    cache, memory = book(partial=False)
    number, _ = run(cache, memory, [1, 2, 3, 4])
    assert run(cache, memory, [1, 2, 3, 4, 5])[1] == 0, "one that still runs can't be taken over"
    cache.keep(number)
    assert run(cache, memory, [1, 2, 3, 9])[1] == 0
    assert run(cache, memory, [1, 2, 3, 4, 5]) == (number, 4)


def test_the_longest_unused_is_forgotten_first():
    cache, memory = book(cells=12)
    old, _ = run(cache, memory, [1, 1, 1, 1])
    new, _ = run(cache, memory, [2, 2, 2, 2])
    cache.keep(new)
    cache.keep(old)
    assert cache.kept == 2
    assert cache.make_room(8)
    assert set(memory.sequences) == {old}
    assert not cache.make_room(13)
    assert cache.kept == 0


def test_a_new_sequence_takes_the_number_of_the_longest_unused():
    cache, memory = book(sequences=2)
    first, _ = run(cache, memory, [1, 1])
    second, _ = run(cache, memory, [2, 2])
    cache.keep(first)
    cache.keep(second)
    assert run(cache, memory, [3, 3])[0] == first
    # The only one left to forget is what could be reused: then it is begun anew.
    assert run(cache, memory, [2, 9, 9])[1] == 0
    assert cache.free_cells == 100 - memory.used


def test_what_is_kept_through_too_many_tokens_of_others_is_forgotten():
    cache, memory = book()
    old, _ = run(cache, memory, [1, 2, 3])
    cache.keep(old)
    cache.age(KEPT_FOR_TOKENS)
    new, _ = run(cache, memory, [4, 5, 6])
    cache.keep(new)
    assert cache.kept == 2
    cache.age(KEPT_FOR_TOKENS // 2)
    assert set(memory.sequences) == {new}


def test_what_was_never_computed_is_not_kept():
    cache, _ = book()
    number, _ = cache.take("", [1, 2, 3])
    cache.keep(number)
    assert cache.kept == 0


def test_everything_can_be_forgotten():
    cache, memory = book()
    number, _ = run(cache, memory, [1, 2])
    run(cache, memory, [5, 6])
    cache.keep(number)
    assert cache.forget_kept()
    assert not cache.forget_kept()
    assert cache.held_by_running() == memory.used == 2
    cache.clear()
    assert cache.free_cells == 100
    assert run(cache, memory, [1, 2])[1] == 0


@UNHURRIED
@given(st.lists(st.integers(0, 2), max_size=12), st.lists(st.integers(0, 2), max_size=12), st.integers(0, 12))
def test_the_common_prefix_is_what_comparing_one_by_one_finds(one, other, limit):
    limit = min(limit, len(one), len(other))
    slow = next((at for at in range(limit) if one[at] != other[at]), limit)
    assert common_prefix(one, other, limit) == slow


@UNHURRIED
@pytest.mark.parametrize("partial", [True, False])
@given(data=st.data())
def test_the_book_and_the_cache_agree_whatever_is_done(partial, data):
    cells, sequences = 60, 5
    cache, memory = book(cells=cells, sequences=sequences, partial=partial)
    running: dict[int, tuple[str, list[int]]] = {}
    for _ in range(data.draw(st.integers(1, 25))):
        action = data.draw(st.sampled_from(["take", "grow", "keep", "drop", "room"]))
        if action == "take" and len(running) < 3:
            tokens = data.draw(st.lists(st.integers(0, 1), min_size=1, max_size=8))
            key = data.draw(st.sampled_from(["a", "b"]))
            number, reused = cache.take(key, tokens)
            assert number not in running
            assert reused < len(tokens)
            assert memory.tokens.get(number, []) == tokens[:reused]
            running[number] = (key, tokens)
            if cache.make_room(len(tokens) - reused):
                memory.compute(number, tokens[reused:])
                cache.grow(number, len(tokens) - reused)
        elif action == "grow" and running and cache.make_room(1):
            number = data.draw(st.sampled_from(sorted(running)))
            tokens = running[number][1]
            if cache.length(number) == len(tokens):
                tokens.append(data.draw(st.integers(0, 1)))
                memory.compute(number, tokens[-1:])
                cache.grow(number, 1)
        elif action in ("keep", "drop") and running:
            number = data.draw(st.sampled_from(sorted(running)))
            del running[number]
            (cache.keep if action == "keep" else cache.drop)(number)
        elif action == "room":
            cache.make_room(data.draw(st.integers(0, cells)))
        assert cells - cache.free_cells == memory.used <= cells
        held = {id(cell) for number in running for cell in memory.sequences.get(number, [])}
        assert cache.held_by_running() == len(held)
