from chain.fees.empties import EmptyAccounts


def test_an_account_goes_only_after_it_was_empty_and_unused_for_long_enough():
    empties = EmptyAccounts(100, max_kept=10)
    empties.look([(1, 0), (2, 5), (3, None)], 0)
    assert empties.due(99, 10) == []
    empties.look([(1, 0), (2, 6)], 50)  # the second was used meanwhile
    assert empties.due(100, 10) == [1]
    assert empties.due(149, 10) == []
    assert empties.due(150, 10) == [2]


def test_one_that_was_filled_again_stays():
    empties = EmptyAccounts(100, max_kept=10)
    empties.look([(1, 0)], 0)
    empties.look([(1, None)], 50)
    assert empties.due(1_000, 10) == []


def test_it_remembers_a_bounded_number_and_hands_out_a_few_at_a_time():
    empties = EmptyAccounts(1, max_kept=5)
    empties.look(((number, 0) for number in range(50)), 0)
    assert len(empties) == 5
    assert [empties.due(10, 2), empties.due(10, 2), empties.due(10, 2)] == [[0, 1], [2, 3], [4]]
