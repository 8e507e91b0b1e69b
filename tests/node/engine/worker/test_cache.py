from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node.engine.worker.cache import EVICT_AFTER_TOKENS, RESTORED_BYTES_PER_S, PrefixCache
from node.engine.worker.prefix import common_prefix
from node.engine.worker.swap import SwapSpace
from tests.node.engine.worker.fake_kv_cache import BYTES_A_TOKEN, FakeKvCache

UNHURRIED = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])


def make_cache(
    *, cells=100, sequences=4, partial=True, shared=False, swap_bytes=0, patience=EVICT_AFTER_TOKENS
) -> tuple[PrefixCache, FakeKvCache]:
    memory = FakeKvCache(cells)
    cache = PrefixCache(
        memory,
        cells=cells,
        sequences=sequences,
        partial=partial,
        share_prefixes=shared,
        swap=SwapSpace(swap_bytes),
        evict_after_tokens=patience,
    )
    return cache, memory


def swapping(*, room=20, patience=0, **more) -> tuple[PrefixCache, FakeKvCache]:
    """A cache beside which main memory has room for so many tokens."""
    return make_cache(swap_bytes=room * BYTES_A_TOKEN, patience=patience, **more)


def run(cache: PrefixCache, memory: FakeKvCache, tokens: list[int], key="") -> tuple[int, int]:
    """Take a place for these tokens and compute what is missing."""
    number, reused = cache.take(key, tokens)
    memory.compute(number, tokens[reused:])
    cache.grow(number, len(tokens) - reused)
    return number, reused


def test_a_chat_goes_on_where_its_last_turn_ended():
    cache, memory = make_cache()
    first, reused = run(cache, memory, [1, 2, 3, 4])
    assert reused == 0
    cache.keep(first)
    assert run(cache, memory, [1, 2, 3, 4, 5, 6]) == (first, 4)
    assert (memory.used, cache.free_cells) == (6, 94)


def test_a_common_beginning_costs_its_cells_once():
    cache, memory = make_cache()
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
    cache, memory = make_cache()
    number, _ = run(cache, memory, [1, 2, 3])
    cache.keep(number)
    _, reused = run(cache, memory, [1, 2, 3])
    assert reused == 2


def test_one_buyers_tokens_are_never_matched_for_another():
    cache, memory = make_cache()
    number, _ = run(cache, memory, [1, 2, 3, 4], key="alice")
    cache.keep(number)
    assert run(cache, memory, [1, 2, 3, 4, 5], key="bob")[1] == 0
    assert run(cache, memory, [1, 2, 3, 4, 5])[1] == 0
    assert run(cache, memory, [1, 2, 3, 4, 5], key="alice")[1] == 4


def test_buyers_share_if_the_owner_says_so():
    cache, memory = make_cache(shared=True)
    number, _ = run(cache, memory, [1, 2, 3, 4], key="alice")
    cache.keep(number)
    assert run(cache, memory, [1, 2, 3, 4, 5], key="bob")[1] == 4


def test_a_recurrent_state_is_continued_whole_or_not_at_all():
    cache, memory = make_cache(partial=False)
    number, _ = run(cache, memory, [1, 2, 3, 4])
    assert run(cache, memory, [1, 2, 3, 4, 5])[1] == 0, "one that still runs can't be taken over"
    cache.keep(number)
    assert run(cache, memory, [1, 2, 3, 9])[1] == 0
    assert run(cache, memory, [1, 2, 3, 4, 5]) == (number, 4)


def test_the_longest_unused_is_forgotten_first():
    cache, memory = make_cache(cells=12)
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
    cache, memory = make_cache(sequences=2)
    first, _ = run(cache, memory, [1, 1])
    second, _ = run(cache, memory, [2, 2])
    cache.keep(first)
    cache.keep(second)
    assert run(cache, memory, [3, 3])[0] == first
    # The only one left to forget is what could be reused: then it is begun anew.
    assert run(cache, memory, [2, 9, 9])[1] == 0
    assert cache.free_cells == 100 - memory.used


def test_what_is_kept_through_too_many_tokens_of_others_is_forgotten():
    cache, memory = make_cache()
    old, _ = run(cache, memory, [1, 2, 3])
    cache.keep(old)
    cache.age(EVICT_AFTER_TOKENS - 1)
    new, _ = run(cache, memory, [4, 5, 6])
    cache.keep(new)
    cache.tidy()
    assert cache.kept == 2
    cache.age(EVICT_AFTER_TOKENS // 2)
    cache.tidy()
    assert set(memory.sequences) == {new}


def test_what_is_kept_leaves_the_cells_before_others_compute_and_comes_back():
    cache, memory = swapping()
    number, _ = run(cache, memory, [1, 2, 3], key="alice")
    cache.keep(number)
    other, _ = run(cache, memory, [7, 8, 9], key="bob")
    cache.tidy()
    assert (set(memory.sequences), cache.kept, cache.swapped) == ({other}, 0, 1)
    back, reused = run(cache, memory, [1, 2, 3, 4, 5], key="alice")
    assert reused == 3
    assert memory.tokens[back] == [1, 2, 3, 4, 5]
    assert (cache.swapped, cache.free_cells) == (0, 100 - memory.used)


def test_what_nobody_else_computes_beside_stays_in_its_cells():
    cache, memory = swapping()
    number, _ = run(cache, memory, [1, 2, 3])
    cache.keep(number)
    assert run(cache, memory, [1, 2, 3, 4])[0] == number
    assert cache.swapped == 0


def test_what_was_copied_ahead_leaves_the_cells_without_being_copied_again():
    cache, memory = swapping()
    for key, tokens in (("alice", [1, 2, 3]), ("bob", [7, 8, 9])):
        cache.keep(run(cache, memory, tokens, key)[0])
    assert [cache.copy_ahead() for _ in range(3)] == [True, True, False]
    assert (cache.kept, cache.swapped, memory.saves) == (2, 2, 2)
    run(cache, memory, [4, 5], key="carol")
    cache.tidy()
    assert (cache.kept, cache.swapped, memory.saves) == (0, 2, 2)
    assert run(cache, memory, [1, 2, 3, 4], key="alice")[1] == 3


def test_a_copy_of_a_chat_that_goes_on_is_worth_nothing():
    cache, memory = swapping()
    number, _ = run(cache, memory, [1, 2, 3])
    cache.keep(number)
    assert cache.copy_ahead()
    assert run(cache, memory, [1, 2, 3, 4]) == (number, 3)
    assert cache.swapped == 0
    cache.keep(number)
    assert cache.copy_ahead()
    assert (cache.swapped, memory.saves) == (1, 2)


def test_a_copy_that_main_memory_forgot_is_made_again_when_the_cells_are_wanted_and_not_before():
    cache, memory = swapping(room=4)
    first, _ = run(cache, memory, [1, 2, 3], key="alice")
    second, _ = run(cache, memory, [7, 8, 9], key="bob")
    cache.keep(first)
    cache.keep(second)
    assert [cache.copy_ahead() for _ in range(3)] == [True, True, False]
    assert cache.swapped == 1
    cache.make_room(97)
    assert (memory.saves, cache.swapped) == (3, 1)
    assert run(cache, memory, [1, 2, 3, 4], key="alice")[1] == 3


@pytest.mark.parametrize(("room", "patience"), [(0, 0), (20, EVICT_AFTER_TOKENS)])
def test_nothing_is_copied_ahead_that_has_nowhere_to_go_or_may_stay(room, patience):
    cache, memory = swapping(room=room, patience=patience)
    cache.keep(run(cache, memory, [1, 2, 3])[0])
    assert not cache.copy_ahead()
    assert memory.saves == 0


def test_a_part_of_a_swapped_sequence_is_shared_and_the_whole_stays():
    cache, memory = swapping()
    number, _ = run(cache, memory, [1, 2, 3, 4, 5, 6])
    cache.keep(number)
    cache.tidy()
    again, reused = run(cache, memory, [1, 2, 3, 9])
    assert reused == 3
    assert memory.tokens[again] == [1, 2, 3, 9]
    assert (cache.swapped, cache.free_cells) == (1, 96)


def test_a_swapped_sequence_serves_nobody_but_its_buyer():
    cache, memory = swapping()
    number, _ = run(cache, memory, [1, 2, 3, 4], key="alice")
    cache.keep(number)
    cache.tidy()
    assert run(cache, memory, [1, 2, 3, 4, 5], key="bob")[1] == 0
    assert cache.swapped == 1


def test_of_cells_and_main_memory_the_longer_beginning_is_taken():
    cache, memory = swapping()
    long, _ = run(cache, memory, [1, 2, 3, 4])
    cache.keep(long)
    cache.tidy()
    run(cache, memory, [1, 2, 9])
    _, reused = run(cache, memory, [1, 2, 3, 4, 5])
    assert reused == 4
    _, reused = run(cache, memory, [1, 2, 9, 9])
    assert reused == 3


def test_few_tokens_of_a_long_sequence_are_computed_again_where_that_is_faster():
    cache, memory = swapping()
    number, _ = run(cache, memory, [1, 2, 3, 4, 5, 6, 7, 8])
    cache.keep(number)
    cache.tidy()
    copying_s = 8 * BYTES_A_TOKEN / RESTORED_BYTES_PER_S
    cache.prompt_token_s = copying_s / 2.5
    short, reused = run(cache, memory, [1, 2, 9])
    assert reused == 0
    cache.drop(short)
    assert run(cache, memory, [1, 2, 3, 8])[1] == 3


def test_main_memory_holds_no_more_than_it_may_and_forgets_the_longest_unused():
    cache, memory = swapping(room=10)
    for beginning in (1, 2, 3):
        number, _ = run(cache, memory, [beginning] * 4)
        cache.keep(number)
        cache.tidy()
    assert cache.swapped == 2
    assert run(cache, memory, [1] * 5)[1] == 0
    assert run(cache, memory, [3] * 5)[1] == 4
    number, _ = run(cache, memory, [5] * 11)
    cache.keep(number)
    cache.tidy()
    assert cache.swapped == 1, "one that alone is too large is not kept, and costs no other its place"


def test_what_can_not_be_read_back_is_computed_again():
    cache, memory = swapping()
    number, _ = run(cache, memory, [1, 2, 3])
    cache.keep(number)
    cache.tidy()
    memory.restores = False
    again, reused = run(cache, memory, [1, 2, 3, 4])
    assert (reused, cache.swapped) == (0, 0)
    assert memory.tokens[again] == [1, 2, 3, 4]
    assert cache.free_cells == 100 - memory.used


def test_what_has_to_make_room_for_others_goes_to_main_memory_too():
    cache, memory = swapping(cells=8, patience=1_000)
    number, _ = run(cache, memory, [1, 2, 3, 4])
    cache.keep(number)
    assert cache.make_room(6)
    assert (cache.kept, cache.swapped) == (0, 1)
    assert run(cache, memory, [1, 2, 3, 4, 5])[1] == 4


def test_a_swapped_recurrent_state_is_continued_whole_or_not_at_all():
    cache, memory = swapping(partial=False)
    number, _ = run(cache, memory, [1, 2, 3, 4])
    cache.keep(number)
    cache.tidy()
    assert run(cache, memory, [1, 2, 3, 9])[1] == 0
    assert run(cache, memory, [1, 2, 3, 4, 5])[1] == 4


def test_what_was_never_computed_is_not_kept():
    cache, _ = make_cache()
    number, _ = cache.take("", [1, 2, 3])
    cache.keep(number)
    assert cache.kept == 0


def test_everything_can_be_forgotten():
    cache, memory = make_cache()
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
@pytest.mark.parametrize("room", [0, 12, 200])
@pytest.mark.parametrize("partial", [True, False])
@given(data=st.data())
def test_the_book_and_the_cache_agree_whatever_is_done(partial, room, data):
    cells, sequences = 40, 5
    patience = data.draw(st.sampled_from([0, 3]))
    cache, memory = swapping(room=room, cells=cells, sequences=sequences, partial=partial, patience=patience)
    running: dict[int, tuple[str, list[int]]] = {}
    for _ in range(data.draw(st.integers(1, 25))):
        action = data.draw(st.sampled_from(["take", "grow", "keep", "drop", "room", "tidy", "copy"]))
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
        elif action == "copy":
            cache.copy_ahead()
        elif action == "tidy":
            cache.age(data.draw(st.integers(0, 3)))
            cache.tidy()
            assert cache.kept == 0 or patience
        assert cells - cache.free_cells == memory.used <= cells
        held = {id(cell) for number in running for cell in memory.sequences.get(number, [])}
        assert cache.held_by_running() == len(held)
